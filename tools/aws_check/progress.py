"""Prints progress and the elapsed time on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from .table import COLOURS, PLAIN, Row

QUIET_SECONDS = 2.0
"""Work that takes less is not reported."""
REPEAT_SECONDS = 15.0


class WaitTimedOut(Exception):
    """A wait reached its limit."""


class Progress:
    """Prints lines that stay and, on a terminal, a last line that changes with the current work."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._begun = self._shown_at = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        clear = "\r\033[K" if self._live else ""
        print(f"{clear}{self.seconds:7.1f} s  {text}", file=self._stream, flush=True)
        self._shown_at = time.monotonic()

    def show_row(self, row: Row) -> None:
        """Print a row that was answered."""
        outcome = f"{row.outcome:8}"
        if self._live:
            outcome = f"{COLOURS[row.outcome]}{outcome}{PLAIN}"
        self.say(f"{outcome}{row.name}")

    def show(self, text: str) -> None:
        """Print the current work, unless something was printed a moment ago."""
        quiet = QUIET_SECONDS if self._live else REPEAT_SECONDS
        if time.monotonic() - self._shown_at < quiet:
            return
        if self._live:
            line = f"\r\033[K{self.seconds:7.1f} s  {text[:110]}"
            print(line, end="", file=self._stream, flush=True)
        else:
            self.say(text)

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begun

    def wait_for(
        self, what: str, look: Callable[[], tuple[Any, str]], limit: float, pause: float
    ) -> Any:
        """Call `look` until it returns a value, and return that value.

        Each look also returns the state as text. Raises WaitTimedOut with the last state.
        """
        begun, told = time.monotonic(), False
        while True:
            found, state = look()
            if found is not None:
                return found
            waited = time.monotonic() - begun
            if waited > limit:
                raise WaitTimedOut(
                    f"{what} did not come within {limit:.0f} s; the last look: {state}"
                )
            if told:
                self.show(f"waiting for {what}: {state}")
            elif waited + pause > QUIET_SECONDS:
                self.say(f"waiting for {what}, for {limit:.0f} s at most")
                told = True
            time.sleep(pause)
