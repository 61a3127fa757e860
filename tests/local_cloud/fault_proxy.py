"""A proxy between functions and the local cloud: numbers every AWS call and makes one go wrong.

Calls are alike when service, action, account and region are equal. A call is identified by these
and by its number among the calls alike. So it is the same call in every run, in whichever order
the regions' calls arrive. A fault hits one call, or also calls alike that follow.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from . import error_codes

FAULTS = {
    "throttled three times": 3,
    "500 once": 1,
    "500 always": None,
    "access denied": None,
    "dropped before its effect": 1,
    "dropped after its effect": 1,
    "slow by 30 s": 1,
    "function killed before its effect": 1,
    "function killed after its effect": 1,
}
"""How many calls alike each fault hits; None: all from the first one on."""
SLOW_SECONDS = 30.0
UPSTREAM_SECONDS = 60.0
_CREDENTIAL = re.compile(
    r"Credential=(?P<key>[^/]+)/\d+/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request"
)
_ACCOUNT = re.compile(r"\d{12}")
REFUSALS: dict[str, Callable[[str], str]] = {
    "throttled three times": error_codes.throttled,
    "500 once": error_codes.broken,
    "500 always": error_codes.broken,
    "access denied": error_codes.denied,
}
"""By fault: what gives the error code of a service."""


class Call(NamedTuple):
    """One AWS call; `number` counts the calls alike of a run, from 1."""

    service: str
    action: str
    account: str
    region: str
    number: int

    def __str__(self) -> str:
        return f"{self.service}:{self.action} #{self.number} in {self.account}/{self.region}"


@dataclass(frozen=True)
class Fault:
    """How the call, and those alike after it, go wrong; `kind` is one of `FAULTS`."""

    call: Call
    kind: str

    def hits(self, call: Call) -> bool:
        """Whether the fault hits this call."""
        if call[:-1] != self.call[:-1] or call.number < self.call.number:
            return False
        count = FAULTS[self.kind]
        return count is None or call.number < self.call.number + count


def read_call(headers: Mapping[str, str], body: bytes, home: str) -> tuple[str, str, str, str]:
    """Service, action, account and region of a signed request.

    The account is `home` when the access key id contains no 12 digits. Raises ValueError when the
    request is not signed or names no action.
    """
    signed = _CREDENTIAL.search(headers.get("Authorization", ""))
    if signed is None:
        raise ValueError("the request is not signed")
    target = headers.get("X-Amz-Target", "")
    if target:
        action = target.rpartition(".")[2]
    else:
        action = urllib.parse.parse_qs(body.decode()).get("Action", [""])[0]
    if not action:
        raise ValueError("the request names no action")
    account = _ACCOUNT.search(signed["key"])
    return signed["service"], action, account[0] if account else home, signed["region"]


def refusal(service: str, code: str) -> tuple[str, bytes]:
    """Content type and body of an error answer in the service's protocol."""
    message = "planted by the local cloud"
    if service == "ec2":
        error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        text = f"<Response><Errors>{error}</Errors><RequestID>r</RequestID></Response>"
        return "text/xml", text.encode()
    if service == "sts":
        error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        return "text/xml", f"<ErrorResponse>{error}</ErrorResponse>".encode()
    return "application/x-amz-json-1.1", json.dumps({"__type": code, "message": message}).encode()


def refused_entry(code: str) -> bytes:
    """The answer of a PutEvents that succeeds but refuses its only entry.

    In botocore's model of the service, `ThrottlingException` and `AccessDeniedException` are
    errors of an entry, not of the call.
    """
    entry = {"ErrorCode": code, "ErrorMessage": "planted by the local cloud"}
    return json.dumps({"FailedEntryCount": 1, "Entries": [entry]}).encode()


def process_of_connection(port: int, to: int) -> int:
    """The id of the process that connected from one loopback port to another.

    It takes both ports: the kernel may use a local port again for another destination. Raises
    LookupError when no process is found.
    """
    wanted = [f"0100007F:{one:04X}" for one in (port, to)]
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{row[9]}]" for row in rows if row[1:3] == wanted}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            for descriptor in (process / "fd").iterdir():
                if os.readlink(descriptor) in inodes and int(process.name) != os.getpid():
                    return int(process.name)
        except OSError:
            continue
    raise LookupError(f"no process is connected from port {port} to port {to}")


class FaultProxy:
    """Serves on one loopback port for each upstream, given by name; `home` is the home account."""

    def __init__(self, upstreams: Mapping[str, str], ports: Mapping[str, int], home: str) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._seen: Counter[tuple[str, ...]] = Counter()
        self._calls: list[Call] = []
        self._hits = 0
        self._not_killed: list[str] = []
        self._fault: Fault | None = None
        self._under_way = 0
        self._last = time.monotonic()
        self._servers = [
            _Server(ports[name], self, urllib.parse.urlsplit(url))
            for name, url in upstreams.items()
        ]
        self.urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}

    def start(self) -> None:
        """Serve in threads."""
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Stop serving."""
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def begin(self, fault: Fault | None = None) -> None:
        """Count the calls from 1 again, and apply this fault to them."""
        with self._lock:
            self._seen.clear()
            self._calls = []
            self._hits = 0
            self._not_killed = []
            self._fault = fault

    def end(self) -> tuple[list[Call], int]:
        """Remove the fault; returns the calls since `begin`, in order, and the number of hits.

        Raises LookupError when a function to kill was not found.
        """
        with self._lock:
            self._fault = None
            if self._not_killed:
                raise LookupError("; ".join(self._not_killed))
            return self._calls, self._hits

    def wait_until_quiet(self, quiet: float, limit: float) -> None:
        """Return when no call was under way for `quiet` seconds. Raises TimeoutError at `limit`."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            with self._lock:
                if self._under_way == 0 and time.monotonic() - self._last >= quiet:
                    return
            time.sleep(quiet / 10)
        raise TimeoutError(f"calls were still made after {limit:.0f} s")

    def enter(self, headers: Mapping[str, str], body: bytes) -> tuple[Call, Fault | None]:
        """Number a call; returns it with the fault that hits it. `leave` must follow."""
        found = read_call(headers, body, self._home)
        with self._lock:
            self._under_way += 1
            self._seen[found] += 1
            call = Call(*found, self._seen[found])
            self._calls.append(call)
            fault = self._fault
            if fault is None or not fault.hits(call):
                return call, None
            self._hits += 1
            return call, fault

    def kill(self, port: int, to: int) -> None:
        """Kill the process that calls from this port to that one."""
        try:
            os.kill(process_of_connection(port, to), signal.SIGKILL)
        except (LookupError, ProcessLookupError) as error:
            with self._lock:
                self._not_killed.append(f"nothing was killed: {error}")

    def leave(self) -> None:
        """Count a call as ended."""
        with self._lock:
            self._under_way -= 1
            self._last = time.monotonic()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, proxy: FaultProxy, upstream: urllib.parse.SplitResult) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.proxy = proxy
        self.upstream = upstream

    def handle_error(self, *_: Any) -> None:
        """Ignore it: a killed function, or one that stopped waiting, is no error of this server."""


class _Dropped(Exception):
    """The connection ends without an answer."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_POST(self) -> None:
        """Answer a call, or make it go wrong."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call, fault = self.server.proxy.enter(self.headers, body)
        try:
            self._reply(*self._answer(call, fault.kind if fault else "", body))
        except _Dropped:
            self.close_connection = True
        finally:
            self.server.proxy.leave()

    def _answer(self, call: Call, kind: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if kind in REFUSALS:
            code = REFUSALS[kind](call.service)
            content_type, content = refusal(call.service, code)
            status = error_codes.status_of(call.service, code)
            if call.action == "PutEvents" and status < HTTPStatus.INTERNAL_SERVER_ERROR:
                status, content = HTTPStatus.OK, refused_entry(code)
            return status, {"Content-Type": content_type}, content
        if kind == "slow by 30 s":
            time.sleep(SLOW_SECONDS)
        self._interrupt(kind, "before its effect")
        answer = self._forward(body)
        self._interrupt(kind, "after its effect")
        return answer

    def _interrupt(self, kind: str, moment: str) -> None:
        if not kind.endswith(moment):
            return
        if kind.startswith("function killed"):
            self.server.proxy.kill(self.client_address[1], self.server.server_port)
        raise _Dropped

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        upstream = self.server.upstream
        connection = http.client.HTTPConnection(
            str(upstream.hostname), upstream.port, timeout=UPSTREAM_SECONDS
        )
        try:
            connection.request("POST", self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        kept = {
            name: value
            for name, value in answer.getheaders()
            if name.lower() not in ("connection", "content-length", "transfer-encoding")
        }
        return answer.status, kept, content

    def _reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
