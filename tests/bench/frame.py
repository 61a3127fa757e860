"""What every part of the benchmarks is given: where its files go, how often, and who is told."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local_cloud.processes import TESTS_DIR, Process, clean_environment

ROOT = TESTS_DIR.parent
TARGET = ROOT / "target" / "bench"
BUILD = ROOT / ".aws-sam" / "build"


class BenchError(Exception):
    """Something did not do what was to be measured; the message says what, and what to do."""


@dataclass(frozen=True)
class Bench:
    """Where logs and documents go, how many rounds are wanted, and who is told of progress."""

    directory: Path
    say: Callable[[str], None]
    runs: int = 5

    def start(self, name: str, command: list[str]) -> Process:
        """A program in a clean environment, with a log of its own."""
        log = self.directory / f"{name}.log"
        log.unlink(missing_ok=True)
        return Process(name, command, self.environment(), log)

    def environment(self) -> dict[str, str]:
        """Nothing inherited, and a home directory without anything in it."""
        home = self.directory / "home"
        shutil.rmtree(home, ignore_errors=True)
        return clean_environment(home)
