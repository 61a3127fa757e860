"""The physical waits of a build, as the local cloud imposed them, and what was added to them.

Pure: from the local cloud's own record of instances, commands, snapshots and calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BUILD_TAG = "frontload:build"


@dataclass(frozen=True)
class PhysicalWaits:
    """Seconds that pass whoever waits for them; none can begin before the one before it ended."""

    boot: float
    """From the launch until the SSM agent answers."""
    pull: float
    """What the commands on the builder took."""
    end: float
    """The shutdown of its operating system."""
    snapshot: float
    copies: float
    """The slowest copy, or the sum where one is made after the other."""

    @property
    def total(self) -> float:
        """All of them, one after the other."""
        return self.boot + self.pull + self.end + self.snapshot + self.copies

    def overhead(self, seconds: float) -> float:
        """What share of the physical waits was added to them."""
        return (seconds - self.total) / self.total


def waits_of_build(
    state: dict[str, Any], snapshots: Sequence[dict[str, Any]], build: str, end_seconds: float
) -> PhysicalWaits:
    """Of a build of Frontload, whose copies run side by side; found by the build's tag. Every
    shutdown takes `end_seconds`.

    `state` and `snapshots` are what the local cloud's control tells. Raises ValueError unless there
    is one instance and one snapshot of the build.
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

    Raises ValueError when none was since then.
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
