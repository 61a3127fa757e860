"""The physical waits of a build, as the local cloud imposed them, and the time added to them.

Pure: computed from the local cloud's own record of instances, commands, snapshots and calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BUILD_TAG = "frontload:build"


@dataclass(frozen=True)
class PhysicalWaits:
    """Seconds that nobody can shorten; each wait begins only after the one before it ended."""

    boot: float
    """From the launch until the SSM agent answers."""
    pull: float
    """Duration of the commands on the builder."""
    end: float
    """Shutdown of the builder's operating system."""
    snapshot: float
    copies: float
    """The slowest copy, or the sum if they are made one after the other."""

    @property
    def total(self) -> float:
        """The sum of all waits."""
        return self.boot + self.pull + self.end + self.snapshot + self.copies

    def overhead(self, seconds: float) -> float:
        """Time added to the physical waits, as a share of them; `seconds` is the total."""
        return (seconds - self.total) / self.total


def waits_of_build(
    state: dict[str, Any], snapshots: Sequence[dict[str, Any]], build: str, end_seconds: float
) -> PhysicalWaits:
    """The physical waits of a build of Frontload, whose copies run in parallel.

    `state` and `snapshots` come from the local cloud's control; the build's tag selects from them.
    Every shutdown takes `end_seconds`. Raises ValueError unless the build has exactly one instance
    and one snapshot that is not a copy.
    """
    instances = [
        (name, one)
        for name, one in state["instances"].items()
        if one["tags"].get(BUILD_TAG) == build
    ]
    of_build = [one for one in snapshots if one["tags"].get(BUILD_TAG) == build]
    originals = [one["seconds"] for one in of_build if one["copyOf"] is None]
    copies = [one["seconds"] for one in of_build if one["copyOf"] is not None]
    if len(instances) != 1 or len(originals) != 1:
        raise ValueError(f"{len(instances)} builders and {len(originals)} snapshots of {build}")
    name, instance = instances[0]
    pulls = [one["seconds"] for one in state["commands"] if one["instanceId"] == name]
    return PhysicalWaits(
        instance["bootSeconds"],
        max(filter(None, pulls), default=0.0),
        end_seconds,
        originals[0],
        max(copies, default=0.0),
    )


def published_at(calls: Sequence[dict[str, Any]], cache: str, since: float) -> float:
    """When the last parameter of a cache was written or labelled, as Unix time.

    Raises ValueError when no parameter was written or labelled since `since`.
    """
    times = [
        call["time"]
        for call in calls
        if call["action"] in ("PutParameter", "LabelParameterVersion")
        and str(call["parameters"].get("Name", "")).startswith(f"/frontload/{cache}/")
        and call["time"] >= since
    ]
    if not times:
        raise ValueError(f"cache {cache} was not published")
    return max(times)
