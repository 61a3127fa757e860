"""The arguments of every part: the directory of its files, its rounds and its progress output."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local_cloud.processes import ROOT, Process, clean_environment

TARGET = ROOT / "target" / "bench"
BUILD = ROOT / ".aws-sam" / "build"


class BenchError(Exception):
    """A measurement failed; the message says what happened and what to do."""


@dataclass(frozen=True)
class Bench:
    """The directory of logs and documents, the number of rounds, and the progress output."""

    directory: Path
    say: Callable[[str], None]
    runs: int = 5

    def start(self, name: str, command: list[str]) -> Process:
        """Start a program in a clean environment, with its own log."""
        log = self.directory / f"{name}.log"
        log.unlink(missing_ok=True)
        return Process(name, command, self.environment(), log)

    def environment(self) -> dict[str, str]:
        """An environment that inherits nothing, with an empty home directory."""
        home = self.directory / "home"
        shutil.rmtree(home, ignore_errors=True)
        return clean_environment(home)
