"""The forwarding function passes on results, and errors under their own names."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from .forwarding import package
from .forwarding_function import UNAVAILABLE, ask_sam_local, serve_one

Recorded = list[tuple[str, bytes, str | None]]


class FakeEndpoints(BaseHTTPRequestHandler):
    """`sam local` and the Runtime API: the first part of the path selects the answer."""

    posted: Recorded = []

    def do_GET(self) -> None:
        self.answer(200, b'{"asked": 1}', {"Lambda-Runtime-Aws-Request-Id": "r-1"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/runtime/"):
            name = self.headers.get("Lambda-Runtime-Function-Error-Type")
            FakeEndpoints.posted.append((self.path, body, name))
            self.answer(202, b"", {})
        elif self.path == "/fails":
            told = {"errorType": "LaunchRefused", "errorMessage": "there is none left"}
            self.answer(200, json.dumps(told).encode(), {"x-amz-function-error": "Unhandled"})
        elif self.path == "/says-nothing":
            self.answer(200, b"", {})
        else:
            self.answer(200, body, {})

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    FakeEndpoints.posted = []
    with HTTPServer(("127.0.0.1", 0), FakeEndpoints) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_result_is_passed_on_unchanged(url: str) -> None:
    assert ask_sam_local(f"{url}/echo", b'{"a": [1]}') == (b'{"a": [1]}', None)


def test_an_error_keeps_its_name_and_message(url: str) -> None:
    body, name = ask_sam_local(f"{url}/fails", b"{}")
    assert name == "LaunchRefused"
    assert json.loads(body)["errorMessage"] == "there is none left"


@pytest.mark.parametrize("path", ["/says-nothing", None], ids=["empty", "gone"])
def test_a_missing_answer_has_an_error_name_that_nothing_retries(
    url: str, path: str | None
) -> None:
    where = f"{url}{path}" if path else "http://127.0.0.1:9"
    body, name = ask_sam_local(where, b"{}")
    assert (name, json.loads(body)["errorType"]) == (UNAVAILABLE, UNAVAILABLE)
    assert where in json.loads(body)["errorMessage"]


def test_the_runtime_api_gets_the_result_or_the_error(url: str) -> None:
    api = f"{url}/runtime/invocation"
    serve_one(api, f"{url}/echo")
    serve_one(api, f"{url}/fails")
    (result, body, no_name), (failed, _, name) = FakeEndpoints.posted
    assert (result, body, no_name) == ("/runtime/invocation/r-1/response", b'{"asked": 1}', None)
    assert (failed, name) == ("/runtime/invocation/r-1/error", "LaunchRefused")


def test_a_package_holds_an_executable_bootstrap() -> None:
    with zipfile.ZipFile(io.BytesIO(package("print()\n"))) as archive:
        (entry,) = archive.infolist()
        assert (entry.filename, entry.external_attr >> 16) == ("bootstrap", 0o755)
        assert archive.read(entry).startswith(b"#!/")
