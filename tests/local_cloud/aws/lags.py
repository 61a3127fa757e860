"""Writes appear with a delay in what functions describe and list.

EC2 is eventually consistent: "the result of an API command you run that affects your Amazon EC2
resources might not be immediately visible to all subsequent commands you run" (EC2 developer guide,
"Eventual consistency"). ListCommands may omit a command that has not reached its instance. The call
itself returns the full result, and a change by id takes effect at once. Tests see the present
state.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..request_check import is_of_function

SEED = 1


@dataclass(frozen=True)
class TagChange:
    """A tag that was written; `before` is its earlier value, None when there was none."""

    backend: Any
    resource: str
    key: str
    before: str | None
    shown_at: float


class Lags:
    """When each write becomes visible; the order of the writes determines the delays."""

    def __init__(self) -> None:
        self._random = random.Random(SEED)
        self._shown_at: dict[str, float] = {}
        self._tags: list[TagChange] = []

    def note(self, cloud: Any, identity: str) -> None:
        """Note that an instance or a command was just created."""
        self._shown_at[identity] = time.monotonic() + self.lag(cloud.settings.longest_lag_seconds)

    def note_tags(self, cloud: Any, backend: Any, resource: str, keys: list[str]) -> None:
        """Note that these tags of a resource are about to be written."""
        now = time.monotonic()
        self._tags = [one for one in self._tags if one.shown_at > now]
        shown_at = max(
            now + self.lag(cloud.settings.longest_lag_seconds),
            # Never visible before an earlier write to the same resource.
            *(one.shown_at for one in self._tags if one.resource == resource),
            now,
        )
        for key in keys:
            before = backend.tags.get(resource, {}).get(key)
            self._tags.append(TagChange(backend, resource, key, before, shown_at))

    def shows(self, identity: str) -> bool:
        """Whether an instance or a command is visible by now."""
        return self._shown_at.get(identity, 0.0) <= time.monotonic()

    def unshown_tags(self, backend: Any) -> list[TagChange]:
        """Return the changes that are not visible yet, in order."""
        now = time.monotonic()
        return [one for one in self._tags if one.backend is backend and one.shown_at > now]

    def lag(self, longest: float) -> float:
        """Return the delay of the next write, in seconds."""
        return self._random.uniform(0, longest)


def lists(cloud: Any, request: Any, identity: str) -> bool:
    """Whether the caller's list contains an instance or a command by now."""
    return not _is_late(request) or cloud.lags.shows(identity)


def _is_late(request: Any) -> bool:
    return is_of_function(request.headers.get("User-Agent", ""))


@contextmanager
def as_it_shows(cloud: Any, request: Any, service: str, action: str) -> Iterator[None]:
    """Hide writes that are not visible yet while an EC2 Describe action of a function runs."""
    if service != "ec2" or not action.startswith("Describe") or not _is_late(request):
        yield
        return
    backend = request.ec2_backend
    reservations = backend.reservations
    backend.reservations = type(reservations)(
        (identity, one)
        for identity, one in reservations.items()
        if all(cloud.lags.shows(instance.id) for instance in one.instances)
    )
    unshown = cloud.lags.unshown_tags(backend)
    written = [(one, backend.tags[one.resource].get(one.key)) for one in unshown]
    for one in reversed(unshown):
        _set(backend, one, one.before)
    try:
        yield
    finally:
        backend.reservations = reservations
        for one, value in written:
            _set(backend, one, value)


def _set(backend: Any, change: TagChange, value: str | None) -> None:
    if value is None:
        backend.tags[change.resource].pop(change.key, None)
    else:
        backend.tags[change.resource][change.key] = value
