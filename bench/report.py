"""`make bench-report`: writes the measured figures into docs/performance.md, and draws its plots.

The page is written by hand. Only the blocks between `<!-- begin NAME -->` and `<!-- end NAME -->`
are generated here. A block of a part that was not measured stays unchanged.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence

from .documents import Document, read_documents
from .figures import Spread, is_lower_limit, show_value, verdict
from .frame import ROOT, TARGET
from .parts import MODULES
from .summary import HEADLINES, summarise

PAGE = ROOT / "docs" / "performance.md"
PLOTS = ROOT / "docs" / "performance"
HEADLINE_TITLES = {
    "pull.sharing.ratio": ("pull phase, images that share a base, containerd 2.1", 0.5),
    "pull.worst.ratio": ("the worst of all sets, links and versions", 1.02),
    "incremental.ratio": ("incremental build, one layer changed in each of 4 images", 0.15),
    "floor.ratio": ("pull phase against the floor", 1.4),
    "node.speedup": ("first container from the snapshot against a cold pull", 30.0),
    "orchestration.overhead": ("added to the physical waits between push and publication", 0.08),
    "lambda.initMs": ("INIT of a function, ms", 10.0),
    "lambda.zipBytes": ("zip of the functions, bytes", 3e6),
}
WHERE = re.compile(r"<!-- begin (?P<name>[\w.]+) -->\n.*?<!-- end (?P=name) -->", re.DOTALL)


def main() -> int:
    """Write page and plots; returns 1 when nothing was measured or the page has unknown blocks."""
    # Imported here: it needs matplotlib, which nothing else in the benchmarks needs.
    from .plots import draw_all

    documents = read_documents(TARGET, list(MODULES))
    if not documents:
        print(f"nothing is measured: no documents in {TARGET}; run `make bench`", file=sys.stderr)
        return 1
    drawn = draw_all(documents, PLOTS)
    try:
        PAGE.write_text(filled(PAGE.read_text(), documents))
    except KeyError as error:
        print(f"{PAGE}: no block {error}; there are {', '.join(BLOCKS)}", file=sys.stderr)
        return 1
    print(f"{PAGE.relative_to(ROOT)}, and {', '.join(drawn) or 'no plot'}")
    return 0


def filled(page: str, documents: Mapping[str, Document]) -> str:
    """The page with its blocks regenerated. Raises KeyError for a block of an unknown name."""

    def fill(found: re.Match[str]) -> str:
        name = found["name"]
        part, make = BLOCKS[name]
        if part and part not in documents:
            return found[0]
        lines = make(documents)
        text = "\n".join(kept(line, found[0]) for line in lines)
        return f"<!-- begin {name} -->\n{text}\n<!-- end {name} -->"

    return WHERE.sub(fill, page)


def kept(line: str, before: str) -> str:
    """The new line; for a headline that was not measured, its line in `before` if any."""
    if not line.endswith("| not measured |"):
        return line
    name = line.split("|")[2]
    return next((one for one in before.splitlines() if f"|{name}|" in one), line)


def headlines(documents: Mapping[str, Document]) -> list[str]:
    """The wanted and the measured values, one row per figure."""
    summary = summarise(documents)
    rows = []
    for name in HEADLINES:
        title, limit = HEADLINE_TITLES[name]
        sign = "≥" if is_lower_limit(name) else "≤"
        found = summary.get(name)
        values = [plain(found[key]) for key in ("min", "median", "max")] if found else ["–"] * 3
        told = verdict(name, limit, found["median"]) if found else "not measured"
        rows.append([title, f"`{name}`", f"{sign} {plain(limit)}", *values, told.lower()])
    return markdown(["figure", "name", "wanted", "min", "median", "max", ""], rows)


def plain(value: float) -> str:
    """A number of a headline; its unit is in the headline's title."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def figures_of(part: str, wanted: Callable[[str], bool] = lambda name: True) -> Block:
    """A block: the part's figures whose names `wanted` accepts."""

    def make(documents: Mapping[str, Document]) -> list[str]:
        figures = documents[part]["figures"]
        rows = [figure_row(name, one) for name, one in figures.items() if wanted(name)]
        return markdown(["figure", "min", "median", "max", "runs", "wanted", ""], rows)

    return part, make


def figure_row(name: str, one: Document) -> list[str]:
    """A figure as a row of the page."""
    spread, unit, limit = Spread.of(one["values"]), one["unit"], one["wanted"]
    values = [show_value(unit, value) for value in (spread.min, spread.median, spread.max)]
    sign = "≥" if is_lower_limit(name) else "≤"
    wanted = f"{sign} {show_value(unit, limit)}" if limit is not None else ""
    told = verdict(name, limit, spread.median).lower()
    return [f"`{name}`", *values, str(spread.runs), wanted, told]


def tables_of(part: str, wanted: Callable[[str], bool] = lambda title: True) -> Block:
    """A block: the part's tables whose titles `wanted` accepts."""

    def make(documents: Mapping[str, Document]) -> list[str]:
        lines: list[str] = []
        for one in documents[part]["tables"]:
            if wanted(one["title"]):
                lines += ["", f"**{one['title']}**", "", *markdown(one["columns"], one["rows"])]
        return lines[1:]

    return part, make


def notes_of(part: str) -> Block:
    """A block: how the part was measured, and on which machine."""

    def make(documents: Mapping[str, Document]) -> list[str]:
        content = documents[part]
        machine = content["machine"]
        told = (
            f"{machine['processors']} processors, load {machine['loadBefore']:.1f} before and"
            f" {machine['loadAfter']:.1f} after."
        )
        return [*(f"- {note}" for note in content["notes"]), f"- Machine: {told}"]

    return part, make


def markdown(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A table in Markdown, as lines."""
    lines = [list(map(cell, row)) for row in (columns, *rows)]
    head, *rest = [f"| {' | '.join(line)} |" for line in lines]
    return [head, "|" + "---|" * len(columns), *rest]


def cell(value: object) -> str:
    """A cell's text: one line, with `|` escaped because it would end the cell."""
    return " ".join(str(value).split()).replace("|", "\\|")


Block = tuple[str, Callable[[Mapping[str, Document]], list[str]]]
"""The part that a block needs (empty: not one part alone), and the function for its lines."""


def is_assumption(title: str) -> bool:
    """Whether a table of `orchestration` is the one of the assumptions."""
    return title.startswith("Assumed")


def is_quota(title: str) -> bool:
    """Whether a table of `growth` is the one of AWS's quotas."""
    return title.startswith("Quotas")


def is_price(title: str) -> bool:
    """Whether a table of `cost` is the one of the prices."""
    return title == "Prices"


BLOCKS: dict[str, Block] = {
    "headlines": ("", headlines),
    **{part: figures_of(part) for part in MODULES},
    **{f"{part}.tables": tables_of(part) for part in MODULES},
    **{f"{part}.notes": notes_of(part) for part in MODULES},
    "lambda": figures_of("lambda", lambda name: "." not in name),
    "growth": figures_of("growth", lambda name: name.count(".") == 1),
    "cost": figures_of("cost", lambda name: name.endswith("buildDollars")),
    "orchestration.tables": tables_of("orchestration", lambda title: not is_assumption(title)),
    "growth.tables": tables_of("growth", lambda title: not is_quota(title)),
    "cost.tables": tables_of("cost", lambda title: not is_price(title)),
    "assumptions": tables_of("orchestration", is_assumption),
    "quotas": tables_of("growth", is_quota),
    "prices": tables_of("cost", is_price),
}
"""The blocks that the page may have, by name."""


if __name__ == "__main__":
    sys.exit(main())
