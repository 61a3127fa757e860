"""The parts of the benchmarks: one module each, with `measure(bench: Bench) -> Document`.

The summary expects these names: `pull` calls its ratios `<set>.<link>.<version>.ratio`, such as
`sharing.shaped.2.1.ratio`; `incremental` and `floor` have `ratio`, `node` has `speedup`,
`orchestration` has `overhead`.
"""

from __future__ import annotations

import importlib.util
from importlib import import_module
from types import ModuleType

from ..frame import BenchError

# In the order in which they run: `cost` uses the counts of the two parts before it.
MODULES = {
    "lambda": "functions",
    "demo": "demo",
    "pull": "pull",
    "floor": "floor",
    "node": "node",
    "incremental": "incremental",
    "orchestration": "orchestration",
    "growth": "growth",
    "cost": "cost",
}
"""The parts and their modules in this package."""


def chosen(names: list[str]) -> list[str]:
    """The parts named, or all, in running order. Raises BenchError for an unknown name."""
    unknown = sorted(set(names) - set(MODULES))
    if unknown:
        raise BenchError(f"no part {', '.join(unknown)}; there are {', '.join(MODULES)}")
    return [part for part in MODULES if part in names or (not names and exists(part))]


def exists(part: str) -> bool:
    """Whether the part's module exists."""
    return importlib.util.find_spec(f"{__name__}.{MODULES[part]}") is not None


def parts_module(part: str) -> ModuleType:
    """The part's module, imported only when the part runs: some import whole emulators."""
    return import_module(f"{__name__}.{MODULES[part]}")
