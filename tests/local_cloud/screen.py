"""Shows a person the progress of a long task: lines with elapsed seconds."""

from __future__ import annotations

import sys
import time


class Screen:
    """Lines with elapsed time; on a terminal, the last line shows the current step."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._live = sys.stdout.isatty()
        self._last = ""
        self._last_at = 0.0

    def say(self, text: str) -> None:
        """Print a line that stays."""
        clear = "\r\033[K" if self._live else ""
        print(f"{clear}{self._clock()}  {text}", flush=True)
        self._last = ""

    def title(self, text: str) -> None:
        """Print a heading."""
        bold, plain = ("\033[1m", "\033[0m") if self._live else ("", "")
        print(f"\n{bold}{text}{plain}", flush=True)

    def show(self, text: str) -> None:
        """Show the current step: in place on a terminal, else when new or every ten seconds."""
        if self._live:
            print(f"\r\033[K{self._clock()}  {text[:150]}", end="", flush=True)
        elif text != self._last or time.monotonic() - self._last_at > 10:
            self._last_at = time.monotonic()
            self.say(text)
            self._last = text

    def _clock(self) -> str:
        return f"{time.monotonic() - self._started:6.1f} s"
