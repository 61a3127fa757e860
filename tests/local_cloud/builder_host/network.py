"""What an instance can reach: listeners inside its network namespace, served from outside.

The namespace has only a loopback interface. The listeners serve the instance's metadata, or forward
to the registry or the ECR API of the local cloud. Every other address is unreachable.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .interface import PUBLIC_REGISTRY_NAME, Address, Endpoints, InstanceOptions
from .link import DelayLine, Link
from .metadata_service import InstanceMetadata, MetadataHandler
from .namespaces import listen_in_network_of

METADATA_ADDRESS = ("169.254.169.254", 80)
_REGISTRY_IP, _PUBLIC_REGISTRY_IP, _ECR_API_IP = "127.0.0.2", "127.0.0.3", "127.0.0.4"
_CHUNK_BYTES = 1 << 18
_CONNECT_SECONDS = 10
_ECR_SECONDS = 60


def hosts_file(endpoints: Endpoints, hostname: str) -> str:
    """/etc/hosts of an instance."""
    names = {
        "127.0.0.1": f"localhost {hostname}",
        _REGISTRY_IP: endpoints.registry_name,
        _PUBLIC_REGISTRY_IP: PUBLIC_REGISTRY_NAME,
        _ECR_API_IP: endpoints.ecr_api_name,
    }
    return "".join(f"{address} {name}\n" for address, name in names.items())


class Forwarder:
    """Forwards TCP connections from a listener to a target, and counts the bytes that come back.

    A link slows the connections down.
    """

    def __init__(self, listener: socket.socket, target: Address, link: Link | None = None) -> None:
        self.bytes_received = 0
        self._listener = listener
        self._target = target
        self._link = link
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True, name=f"forward-{target[1]}").start()

    def close(self) -> None:
        """Refuse new connections and cut the open ones."""
        _shut(self._listener)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                _shut(connection)

    def _accept(self) -> None:
        while True:
            try:
                inner, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(inner,), daemon=True).start()

    def _serve(self, inner: socket.socket) -> None:
        with inner:
            try:
                outer = socket.create_connection(self._target, timeout=_CONNECT_SECONDS)
            except OSError:
                return
            outer.settimeout(None)
            with outer:
                with self._lock:
                    self._open |= {inner, outer}
                if self._link:
                    self._link.pace(inner)
                up = threading.Thread(target=self._carry_up, args=(inner, outer), daemon=True)
                up.start()
                _carry(outer, inner.sendall, self._count)
                _end(inner)
                up.join()
                with self._lock:
                    self._open -= {inner, outer}

    def _carry_up(self, inner: socket.socket, outer: socket.socket) -> None:
        if self._link is None:
            _carry(inner, outer.sendall, None)
            _end(outer)
            return
        # The instance's own handshake took no time: its first chunk waits for that round trip.
        delay = self._link.round_trip_seconds
        time.sleep(delay)
        line = DelayLine(delay, lambda chunk: outer.sendall(chunk) if chunk else _end(outer))
        _carry(inner, lambda chunk: line.send(bytes(chunk)), None)
        with contextlib.suppress(OSError):
            line.send(b"")
        line.close()

    def _count(self, size: int) -> None:
        with self._lock:
            self.bytes_received += size


def _carry(
    source: socket.socket,
    deliver: Callable[[memoryview], None],
    count: Callable[[int], None] | None,
) -> None:
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    with contextlib.suppress(OSError):
        while size := source.recv_into(buffer):
            if count:
                count(size)
            deliver(buffer[:size])


def _end(sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _HttpServer(ThreadingHTTPServer):
    """An HTTP server on an existing listener, with TLS if `tls` is given."""

    daemon_threads = True
    block_on_close = False
    metadata: InstanceMetadata
    target: Address

    def __init__(self, listener: socket.socket, handler: type, tls: ssl.SSLContext | None) -> None:
        super().__init__(listener.getsockname(), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self._tls = tls
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        if self._tls:
            # The handler's thread does the handshake: a silent client must not block others.
            connection = self._tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors: an instance may break its connections."""

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class _EcrApiHandler(BaseHTTPRequestHandler):
    """Forwards a request unchanged to the ECR API, in plain HTTP."""

    protocol_version = "HTTP/1.1"
    timeout = _ECR_SECONDS

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        target: Address = self.server.target  # type: ignore[attr-defined]
        connection = http.client.HTTPConnection(*target, timeout=_ECR_SECONDS)
        try:
            connection.request("POST", self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
            content = answer.read()
        except OSError:
            self.send_error(502)
            return
        finally:
            connection.close()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Log nothing: requests contain credentials."""


class InstanceNetwork:
    """The listeners of one instance. Without a listener, connections are refused."""

    def __init__(
        self,
        init_pid: int,
        endpoints: Endpoints,
        metadata: InstanceMetadata,
        tls: ssl.SSLContext,
        options: InstanceOptions,
    ) -> None:
        self._pid = init_pid
        self._endpoints = endpoints
        self._link = options.link
        self._registries: list[Forwarder] = []
        self._bytes_of_closed = 0
        self._servers: list[_HttpServer] = []
        if options.http_endpoint:
            self._serve(METADATA_ADDRESS, MetadataHandler, None).metadata = metadata
        if options.reaches_internet:
            self._serve((_ECR_API_IP, 443), _EcrApiHandler, tls).target = endpoints.ecr_api
        self.switch_registries(options.registry_on and options.reaches_internet)

    def _serve(self, address: Address, handler: type, tls: ssl.SSLContext | None) -> _HttpServer:
        self._servers.append(_HttpServer(self._listen(address), handler, tls))
        return self._servers[-1]

    def _listen(self, address: Address) -> socket.socket:
        return listen_in_network_of(self._pid, address)

    def switch_registries(self, on: bool) -> None:
        """Let connections to the registries through, or refuse them."""
        if on and not self._registries:
            targets = {
                _REGISTRY_IP: self._endpoints.registry,
                _PUBLIC_REGISTRY_IP: self._endpoints.public_registry,
            }
            for address, target in targets.items():
                listener = self._listen((address, 443))
                self._registries.append(Forwarder(listener, target, self._link))
        elif not on:
            for forwarder in self._registries:
                forwarder.close()
                self._bytes_of_closed += forwarder.bytes_received
            self._registries = []

    @property
    def registry_bytes(self) -> int:
        """Bytes received from the registries since boot."""
        return self._bytes_of_closed + sum(one.bytes_received for one in self._registries)

    def close(self) -> None:
        """Close every listener."""
        self.switch_registries(False)
        for server in self._servers:
            server.close()
