"""What was written shows a little later in what functions describe and list.

EC2 is eventually consistent: "the result of an API command you run that affects your Amazon EC2
resources might not be immediately visible to all subsequent commands you run" (EC2 developer guide,
"Eventual consistency"). ListCommands may leave out a command that has not reached its instance. The
call itself answers in full, and what a call by id changes is changed at once. Tests see everything
as it is.
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
    """A tag that was written; `before` is its value until then, None when there was none."""

    backend: Any
    resource: str
    key: str
    before: str | None
    shown_at: float


class Lags:
    """When what was written shows; how much later follows from the order of the writes."""

    def __init__(self) -> None:
        self._random = random.Random(SEED)
        self._shown_at: dict[str, float] = {}
        self._tags: list[TagChange] = []

    def note(self, world: Any, identity: str) -> None:
        """An instance or a command was made just now."""
        self._shown_at[identity] = time.monotonic() + self.lag(world.settings.longest_lag_seconds)

    def note_tags(self, world: Any, backend: Any, resource: str, keys: list[str]) -> None:
        """These tags of a resource are about to be written."""
        now = time.monotonic()
        self._tags = [one for one in self._tags if one.shown_at > now]
        shown_at = max(
            now + self.lag(world.settings.longest_lag_seconds),
            # Never before what was written before it.
            *(one.shown_at for one in self._tags if one.resource == resource),
            now,
        )
        for key in keys:
            before = backend.tags.get(resource, {}).get(key)
            self._tags.append(TagChange(backend, resource, key, before, shown_at))

    def shows(self, identity: str) -> bool:
        """Whether an instance or a command is listed by now."""
        return self._shown_at.get(identity, 0.0) <= time.monotonic()

    def unshown_tags(self, backend: Any) -> list[TagChange]:
        """The changes that do not show yet, in order."""
        now = time.monotonic()
        return [one for one in self._tags if one.backend is backend and one.shown_at > now]

    def lag(self, longest: float) -> float:
        """How many seconds later the next write shows."""
        return self._random.uniform(0, longest)


def lists(world: Any, request: Any, identity: str) -> bool:
    """Whether whoever asks is told of an instance or a command."""
    return not _is_late(request) or world.lags.shows(identity)


def _is_late(request: Any) -> bool:
    return is_of_function(request.headers.get("User-Agent", ""))


@contextmanager
def as_it_shows(world: Any, request: Any, service: str, action: str) -> Iterator[None]:
    """Let EC2's descriptions leave out, meanwhile, what does not show yet."""
    if service != "ec2" or not action.startswith("Describe") or not _is_late(request):
        yield
        return
    backend = request.ec2_backend
    reservations = backend.reservations
    backend.reservations = type(reservations)(
        (identity, one)
        for identity, one in reservations.items()
        if all(world.lags.shows(instance.id) for instance in one.instances)
    )
    unshown = world.lags.unshown_tags(backend)
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
