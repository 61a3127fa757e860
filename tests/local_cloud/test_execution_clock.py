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


def test_waits_count_with_their_requested_time_and_work_with_its_real_time() -> None:
    clock = ExecutionClock()
    begun = clock.seconds()
    clock.wait(60, at_once)
    time.sleep(0.01)
    clock.wait(30, at_once)
    assert 90 <= passed(clock, begun) < 90 + ROOM_SECONDS


def test_the_longest_of_parallel_waits_counts() -> None:
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
