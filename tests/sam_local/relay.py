"""Carries connections from the containers' bridge to the local cloud, which listens on loopback.

A relay listens only on the bridge's own address, so only the bridge's containers and this machine
can connect.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from typing import Any

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 120.0
CHUNK_BYTES = 65536


class Relay(socketserver.ThreadingTCPServer):
    """Listens at an address on a free port, and forwards to a loopback port."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: str, target_port: int) -> None:
        self.target = ("127.0.0.1", target_port)
        super().__init__((address, 0), _Connection)

    @property
    def url(self) -> str:
        """The URL for clients."""
        address, port = self.server_address[:2]
        return f"http://{address}:{port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: when the target is gone, the client sees its connection end."""


class _Connection(socketserver.BaseRequestHandler):
    server: Relay

    def handle(self) -> None:
        with socket.create_connection(self.server.target, CONNECT_SECONDS) as target:
            for end in (self.request, target):
                end.settimeout(IDLE_SECONDS)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=_carry, args=(target, self.request), daemon=True)
            back.start()
            _carry(self.request, target)
            back.join(IDLE_SECONDS)


def _carry(source: socket.socket, sink: socket.socket) -> None:
    """Copy until the source ends, or either end is gone or silent for too long."""
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK_BYTES):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def relayed(address: str, target_port: int) -> Iterator[Relay]:
    """A running relay.

    Raises OSError when the address is not one of this machine, as with a Docker that runs
    elsewhere.
    """
    with Relay(address, target_port) as relay:
        threading.Thread(target=relay.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield relay
        finally:
            relay.shutdown()
