"""The time that passes for one execution of a state machine whose waits are scaled."""

from __future__ import annotations

import time
from collections.abc import Callable


class ExecutionClock:
    """The machine's time, and what the execution's waits are shorter than they were asked to be.

    So a function takes as long as it takes, and a wait as long as on AWS.
    """

    def __init__(self) -> None:
        self._ahead = 0.0

    def seconds(self) -> float:
        """Now, since the epoch."""
        return time.time() + self._ahead

    def wait(self, seconds: float, wait: Callable[[float], None]) -> None:
        """Wait, and be that much later then; of waits side by side the longest counts."""
        end = self.seconds() + seconds
        wait(seconds)
        self._ahead = max(self._ahead, end - time.time())
