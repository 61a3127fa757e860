"""A relay carries both ways, for as long as both ends live."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from .relay import Relay, relayed


@pytest.fixture
def server() -> Iterator[int]:
    """A loopback port that answers each connection's bytes in upper case, once they ended."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                asked = b""
                while data := connection.recv(65536):
                    asked += data
                connection.sendall(asked.upper())

    threading.Thread(target=serve, daemon=True).start()
    yield listening.getsockname()[1]
    listening.close()


def ask(relay: Relay, text: bytes) -> bytes:
    with socket.create_connection(relay.server_address[:2], 5.0) as client:
        client.sendall(text)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while data := client.recv(65536):
            answer += data
        return answer


def test_a_relay_carries_a_request_and_its_answer(server: int) -> None:
    with relayed("127.0.0.2", server) as relay:
        assert relay.url.startswith("http://127.0.0.2:")
        assert ask(relay, b"hello") == b"HELLO"
        long = b"a" * 1_000_000
        assert ask(relay, long) == long.upper()


def test_a_relay_listens_only_at_its_own_address(server: int) -> None:
    with relayed("127.0.0.2", server) as relay, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", relay.server_address[1]), 5.0)


def test_a_relay_closes_the_connection_when_its_target_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with (
        relayed("127.0.0.2", port) as relay,
        socket.create_connection(relay.server_address[:2], 5.0) as client,
    ):
        assert client.recv(1) == b""


def test_an_address_of_another_machine_is_refused(server: int) -> None:
    with pytest.raises(OSError), relayed("192.0.2.1", server):
        pass
