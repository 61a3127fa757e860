"""Cuts a server off after a number of bytes: ends its connections and refuses new ones."""

from __future__ import annotations

import contextlib
import socket
import threading

CHUNK = 65536


class CutOff:
    """Forwards to a server on the same machine, from another loopback port."""

    def __init__(self, port: int, behind: int, size: int) -> None:
        self._behind = behind
        self._left = size
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listening = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Cut everything off now."""
        with self._lock:
            # The shutdown ends `accept`; a close alone would leave it waiting.
            for one in (self._listening, *self._open):
                _end(one)
            self._open.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._behind))
            except OSError:
                return
            with self._lock:
                self._open |= {client, server}
            threading.Thread(target=self._pass_on, args=(client, server), daemon=True).start()
            threading.Thread(target=self._send, args=(server, client), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while part := source.recv(CHUNK):
                sink.sendall(part)
        except OSError:
            pass
        _end(sink)

    def _send(self, source: socket.socket, sink: socket.socket) -> None:
        """Forward the server's bytes, and count them against the limit."""
        try:
            while part := source.recv(CHUNK):
                with self._lock:
                    part = part[: self._left]
                    self._left -= len(part)
                sink.sendall(part)
                if self._left == 0:
                    self.stop()
                    return
        except OSError:
            pass
        _end(sink)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
