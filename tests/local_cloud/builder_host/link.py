"""Slows the network between an instance and its registry: adds a round trip, limits the rate.

The rate applies to each connection, as a registry's does: the kernel paces what is sent to the
instance (SO_MAX_PACING_RATE, which TCP obeys without any queueing discipline). The whole round
trip is spent on the way to the registry, where requests are small. Slow start and loss are left
out: a connection has its full rate at once, and the kernel never paces its first ten segments
(0.65 MB on loopback).
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

_SO_MAX_PACING_RATE = 47
_MOST_WAITING = 64


@dataclass(frozen=True)
class Link:
    """The network between an instance and the registry."""

    round_trip_seconds: float
    bytes_per_second: int
    """Rate of one connection, towards the instance."""

    def pace(self, towards_instance: socket.socket) -> None:
        """Let the kernel send no faster than the link's rate on this connection."""
        towards_instance.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, self.bytes_per_second)


class DelayLine:
    """Delivers chunks in order, each `seconds` after it came in. Several may be in transit."""

    def __init__(self, seconds: float, deliver: Callable[[bytes], None]) -> None:
        self._seconds = seconds
        self._deliver = deliver
        self._waiting: queue.Queue[tuple[float, bytes]] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, daemon=True, name="delay-line")
        self._thread.start()

    def send(self, chunk: bytes) -> None:
        """Take a chunk; an empty one is the last. Raises OSError once a delivery has failed."""
        due = time.monotonic() + self._seconds
        while True:
            if not self._thread.is_alive():
                raise OSError("the other end is gone")
            try:
                self._waiting.put((due, chunk), timeout=1)
                return
            except queue.Full:
                continue

    def close(self) -> None:
        """Wait until the last chunk is delivered, or a delivery has failed."""
        self._thread.join()

    def _run(self) -> None:
        while True:
            due, chunk = self._waiting.get()
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            try:
                self._deliver(chunk)
            except OSError:
                return
            if not chunk:
                return
