"""Token buckets: how many calls of a kind may come at once, and how many a second after that."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """How many calls a bucket holds when it is full, and how many it gets back each second."""

    capacity: float
    per_second: float


class TokenBuckets:
    """What is left in each bucket; one that nobody took from is full."""

    def __init__(self) -> None:
        self._left: dict[Hashable, tuple[float, float]] = {}

    def take(self, bucket: Hashable, rate: Rate, now: float) -> bool:
        """Take one call out, at a time in seconds; False when there is none."""
        left, since = self._left.get(bucket, (rate.capacity, now))
        left = min(rate.capacity, left + (now - since) * rate.per_second)
        taken = left >= 1
        self._left[bucket] = (left - taken, now)
        return taken
