"""The proxy between functions and AWS numbers calls alike and makes one of them go wrong."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from .fault_proxy import Call, Fault, FaultProxy, process_of_connection, read_call
from .processes import free_ports

ACCOUNT, REGION = "123456789012", "us-east-1"
DESCRIBE = Call("ec2", "DescribeImages", ACCOUNT, REGION, 1)
TAG = Call("dynamodb", "GetItem", ACCOUNT, REGION, 1)


def signed(service: str, key: str = ACCOUNT) -> str:
    return f"AWS4-HMAC-SHA256 Credential={key}/20260101/{REGION}/{service}/aws4_request, Signature="


class Upstream(BaseHTTPRequestHandler):
    """Counts the requests that reach it."""

    reached = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        type(self).reached += 1
        self.send_response_only(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"done")

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    Upstream.reached = 0
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, args=(0.05,), daemon=True).start()
    url = f"http://127.0.0.1:{upstream.server_port}"
    made = FaultProxy({"layer": url}, {"layer": free_ports(1)[0]}, ACCOUNT)
    made.start()
    yield made
    made.stop()
    upstream.shutdown()
    upstream.server_close()


def ask(proxy: FaultProxy, call: Call) -> tuple[int, str]:
    """Send a call; returns status and body, and raises the error of a dropped connection."""
    host, port = proxy.urls["layer"].removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    headers = {"Authorization": signed(call.service, call.account)}
    body = f"Action={call.action}"
    if call.service != "ec2":
        headers["X-Amz-Target"] = f"Service_1.{call.action}"
    try:
        connection.request("POST", "/", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_equal_calls_are_numbered(proxy: FaultProxy) -> None:
    proxy.begin()
    for call in (DESCRIBE, TAG, DESCRIBE):
        assert ask(proxy, call) == (200, "done")
    assert proxy.end() == ([DESCRIBE, TAG, DESCRIBE._replace(number=2)], 0)


def test_an_access_key_without_an_account_belongs_to_home() -> None:
    headers = {"Authorization": signed("ec2", "AKIAEXAMPLE"), "X-Amz-Target": ""}
    assert read_call(headers, b"Action=DescribeImages", ACCOUNT)[2] == ACCOUNT


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("throttled three times", (503, "RequestLimitExceeded")),
        ("500 once", (500, "InternalError")),
        ("access denied", (403, "UnauthorizedOperation")),
    ],
)
def test_a_refused_call_has_its_services_error_and_no_effect(
    kind: str, told: tuple[int, str], proxy: FaultProxy
) -> None:
    proxy.begin(Fault(DESCRIBE, kind))
    status, body = ask(proxy, DESCRIBE)
    assert (status, told[1] in body) == (told[0], True)
    assert Upstream.reached == 0


def test_a_refusal_in_json_has_its_type(proxy: FaultProxy) -> None:
    proxy.begin(Fault(TAG, "access denied"))
    assert '"__type": "AccessDeniedException"' in ask(proxy, TAG)[1]


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("throttled three times", 200, '"ErrorCode": "ThrottlingException"'),
        ("access denied", 200, '"ErrorCode": "AccessDeniedException"'),
        ("500 always", 500, '"__type": "InternalException"'),
    ],
)
def test_a_bus_accepts_the_call_and_refuses_the_entry_unless_the_service_fails(
    kind: str, status: int, code: str, proxy: FaultProxy
) -> None:
    call = Call("events", "PutEvents", ACCOUNT, REGION, 1)
    proxy.begin(Fault(call, kind))
    found, body = ask(proxy, call)
    assert (found, code in body, Upstream.reached) == (status, True, 0)


@pytest.mark.parametrize(
    ("kind", "hit"),
    [
        ("500 once", [2]),
        ("throttled three times", [2, 3, 4]),
        ("500 always", [2, 3, 4, 5]),
    ],
)
def test_a_fault_hits_its_call_and_the_given_number_of_equal_calls(
    kind: str, hit: list[int], proxy: FaultProxy
) -> None:
    proxy.begin(Fault(DESCRIBE._replace(number=2), kind))
    statuses = [ask(proxy, DESCRIBE)[0] for _ in range(5)]
    assert [number for number, status in enumerate(statuses, 1) if status != 200] == hit
    assert proxy.end()[1] == len(hit)
    assert ask(proxy, DESCRIBE)[0] == 200


@pytest.mark.parametrize(
    ("kind", "reached"), [("dropped before its effect", 0), ("dropped after its effect", 1)]
)
def test_a_dropped_call_has_no_answer(kind: str, reached: int, proxy: FaultProxy) -> None:
    proxy.begin(Fault(DESCRIBE, kind))
    with pytest.raises(http.client.RemoteDisconnected):
        ask(proxy, DESCRIBE)
    assert Upstream.reached == reached


@pytest.mark.parametrize(
    ("kind", "reached"),
    [("function killed before its effect", 0), ("function killed after its effect", 1)],
)
def test_a_fault_can_kill_the_calling_process(kind: str, reached: int, proxy: FaultProxy) -> None:
    proxy.begin(Fault(DESCRIBE, kind))
    program = (
        "import http.client, sys\n"
        "connection = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]))\n"
        "connection.request('POST', '/', 'Action=DescribeImages', {'Authorization': sys.argv[2]})\n"
        "connection.getresponse()\n"
    )
    port = proxy.urls["layer"].rpartition(":")[2]
    command = [sys.executable, "-c", program, port, signed("ec2")]
    assert subprocess.run(command, check=False, timeout=20).returncode == -9
    assert Upstream.reached == reached


def test_the_caller_is_found_although_another_process_uses_its_port() -> None:
    program = (
        "import socket, sys\n"
        "made = socket.socket()\n"
        "made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
        "made.bind(('127.0.0.1', int(sys.argv[1])))\n"
        "made.connect(('127.0.0.1', int(sys.argv[2])))\n"
        "made.recv(1)\n"
    )
    (port,) = free_ports(1)
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        to = [server.getsockname()[1] for server in servers]
        callers = [
            subprocess.Popen([sys.executable, "-c", program, *map(str, (port, p))]) for p in to
        ]
        for server in servers:
            server.settimeout(20)
            stack.enter_context(server.accept()[0])
        found = [process_of_connection(port, one) for one in to]
    assert found == [caller.pid for caller in callers]
    assert [caller.wait(20) for caller in callers] == [0, 0]


def test_a_process_that_was_not_found_counts_as_no_hit(proxy: FaultProxy) -> None:
    proxy.begin()
    proxy.kill(*free_ports(2))
    with pytest.raises(LookupError, match="nothing was killed"):
        proxy.end()


def test_the_proxy_is_quiet_when_no_call_is_open(proxy: FaultProxy) -> None:
    proxy.begin(Fault(DESCRIBE, "dropped before its effect"))
    begun = time.monotonic()
    proxy.wait_until_quiet(0.05, 5)
    assert time.monotonic() - begun < 5
    proxy.enter({"Authorization": signed("ec2")}, b"Action=DescribeImages")
    with pytest.raises(TimeoutError, match="still made"):
        proxy.wait_until_quiet(0.05, 0.2)
