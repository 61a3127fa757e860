"""Starts the local cloud's child processes clean, limits the waits for them, and ends them.

Each child leads its own process group, so that Ctrl-C reaches only this process, which ends the
children in order. When this process dies first, `janitor.py` ends them.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from random import SystemRandom

TESTS_DIR = Path(__file__).resolve().parent.parent
ROOT = TESTS_DIR.parent
STOP_SECONDS = 20.0
LOCAL_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
FIRST_PORT, END_OF_PORTS = 10_000, 65_536
PORTS_TRIED = 100


class StartError(Exception):
    """A part of the local cloud did not start; the message ends with the last part of its log."""


class Process:
    """One running child with its log file."""

    def __init__(
        self, name: str, command: Sequence[str], environment: dict[str, str], log: Path
    ) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=log.parent,
            )
        self.pid = self._popen.pid

    def wait_until_ready(self, ready: Callable[[], bool], seconds: float) -> None:
        """Poll until ready. Raises StartError when the process ends or the time is over."""
        end = time.monotonic() + seconds
        while not ready():
            if self._popen.poll() is not None:
                raise StartError(f"{self.name} ended with {self._popen.returncode}: {self.tail()}")
            if time.monotonic() > end:
                raise StartError(f"{self.name} was not ready after {seconds:.0f} s: {self.tail()}")
            time.sleep(0.05)

    def tail(self, size: int = 2000) -> str:
        """The end of the log, at most `size` characters."""
        return self.log.read_text(errors="replace")[-size:]

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._popen.poll() is None

    def stop(self) -> None:
        """Send SIGTERM to the group, then SIGKILL after a time limit."""
        for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0)):
            try:
                os.killpg(self.pid, number)
                self._popen.wait(seconds)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self._popen.wait(5.0)


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """An environment without inherited credentials, proxies or settings."""
    temporary = home / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin",
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "LANG": "C.UTF-8",
        # The packages of the tests, such as this one, and those beside tests/: bench and tools.
        "PYTHONPATH": f"{TESTS_DIR}{os.pathsep}{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        **more,
    }


def python_module(module: str, *arguments: str) -> list[str]:
    """The command that runs a Python module with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def free_ports(count: int) -> list[int]:
    """Loopback ports that are free now and differ from each other.

    If enough ports are left, none is in the range that the kernel gives to outgoing connections:
    such a connection could take the port before a server listens. Raises StartError when fewer
    than `count` of the ports tried are free.
    """
    candidates = range(FIRST_PORT, int(LOCAL_PORT_RANGE.read_text().split()[0]))
    if len(candidates) < PORTS_TRIED:
        # This machine gives almost all ports to outgoing connections.
        candidates = range(FIRST_PORT, END_OF_PORTS)
    ports: list[int] = []
    # Not seeded: two processes with the same seed would take the same ports.
    for port in SystemRandom().sample(candidates, k=PORTS_TRIED):
        with suppress(OSError), socket.socket() as one:
            one.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise StartError(f"{count} ports are not free among {PORTS_TRIED} of {candidates}")


def accepts_connections(port: int) -> bool:
    """Whether something listens on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers_http(url: str) -> bool:
    """Whether a GET succeeds."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2.0):
            return True
    except (urllib.error.URLError, OSError):
        return False
