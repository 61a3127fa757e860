"""Token buckets limit a burst of calls and the calls per second after it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """A bucket's capacity in calls, and how many calls it regains per second."""

    capacity: float
    per_second: float


class TokenBuckets:
    """The calls left in each bucket; an unused bucket is full."""

    def __init__(self) -> None:
        self._left: dict[Hashable, tuple[float, float]] = {}

    def take(self, bucket: Hashable, rate: Rate, now: float) -> bool:
        """Take one call at the time `now`, in seconds; return False when none is left."""
        left, since = self._left.get(bucket, (rate.capacity, now))
        left = min(rate.capacity, left + (now - since) * rate.per_second)
        taken = left >= 1
        self._left[bucket] = (left - taken, now)
        return taken
