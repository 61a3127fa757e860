"""The time of one execution of a state machine with scaled waits."""

from __future__ import annotations

import time
from collections.abc import Callable


class ExecutionClock:
    """The machine's time, plus the time that scaling cut from the execution's waits.

    So a function takes its real time, and a wait takes as long as on AWS.
    """

    def __init__(self) -> None:
        self._ahead = 0.0

    def seconds(self) -> float:
        """The current time, since the epoch."""
        return time.time() + self._ahead

    def wait(self, seconds: float, wait: Callable[[float], None]) -> None:
        """Wait, then set the clock to the unscaled end; of parallel waits, the longest counts."""
        end = self.seconds() + seconds
        wait(seconds)
        self._ahead = max(self._ahead, end - time.time())
