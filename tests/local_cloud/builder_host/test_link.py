"""A slow link: order and delay of what is sent, and the rate that is set in the kernel."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from local_cloud.builder_host.link import DelayLine, Link
from local_cloud.builder_host.network import Forwarder

RATE = 47
"""SO_MAX_PACING_RATE."""


@pytest.fixture
def echo():
    """A server that sends back what it gets, in capitals."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                while chunk := connection.recv(1 << 16):
                    connection.sendall(chunk.upper())

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def forwarded(target, link):
    listener = socket.create_server(("127.0.0.1", 0))
    return Forwarder(listener, target, link), listener.getsockname()


def test_chunks_arrive_in_order_and_none_too_early():
    delivered = []
    line = DelayLine(0.05, lambda chunk: delivered.append((chunk, time.monotonic())))
    begun = time.monotonic()
    for chunk in (b"a", b"b", b""):
        line.send(chunk)
    line.close()
    assert [chunk for chunk, _ in delivered] == [b"a", b"b", b""]
    assert all(at - begun >= 0.05 for _, at in delivered)


def test_several_chunks_are_on_their_way_at_once():
    done = threading.Event()
    line = DelayLine(0.2, lambda chunk: None if chunk else done.set())
    begun = time.monotonic()
    for _ in range(20):
        line.send(b"x")
    line.send(b"")
    assert done.wait(10)
    assert time.monotonic() - begun < 20 * 0.2 / 2


def test_sending_fails_once_delivering_has_failed():
    def refuse(_):
        raise BrokenPipeError

    line = DelayLine(0, refuse)
    line.send(b"a")
    line.close()
    with pytest.raises(OSError, match="other end is gone"):
        line.send(b"b")


def test_a_link_sets_the_rate_in_the_kernel():
    with socket.socket() as connection:
        Link(0.02, 60_000_000).pace(connection)
        assert connection.getsockopt(socket.SOL_SOCKET, RATE) == 60_000_000


def test_a_connection_over_a_link_takes_two_round_trips_to_its_first_answer(echo):
    forwarder, address = forwarded(echo, Link(0.1, 60_000_000))
    begun = time.monotonic()
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(b"hello")
        assert connection.recv(100) == b"HELLO"
        assert time.monotonic() - begun >= 0.2
    forwarder.close()


def test_the_end_of_the_requests_reaches_the_registry(echo):
    forwarder, address = forwarded(echo, Link(0.01, 60_000_000))
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(b"hello")
        connection.shutdown(socket.SHUT_WR)
        assert b"".join(iter(lambda: connection.recv(100), b"")) == b"HELLO"
    forwarder.close()


def test_a_link_is_not_faster_than_its_rate(echo):
    forwarder, address = forwarded(echo, Link(0, 4_000_000))
    with socket.create_connection(address, timeout=10) as connection:
        begun, left = time.monotonic(), 3_000_000
        threading.Thread(target=connection.sendall, args=(bytes(left),), daemon=True).start()
        while left > 0:
            left -= len(connection.recv(1 << 16))
        assert time.monotonic() - begun > 0.3
    forwarder.close()
