"""Real registries (Debian's docker-registry) with TLS. Tests can stop them and make them fail.

One stands for ECR (password, push notifications to the AWS layer), one for a public registry.
"""

from __future__ import annotations

import base64
import http.server
import json
import ssl
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import certificates
from .cut_off import CutOff
from .processes import Process, accepts_connections, clean_environment, free_ports

READY_SECONDS = 15.0
USER = "AWS"


@dataclass(frozen=True)
class Authority:
    """The certificate authority's files."""

    ca_file: Path
    ca_key: Path


class Registry:
    """One registry on a loopback port. Without a password anyone may pull and push.

    `watch` receives the id of each started process, so that it ends with the local cloud.
    """

    def __init__(
        self,
        home: Path,
        host_name: str,
        port: int,
        authority: Authority,
        watch: Callable[[int], None],
        password: str | None = None,
        notify_url: str | None = None,
    ) -> None:
        self.home = home
        self.host_name = host_name
        self.port = port
        self.authority = authority
        self.password = password
        self._watch = watch
        self.process: Process | None = None
        self._failing: _FailingServer | CutOff | None = None
        home.mkdir(parents=True, exist_ok=True)
        self._pem_file = home / "server.pem"
        certificates.issue_certificate(
            authority.ca_file,
            authority.ca_key,
            [host_name, "localhost", "127.0.0.1"],
            self._pem_file,
        )
        self._write_passwords(password)
        (home / "config.yml").write_text(json.dumps(self._configuration(notify_url)))

    @property
    def address(self) -> tuple[str, int]:
        """The address that it listens on."""
        return ("127.0.0.1", self.port)

    @property
    def authorization(self) -> str:
        """The value of an Authorization header that it accepts."""
        return "Basic " + base64.b64encode(f"{USER}:{self.password}".encode()).decode()

    def start(self) -> None:
        """Start serving; returns when it listens."""
        if self._failing is not None:
            self.stop()
        if self.process is None:
            self._serve(self.port)

    def _serve(self, port: int) -> None:
        self.process = Process(
            f"registry {self.host_name}",
            ["docker-registry", "serve", str(self.home / "config.yml")],
            clean_environment(
                self.home, OTEL_TRACES_EXPORTER="none", REGISTRY_HTTP_ADDR=f"127.0.0.1:{port}"
            ),
            self.home / "registry.log",
        )
        self._watch(self.process.pid)
        self.process.wait_until_ready(lambda: accepts_connections(port), READY_SECONDS)

    def stop(self) -> None:
        """Stop; connections are refused. The content stays."""
        self._end_failing()
        if self.process is not None:
            self.process.stop()
            self.process = None

    def fail_with(self, status: int) -> None:
        """Answer every request with this HTTP status, until `start()`."""
        self.stop()
        self._failing = _FailingServer(self.port, self._pem_file, status)

    def cut_off_after(self, size: int) -> None:
        """Cut off all connections once `size` bytes have been sent, even inside a response.

        New connections are refused until `start()`.
        """
        self.stop()
        (behind,) = free_ports(1)
        self._serve(behind)
        self._failing = CutOff(self.port, behind, size)

    def refuse_password(self) -> None:
        """Answer 401 to the password of this run, until `accept_password()`."""
        self._write_passwords("another password")

    def accept_password(self) -> None:
        """Accept the password of this run again."""
        self._write_passwords(self.password)

    def blob_file(self, digest: str) -> Path:
        """The file of a blob, which a test can damage or remove. Raises FileNotFoundError."""
        algorithm, _, value = digest.partition(":")
        root = self.home / "content/docker/registry/v2/blobs"
        path = root / algorithm / value[:2] / value / "data"
        if not path.is_file():
            raise FileNotFoundError(f"{self.host_name} has no blob {digest}")
        return path

    def _end_failing(self) -> None:
        if self._failing is not None:
            self._failing.stop()
            self._failing = None

    def _write_passwords(self, password: str | None) -> None:
        if password is None:
            return
        # bcrypt reads only 72 bytes of a password; htpasswd refuses a longer one.
        line = subprocess.run(
            ["htpasswd", "-niBC", "4", USER],
            input=password[:72],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout.strip()
        path = self.home / "htpasswd"
        path.touch(mode=0o600)
        path.write_text(line + "\n")

    def _configuration(self, notify_url: str | None) -> dict[str, Any]:
        configuration: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.home / "content")},
                "delete": {"enabled": True},
            },
            "http": {
                "addr": f"127.0.0.1:{self.port}",
                "secret": "local cloud",
                "tls": {"certificate": str(self._pem_file), "key": str(self._pem_file)},
            },
        }
        if self.password is not None:
            configuration["auth"] = {
                "htpasswd": {"realm": self.host_name, "path": str(self.home / "htpasswd")}
            }
        if notify_url is not None:
            configuration["notifications"] = {
                "endpoints": [
                    {
                        "name": "ecr",
                        "url": notify_url,
                        "timeout": "30s",
                        "threshold": 3,
                        "backoff": "200ms",
                        "ignore": {"actions": ["pull", "mount"]},
                    }
                ]
            }
        return configuration


class _FailingServer:
    """Answers every request with one status, over TLS, in this process."""

    def __init__(self, port: int, pem_file: Path, status: int) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_HEAD = do_POST = do_PUT = do_PATCH = do_GET

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem_file)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
