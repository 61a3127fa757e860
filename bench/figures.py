"""Figures on the screen: their spread over the runs, their units and their limits."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .documents import Document

BYTES_PER_MB = 1_000_000
COLUMNS = ("min", "median", "max")
AT_LEAST = "speedup"
"""Figures whose names end with this word are better when greater."""


@dataclass(frozen=True)
class Spread:
    """Minimum, median and maximum of some runs."""

    min: float
    median: float
    max: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of the values. Raises ValueError when there is none."""
        if not values:
            raise ValueError("nothing was measured")
        return cls(min(values), statistics.median(values), max(values), len(values))


def show_value(unit: str, value: float) -> str:
    """A value with its unit; `unit` is one of `documents.UNITS`."""
    match unit:
        case "bytes":
            return f"{value / BYTES_PER_MB:.2f} MB"
        case "seconds":
            return f"{value:.1f} s"
        case "milliseconds":
            return f"{value:.1f} ms"
        case "ratio":
            return f"{value:.3f}"
        case "dollars":
            return f"${value:,.4f}" if value < 1 else f"${value:,.2f}"
        case "gigabyteSeconds":
            return f"{value:.2f} GB-s"
        case _:
            return f"{value:,.0f}"


def is_lower_limit(name: str) -> bool:
    """Whether the wanted value is a lower limit."""
    return name.rpartition(".")[2] == AT_LEAST


def verdict(name: str, limit: float | None, median: float) -> str:
    """Whether the median is within the limit, in words; empty without a limit."""
    if limit is None:
        return ""
    if is_lower_limit(name):
        return "as wanted" if median >= limit else "LESS THAN WANTED"
    return "as wanted" if median <= limit else "MORE THAN WANTED"


def figure_lines(figures: Mapping[str, Document]) -> list[str]:
    """A table of a part's figures as lines, in the order given."""
    rows = [_row(name, one) for name, one in figures.items()]
    return table_lines(["", *COLUMNS, "runs", "wanted", ""], rows)


def _row(name: str, one: Document) -> list[str]:
    spread, unit, limit = Spread.of(one["values"]), one["unit"], one["wanted"]
    values = [show_value(unit, getattr(spread, column)) for column in COLUMNS]
    sign = ">=" if is_lower_limit(name) else "<="
    wanted = f"{sign} {show_value(unit, limit)}" if limit is not None else ""
    return [name, *values, str(spread.runs), wanted, verdict(name, limit, spread.median)]


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as lines: the first and the last column flush left, the others flush right."""
    lines = [list(columns), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    last = len(columns) - 1
    return [
        "  ".join(
            cell.ljust(width) if place in (0, last) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
