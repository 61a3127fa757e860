"""What an execution's `$millis` counts."""

from __future__ import annotations

import threading
import time

from .execution_clock import ExecutionClock

ROOM_SECONDS = 20.0
"""How much time a slow machine may add."""


def at_once(_: float) -> None: ...


def passed(clock: ExecutionClock, begun: float) -> float:
    """Seconds since `begun`, by the clock."""
    return clock.seconds() - begun


def test_a_wait_counts_as_long_as_it_was_asked_for_and_what_is_no_wait_as_long_as_it_took() -> None:
    clock = ExecutionClock()
    begun = clock.seconds()
    clock.wait(60, at_once)
    time.sleep(0.01)
    clock.wait(30, at_once)
    assert 90 <= passed(clock, begun) < 90 + ROOM_SECONDS


def test_of_waits_side_by_side_the_longest_counts() -> None:
    clock, both = ExecutionClock(), threading.Barrier(2)
    begun = clock.seconds()
    waits = [
        threading.Thread(target=clock.wait, args=(seconds, lambda _: both.wait(10)))
        for seconds in (60, 40)
    ]
    for one in waits:
        one.start()
    for one in waits:
        one.join()
    assert 60 <= passed(clock, begun) < 60 + ROOM_SECONDS
