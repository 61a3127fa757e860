"""`make bench`: measures the requested parts, and prints and writes their figures.

`python -m bench [<part>…]`; without a part it measures all. `RUNS=<n>` sets the rounds of each
part. Every part is written to `target/bench/<part>.json`. The headlines of every part that was
ever measured are written to `target/bench/summary.json`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial

from local_cloud.processes import StartError
from local_cloud.runtime_emulator import EmulatorError

from .documents import Document, read_documents, write_document
from .figures import figure_lines, table_lines
from .frame import ROOT, TARGET, Bench, BenchError
from .parts import MODULES, chosen, parts_module
from .summary import summarise

USUAL_RUNS = 5


def main() -> int:
    """Measure; returns 1 when something did not work, 130 when interrupted, else 0."""
    # SIGTERM then stops everything that was started, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    say = partial(say_at, time.monotonic())
    try:
        parts = chosen(sys.argv[1:])
        bench = Bench(TARGET, say, rounds(os.environ.get("RUNS") or str(USUAL_RUNS)))
        failed = [part for part in parts if not measure_part(part, bench)]
    except BenchError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted; everything is stopped")
        return 130
    write_document(TARGET / "summary.json", summarise(read_documents(TARGET, list(MODULES))))
    say(f"written to {TARGET.relative_to(ROOT)}")
    if failed:
        say(f"not measured: {', '.join(failed)}")
    return int(bool(failed))


def say_at(begun: float, text: str) -> None:
    """Print a line with the time since `begun`."""
    print(f"{time.monotonic() - begun:6.1f} s  {text}", flush=True)


def rounds(text: str) -> int:
    """Parse the number of rounds. Raises BenchError unless it is an integer of at least 1."""
    if not text.isdecimal() or int(text) == 0:
        raise BenchError(f"RUNS is {text!r}: give the number of rounds, at least 1")
    return int(text)


def measure_part(part: str, bench: Bench) -> bool:
    """Measure, print and write one part; when that fails, says why and returns False."""
    bench.say(f"== {part}")
    bench.directory.mkdir(parents=True, exist_ok=True)
    before = {"processors": os.cpu_count(), "loadBefore": os.getloadavg()[0]}
    try:
        content = parts_module(part).measure(bench)
    except (BenchError, EmulatorError, StartError, OSError) as error:
        bench.say(f"the measurement of {part} stops: {error}")
        return False
    content["machine"] = {**before, "loadAfter": os.getloadavg()[0], **content["machine"]}
    write_document(bench.directory / f"{part}.json", content)
    print("", *document_lines(content), "", sep="\n", flush=True)
    return True


def document_lines(content: Document) -> list[str]:
    """A part's figures, tables and notes as lines for the screen."""
    lines = figure_lines(content["figures"])
    for one in content["tables"]:
        rows = [[str(cell) for cell in row] for row in one["rows"]]
        lines += ["", one["title"], *table_lines(one["columns"], rows)]
    machine = content["machine"]
    load = (
        f"Machine: {machine['processors']} processors, load {machine['loadBefore']:.1f} before"
        f" and {machine['loadAfter']:.1f} after."
    )
    return [*lines, "", *content["notes"], load]


if __name__ == "__main__":
    sys.exit(main())
