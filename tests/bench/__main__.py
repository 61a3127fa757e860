"""`make bench`: measures, shows a table, and writes target/bench/summary.json.

`RUNS=<n>` runs the demo n times instead of once; 0 leaves it out.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from local_cloud.processes import TESTS_DIR, StartError

from .figures import WANTED, Spread, table
from .functions import measure_functions
from .runtime_emulator import BenchError
from .whole_runs import Bench, measure_cloud, measure_demo

ROOT = TESTS_DIR.parent
TARGET = ROOT / "target" / "bench"
BUILD = ROOT / ".aws-sam" / "build"
NOTES = (
    "Medians count; wanted is what the median should not exceed.",
    "Cold start: until the function asks for work, under the Lambda runtime emulator on this"
    " machine.",
    "Memory: of the process after calls that reach no AWS service, so without TLS connections.",
    "Local cloud and demo: from the command on, Python's own start included.",
)


def main() -> int:
    """Measure everything; the exit code is 1 only when something did not work."""
    # As with Ctrl-C, what was started is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    TARGET.mkdir(parents=True, exist_ok=True)
    say = partial(say_at, time.monotonic())
    try:
        runs = demo_runs(os.environ.get("RUNS", "1"))
        summary = measure(Bench(TARGET, say), runs)
    except (BenchError, StartError, OSError) as error:
        say(f"the measurement stops: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; everything is stopped")
        return 130
    (TARGET / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    say(f"written to {(TARGET / 'summary.json').relative_to(ROOT)}")
    return 0


def say_at(begun: float, text: str) -> None:
    """A line with the time that passed."""
    print(f"{time.monotonic() - begun:6.1f} s  {text}", flush=True)


def demo_runs(text: str) -> int:
    """How often the demo runs. Raises BenchError."""
    if not text.isdecimal():
        raise BenchError(f"RUNS is {text!r}: give a number, 0 to leave the demo out")
    return int(text)


def measure(bench: Bench, runs: int) -> dict[str, Any]:
    """Measure, print the table, return the summary document."""
    machine: dict[str, Any] = {"processors": os.cpu_count(), "loadBefore": os.getloadavg()[0]}
    figures = measure_functions(BUILD, bench.say)
    figures |= measure_cloud(bench)
    if runs:
        demo, machine["builderHost"] = measure_demo(bench, runs)
        figures |= demo
    machine["loadAfter"] = os.getloadavg()[0]
    spreads = in_order({name: Spread.of(values) for name, values in figures.items()})
    print("", *table(spreads), "", *NOTES, machine_line(machine), "", sep="\n", flush=True)
    return {name: asdict(spread) for name, spread in spreads.items()} | {"machine": machine}


def in_order(spreads: Mapping[str, Spread]) -> dict[str, Spread]:
    """The cold starts of each function after the one of all, then the order of `WANTED`."""
    parts = [name for name in spreads if name not in WANTED]
    first, *rest = [name for name in WANTED if name in spreads]
    return {name: spreads[name] for name in (first, *parts, *rest)}


def machine_line(machine: Mapping[str, Any]) -> str:
    """What the figures were measured on."""
    host = machine.get("builderHost")
    stand_in = ", demo with a SCRIPTED stand-in of the builder host" if host == "scripted" else ""
    return (
        f"Machine: {machine['processors']} processors, load {machine['loadBefore']:.1f} before"
        f" and {machine['loadAfter']:.1f} after{stand_in}."
    )


if __name__ == "__main__":
    sys.exit(main())
