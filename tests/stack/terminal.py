"""A command on a terminal of its own, to which somebody only ever answers with Return."""

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
# The answers were given in advance: what follows a question may stand in the same line.
QUESTION = re.compile(r"\t(?P<asked>[A-Z][\w ]+?) \[(?P<offered>[^\n\]]*)\]: ")
RETURNS = 60


@dataclass(frozen=True)
class Session:
    """What was said until the end."""

    status: int
    said: str

    @property
    def questions(self) -> list[tuple[str, str]]:
        """Each question with the answer that Return stands for."""
        return [(found["asked"], found["offered"]) for found in QUESTION.finditer(self.said)]


def press_return(
    command: list[str], directory: Path, environment: dict[str, str], seconds: float
) -> Session:
    """Run the command, and answer each of its questions, up to 60, with Return.

    Raises TimeoutError, with what was said, when it has not ended in time.
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
    """What is said next; nothing when the other side is closed. Raises TimeoutError."""
    ready, _, _ = select.select([terminal], [], [], max(0.0, end - time.monotonic()))
    if not ready:
        raise TimeoutError
    try:
        return os.read(terminal, 65536)
    except OSError:
        # Linux says so of a terminal that nobody holds any more.
        return b""
