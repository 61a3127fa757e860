"""Runs a command on its own terminal, where Return answers every question."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# All answers are sent in advance, so output after a question may be on the same line.
QUESTION = re.compile(r"\t(?P<asked>[A-Z][\w ]+?) \[(?P<offered>[^\n\]]*)\]: ")
RETURNS = 60


@dataclass(frozen=True)
class Session:
    """The command's exit status and all its output."""

    status: int
    said: str

    @property
    def questions(self) -> list[tuple[str, str]]:
        """Each question with the answer that Return stands for."""
        return [(found["asked"], found["offered"]) for found in QUESTION.finditer(self.said)]


def press_return(
    command: list[str], directory: Path, environment: dict[str, str], seconds: float
) -> Session:
    """Run the command and answer each of its questions, up to 60, with Return.

    Raises TimeoutError, with the output, when it has not ended in time.
    """
    ours, theirs = pty.openpty()
    os.write(ours, b"\n" * RETURNS)
    with subprocess.Popen(
        command,
        cwd=directory,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        said = b""
        try:
            end = time.monotonic() + seconds
            while chunk := _read(ours, end):
                said += chunk
            status = process.wait(timeout=10)
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            process.kill()
            last = said.decode()[-4000:]
            raise TimeoutError(f"not over after {seconds:.0f} s: {last}") from error
        finally:
            os.close(ours)
    return Session(status, COLOUR.sub("", said.decode().replace("\r", "")))


def _read(terminal: int, end: float) -> bytes:
    """The next output; empty when the other side is closed. Raises TimeoutError."""
    ready, _, _ = select.select([terminal], [], [], max(0.0, end - time.monotonic()))
    if not ready:
        raise TimeoutError
    try:
        return os.read(terminal, 65536)
    except OSError:
        # Linux fails the read when no process has the terminal open any more.
        return b""
