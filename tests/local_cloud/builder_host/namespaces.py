"""Enters Linux namespaces from a thread, and finds a process's children."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_libc = ctypes.CDLL(None, use_errno=True)
Result = TypeVar("Result")


def enter(namespace: str) -> None:
    """Move the calling thread into the namespace file, such as /proc/7/ns/net."""
    fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, 0) != 0:
            error = ctypes.get_errno()
            raise OSError(error, f"setns: {os.strerror(error)}", namespace)
    finally:
        os.close(fd)


def in_network_of(pid: int, make: Callable[[], Result]) -> Result:
    """Run `make` in the network namespace of the process and return what it made.

    A separate thread enters the namespace and ends there, so no other thread changes its namespace.
    """
    outcome: dict[str, object] = {}

    def work() -> None:
        try:
            enter(f"/proc/{pid}/ns/net")
            outcome["made"] = make()
        except BaseException as error:  # raised again in the caller below
            outcome["error"] = error

    thread = threading.Thread(target=work, name=f"netns-{pid}")
    thread.start()
    thread.join()
    if "error" in outcome:
        raise outcome["error"]  # type: ignore[misc]
    return outcome["made"]  # type: ignore[return-value]


def listen_in_network_of(pid: int, address: tuple[str, int]) -> socket.socket:
    """Return a listening TCP socket in the network namespace of the process."""
    return in_network_of(pid, lambda: socket.create_server(address, backlog=64))


def children_of(pid: int) -> list[int]:
    """The process ids of the process's children, as this process numbers them."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        # The second field, the program's name, may contain spaces and brackets.
        if int(stat.rpartition(")")[2].split()[1]) == pid:
            found.append(int(entry.name))
    return found


def only_descendant(pid: int, depth: int) -> int:
    """Return the process `depth` generations below, when each generation has exactly one child.

    Raises ValueError when a generation has none, or several.
    """
    for _ in range(depth):
        (pid,) = children_of(pid)
    return pid
