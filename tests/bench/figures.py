"""The figures: what is wanted of each, their spread over the runs, and how they are shown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BYTES_PER_MB = 1_000_000
COLUMNS = ("min", "median", "max")


@dataclass(frozen=True)
class Wanted:
    """A figure in plain words, and the largest median that is wanted, if any."""

    title: str
    limit: float | None = None


WANTED: Mapping[str, Wanted] = {
    "lambda.initMs": Wanted("cold start, all functions", 15),
    "lambda.warmMs": Wanted("warm call of plan, no AWS call"),
    "lambda.residentBytes": Wanted("memory after a call", 15 * BYTES_PER_MB),
    "lambda.peakResidentBytes": Wanted("memory at its highest", 15 * BYTES_PER_MB),
    "lambda.zipBytes": Wanted("zip of a function", 3.5 * BYTES_PER_MB),
    "localCloud.readySeconds": Wanted("local cloud ready", 10),
    "demo.seconds": Wanted("demo, start to end", 90),
    "demo.buildSeconds": Wanted("demo, push to published"),
}
"""The dotted names end with the unit."""


@dataclass(frozen=True)
class Spread:
    """Least, middle and greatest of some runs."""

    min: float
    median: float
    max: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Raises ValueError when there is no value."""
        if not values:
            raise ValueError("nothing was measured")
        return cls(min(values), statistics.median(values), max(values), len(values))


def show_value(name: str, value: float) -> str:
    """A value with its unit, which the figure's name ends with."""
    if name.endswith("Bytes"):
        return f"{value / BYTES_PER_MB:.2f} MB"
    if name.endswith("Seconds") or name.endswith(".seconds"):
        return f"{value:.1f} s"
    return f"{value:.1f} ms"


def verdict(limit: float | None, median: float) -> str:
    """Whether the median is as wanted."""
    if limit is None:
        return ""
    return "as wanted" if median <= limit else "MORE THAN WANTED"


def table(spreads: Mapping[str, Spread]) -> list[str]:
    """The lines of a table of all figures, in the order given.

    A figure that `WANTED` does not name is shown by its last word but the unit: the part of a
    whole, such as `lambda.plan.initMs`.
    """
    head = ["", *COLUMNS, "runs", "wanted", ""]
    rows = [head, *(_row(name, spread) for name, spread in spreads.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [_line(row, widths) for row in rows]


def _row(name: str, spread: Spread) -> list[str]:
    wanted = WANTED.get(name) or Wanted(f"  {name.split('.')[-2]}")
    values = [show_value(name, getattr(spread, column)) for column in COLUMNS]
    limit = f"<= {show_value(name, wanted.limit)}" if wanted.limit is not None else ""
    return [wanted.title, *values, str(spread.runs), limit, verdict(wanted.limit, spread.median)]


def _line(row: list[str], widths: list[int]) -> str:
    title, *rest = row
    *numbers, comment = zip(rest, widths[1:], strict=True)
    cells = [title.ljust(widths[0]), *(cell.rjust(width) for cell, width in numbers), comment[0]]
    return "  ".join(cells).rstrip()
