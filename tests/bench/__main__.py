"""`make bench`: measures the parts asked for, and shows and writes what they found.

`python -m bench [<part>…]`; without a part all of them. `RUNS=<n>` is how many rounds each takes.
Every part is written to `target/bench/<part>.json`, the headlines of all that were ever measured
to `target/bench/summary.json`.
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
    """Measure; the exit code is 1 only when something did not work."""
    # As with Ctrl-C, what was started is ended.
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
    """A line with the time that passed."""
    print(f"{time.monotonic() - begun:6.1f} s  {text}", flush=True)


def rounds(text: str) -> int:
    """How often each part measures. Raises BenchError."""
    if not text.isdecimal() or int(text) == 0:
        raise BenchError(f"RUNS is {text!r}: give the number of rounds, at least 1")
    return int(text)


def measure_part(part: str, bench: Bench) -> bool:
    """Measure, show and write one part; False, and said why, when it did not work."""
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
    """A part's figures, tables and notes, for the screen."""
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
