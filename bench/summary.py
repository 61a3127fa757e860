"""The headline figures of all parts that were measured: `target/bench/summary.json`.

Pure: computes minimum, median and maximum of each figure from the parts' documents.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .documents import Document
from .figures import Spread

BEST_CONTAINERD = "2.1"
"""The containerd version for which half of snapshot.sh's time is wanted."""
HEADLINES = (
    "pull.sharing.ratio",
    "pull.worst.ratio",
    "incremental.ratio",
    "floor.ratio",
    "node.speedup",
    "orchestration.overhead",
    "lambda.initMs",
    "lambda.zipBytes",
)


def summarise(documents: Mapping[str, Document]) -> dict[str, dict[str, Any]]:
    """First the headlines that were measured, then every other figure as `<part>.<figure>`."""
    spreads = {
        f"{part}.{name}": Spread.of(one["values"])
        for part, content in documents.items()
        for name, one in content["figures"].items()
    }
    if "pull" in documents:
        spreads |= pull_headlines(documents["pull"])
    if "incremental" in documents:
        spreads["incremental.ratio"] = incremental_headline(documents["incremental"])
    first = [name for name in HEADLINES if name in spreads]
    rest = [name for name in spreads if name not in HEADLINES]
    return {name: shown(spreads[name]) for name in (*first, *rest)}


def shown(spread: Spread) -> dict[str, Any]:
    """A spread as in the summary, without the number of runs: the part's document has them."""
    return {name: value for name, value in asdict(spread).items() if name != "runs"}


def incremental_headline(content: Document) -> Spread:
    """The spread of the containerd version that gains least."""
    ratios = [
        Spread.of(one["values"])
        for name, one in content["figures"].items()
        if re.fullmatch(r"[0-9.]+\.ratio", name)
    ]
    return max(ratios, key=lambda one: one.median)


def pull_headlines(content: Document) -> dict[str, Spread]:
    """The slower link of the sharing set on the best containerd, and the worst of all ratios."""
    ratios = {
        tuple(name.split(".", 2)): Spread.of(one["values"])
        for name, one in content["figures"].items()
        if name.endswith(".ratio") and name.count(".") >= 3
    }
    sharing = [
        spread
        for (images, _, version), spread in ratios.items()
        if images == "sharing" and version == f"{BEST_CONTAINERD}.ratio"
    ]
    found = {}
    if sharing:
        found["pull.sharing.ratio"] = max(sharing, key=lambda one: one.median)
    if ratios:
        found["pull.worst.ratio"] = max(ratios.values(), key=lambda one: one.median)
    return found
