"""Ends what is left when the local cloud's process dies: `python -m local_cloud.janitor <dir>`.

It reads `group <pid>` lines from its standard input, which only the watched process keeps open.
When the input ends, it ends the named process groups and removes the directory.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from .processes import TESTS_DIR, clean_environment, python_module

TERM_SECONDS = 20.0
HOST_DIR = "builder-host"
"""The builder host's folder in the state directory."""


class Janitor:
    """The watched process's side: names process groups, and lets the janitor end them."""

    def __init__(self, state_dir: Path) -> None:
        environment = clean_environment(state_dir)
        self._process = subprocess.Popen(
            python_module("local_cloud.janitor", str(state_dir)),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
            cwd=TESTS_DIR,
        )

    def watch(self, pid: int) -> None:
        """Name a process group that the janitor ends when this process dies."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"group {pid}\n".encode())
        self._process.stdin.flush()

    def finish(self) -> None:
        """Close the pipe; the janitor ends all running groups, removes the directory and exits."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60.0)


def main() -> None:
    """Wait for the end of standard input, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    state_dir = Path(sys.argv[1])
    groups = [int(line.split()[1]) for line in sys.stdin if line.startswith("group ")]
    end_groups(groups)
    _remove(state_dir)


def end_groups(groups: list[int]) -> None:
    """Send SIGTERM to the groups, then SIGKILL to those that still run after a time limit."""
    for group in groups:
        _signal(group, signal.SIGTERM)
    end = time.monotonic() + TERM_SECONDS
    while any(_alive(group) for group in groups) and time.monotonic() < end:
        time.sleep(0.05)
    for group in groups:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _alive(group: int) -> bool:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        # Fields after the name: state, parent, process group. A zombie has ended already.
        if int(fields[2]) == group and fields[0] != "Z":
            return True
    return False


def _remove(state_dir: Path) -> None:
    host_dir = state_dir / HOST_DIR
    if host_dir.is_dir():
        from .builder_host import leftovers

        leftovers.clean_dead_runs(state_dir)
    shutil.rmtree(state_dir, ignore_errors=True)


if __name__ == "__main__":
    main()
