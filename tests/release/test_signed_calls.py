"""TLS and the signatures of calls to AWS, which depend on a processor's own instructions.

A stand-in for Systems Manager with its own certificate receives a call of each architecture's
`plan` and refuses it. botocore signs the same request and must compute the same signature. The
local cloud has no TLS and does not check signatures.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from local_cloud import ACCOUNT, REGION
from local_cloud.certificates import issue_certificate, make_authority
from local_cloud.runtime_emulator import emulated

from tools.release.bootstraps import FLAGS

from .conftest import Start

SECRET = "local"
"""The secret access key that `emulated` gives to every function."""
RECONCILE = {"request": {"reconcile": True}, "executionId": "arn:aws:states:::execution:a:b"}


@dataclass
class Endpoint:
    """A server that speaks only TLS, denies every call, and records the calls."""

    url: str
    ca_file: Path
    calls: list[AWSRequest] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    ca_file, ca_key, pem_file = (tmp_path / name for name in ("ca.pem", "ca-key.pem", "it.pem"))
    make_authority(ca_file, ca_key)
    issue_certificate(ca_file, ca_key, ["127.0.0.1"], pem_file)

    class Deny(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            url = f"{made.url}{self.path}"
            made.calls.append(AWSRequest("POST", url, dict(self.headers), body))
            made.versions.append(self.connection.version())
            answer = json.dumps({"__type": "AccessDeniedException", "message": "denied"}).encode()
            self.send_response(400)
            self.send_header("content-type", "application/x-amz-json-1.1")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Deny)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem_file)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    made = Endpoint(f"https://127.0.0.1:{server.server_port}", ca_file)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield made
    server.shutdown()
    thread.join(10)
    server.server_close()


def signature_by_botocore(call: AWSRequest) -> tuple[str, str]:
    """The signature of a received call, and the one that botocore computes for it."""
    told = dict(
        part.split("=", 1) for part in call.headers["authorization"].split(" ", 1)[1].split(", ")
    )
    signed = told["SignedHeaders"].split(";")
    headers = {name: call.headers[name] for name in signed}
    request = AWSRequest(call.method, call.url, headers, call.data)
    request.context["timestamp"] = headers["x-amz-date"]
    auth = SigV4Auth(Credentials(ACCOUNT, SECRET), "ssm", REGION)
    canonical = auth.canonical_request(request)
    return told["Signature"], auth.signature(auth.string_to_sign(request, canonical), request)


@pytest.mark.parametrize("architecture", list(FLAGS))
def test_a_call_uses_tls_and_has_botocores_signature(
    start: Start,
    endpoint: Endpoint,
    tmp_path: Path,
    architecture: str,
    report_line: Callable[[str], None],
) -> None:
    runner = start(architecture)
    aws = {"AWS_ENDPOINT_URL": endpoint.url, "SSL_CERT_FILE": str(endpoint.ca_file)}
    with emulated(runner.program, "plan", tmp_path / "plan.log", **aws) as plan:
        assert plan.call(RECONCILE)["errorType"] == "AwsDenied"
    theirs, ours = signature_by_botocore(endpoint.calls[0])
    assert theirs == ours
    assert endpoint.versions[0] == "TLSv1.3"
    report_line(f"TLS and signatures of calls to a stand-in for Systems Manager: {runner.how}")


def test_a_server_with_an_untrusted_certificate_gets_no_call(
    start: Start, endpoint: Endpoint, tmp_path: Path
) -> None:
    make_authority(tmp_path / "other.pem", tmp_path / "other-key.pem")
    aws = {"AWS_ENDPOINT_URL": endpoint.url, "SSL_CERT_FILE": str(tmp_path / "other.pem")}
    with emulated(start("arm64").program, "plan", tmp_path / "plan.log", **aws) as plan:
        assert plan.call(RECONCILE)["errorType"] == "AwsUnavailable"
    assert endpoint.calls == []
