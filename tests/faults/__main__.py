"""`make faults`: the sweep, or a seeded part of it."""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path

from end_to_end.stack import ROOT

from .sweep import HOST, broken_lines, choose, find_points, sweep, table, write

REPORT = ROOT / "target" / "faults" / "report.json"


def main() -> int:
    """Run the sweep. Returns 1 when a rule did not hold or no point was tried, else 0."""
    parser = argparse.ArgumentParser(description="Let everything go wrong that can, in turn.")
    parser.add_argument("--seconds", type=float, help="only as many points as these allow")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the points")
    # A trial waits more than it works.
    parser.add_argument("--workers", type=int, default=6 * (os.cpu_count() or 1))
    parser.add_argument("--only", action="append", default=[], help="points with this text")
    parser.add_argument("--report", type=Path, default=REPORT)
    asked = parser.parse_args()
    begun = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begun:7.1f} s  {line}", flush=True)

    say(f"builder host and registry: {HOST}s, nothing is really pulled")
    points = choose(find_points(say), asked.only, asked.seed)
    keep = partial(write, path=asked.report)
    report = sweep(points, asked.seed, asked.workers, asked.seconds, say, keep)
    print(table(report))
    if report.missed:
        print(f"at {len(report.missed)} points nothing went wrong: their runs did without the call")
    # Repeated here, because people read the end of a log.
    for line in broken_lines(report.violations):
        print(line)
    print(report.last_line)
    return int(report.held < report.points or report.points == 0)


if __name__ == "__main__":
    sys.exit(main())
