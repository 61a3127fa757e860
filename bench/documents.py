"""The JSON document of a part: its figures, tables and notes, and the machine it ran on.

    {"part": "pull",
     "machine": {"processors": 2, "loadBefore": 0.3, "loadAfter": 1.2},
     "figures": {"sharing.shaped.2.1.ratio": {"unit": "ratio", "values": [0.4], "wanted": 0.5}},
     "tables": [{"title": "…", "columns": ["…"], "rows": [["…"]]}],
     "notes": ["What was stood in for by what."]}

A figure has one value per run, in the order of the runs. A ratio compares an interleaved pair: ours
divided by theirs, both of the same round. `wanted` is the limit that the median should not exceed
(for a speedup: not fall below), or null.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

UNITS = ("ratio", "seconds", "milliseconds", "bytes", "count", "dollars", "gigabyteSeconds")
Document = dict[str, Any]


def figure(unit: str, values: Sequence[float], wanted: float | None = None) -> Document:
    """A figure of a part's document. Raises ValueError without values or for an unknown unit."""
    if unit not in UNITS:
        raise ValueError(f"unit {unit!r} is none of {', '.join(UNITS)}")
    if not values:
        raise ValueError("nothing was measured")
    return {"unit": unit, "values": list(values), "wanted": wanted}


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Document:
    """A table of a part's document. Raises ValueError when a row has another width."""
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"{title}: {len(row)} cells for {len(columns)} columns: {row}")
    return {"title": title, "columns": list(columns), "rows": [list(row) for row in rows]}


def document(
    part: str,
    figures: Mapping[str, Document],
    tables: Sequence[Document] = (),
    notes: Sequence[str] = (),
    machine: Mapping[str, Any] | None = None,
) -> Document:
    """The document that a part's `measure` returns; `__main__` adds the processors and the load."""
    return {
        "part": part,
        "machine": dict(machine or {}),
        "figures": dict(figures),
        "tables": list(tables),
        "notes": list(notes),
    }


def write_document(path: Path, content: Document) -> None:
    """Write the document as JSON, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(content, indent=2) + "\n")
    unfinished.replace(path)


def read_documents(directory: Path, parts: Sequence[str]) -> dict[str, Document]:
    """The documents of the measured parts, in the order of `parts`."""
    paths = {part: directory / f"{part}.json" for part in parts}
    return {part: json.loads(path.read_text()) for part, path in paths.items() if path.exists()}
