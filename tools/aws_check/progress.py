"""What goes on, with the elapsed time, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from .table import COLOURS, PLAIN, Row

QUIET_SECONDS = 2.0
"""What takes less is not told of."""
REPEAT_SECONDS = 15.0


class Late(Exception):
    """Something awaited did not come."""


class Progress:
    """Lines that stay; on a terminal, a last line that follows what goes on."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._begun = self._shown_at = time.monotonic()

    def say(self, text: str) -> None:
        """A line that stays."""
        clear = "\r\033[K" if self._live else ""
        print(f"{clear}{self.seconds:7.1f} s  {text}", file=self._stream, flush=True)
        self._shown_at = time.monotonic()

    def tell(self, row: Row) -> None:
        """A row that was answered."""
        outcome = f"{row.outcome:8}"
        if self._live:
            outcome = f"{COLOURS[row.outcome]}{outcome}{PLAIN}"
        self.say(f"{outcome}{row.name}")

    def show(self, text: str) -> None:
        """What goes on now, unless something was told a moment ago."""
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
        """Since the beginning."""
        return time.monotonic() - self._begun

    def wait_for(
        self, what: str, look: Callable[[], tuple[Any, str]], limit: float, pause: float
    ) -> Any:
        """Look until it gives a value, which is returned; each look also says how far it is.

        Raises Late, with the last of what was said.
        """
        begun, told = time.monotonic(), False
        while True:
            found, state = look()
            if found is not None:
                return found
            waited = time.monotonic() - begun
            if waited > limit:
                raise Late(f"{what} did not come within {limit:.0f} s; the last look: {state}")
            if told:
                self.show(f"waiting for {what}: {state}")
            elif waited + pause > QUIET_SECONDS:
                self.say(f"waiting for {what}, for {limit:.0f} s at most")
                told = True
            time.sleep(pause)
