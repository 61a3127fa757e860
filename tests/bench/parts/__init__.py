"""What is measured: a module a part, with `measure(bench: Bench) -> Document`.

Two names are fixed by the summary: `pull` calls its ratios `<set>.<link>.<version>.ratio`, such as
`sharing.shaped.2.1.ratio`; `incremental` and `floor` have `ratio`, `node` has `speedup`,
`orchestration` has `overhead`.
"""

from __future__ import annotations

import importlib.util
from importlib import import_module
from types import ModuleType

from ..frame import BenchError

# In the order in which they run: `cost` reckons with what the two before it counted.
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
    """The parts of these names, or all, in the order in which they run. Raises BenchError."""
    unknown = sorted(set(names) - set(MODULES))
    if unknown:
        raise BenchError(f"no part {', '.join(unknown)}; there are {', '.join(MODULES)}")
    return [part for part in MODULES if part in names or (not names and exists(part))]


def exists(part: str) -> bool:
    """Whether the part has its module."""
    return importlib.util.find_spec(f"{__name__}.{MODULES[part]}") is not None


def parts_module(part: str) -> ModuleType:
    """The part's module. Loaded only when it is its turn: some load whole emulators."""
    return import_module(f"{__name__}.{MODULES[part]}")
