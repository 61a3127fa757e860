"""For the builder host's tests: a certificate authority, a registry, an ECR API and images."""

from __future__ import annotations

import base64
import datetime
import gzip
import hashlib
import http.client
import io
import json
import socket
import ssl
import subprocess
import tarfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .certificates import issue_certificate
from .interface import Endpoints

ACCOUNT, REGION = "123456789012", "us-east-1"
ECR = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
PASSWORD = "a-token-of-the-local-registry"
BUSYBOX = Path("/bin/busybox")
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"


def make_authority(directory: Path) -> tuple[Path, Path]:
    """Create a certificate authority; return its certificate and key files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "builder host tests")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=7))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    ca_file, ca_key = directory / "ca.pem", directory / "ca.key"
    ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    ca_key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return ca_file, ca_key


@dataclass(frozen=True)
class Image:
    """An image as pushed."""

    reference: str
    digest: str
    index: bytes
    blobs: dict[str, bytes]
    files: int


class TestRegistry:
    """Debian's docker-registry with TLS under ECR's name, and the API that returns its password."""

    __test__ = False

    def __init__(self, directory: Path, storage: Path | None = None) -> None:
        """`storage` is the registry's content, by default an empty directory."""
        self.ca_file, self.ca_key = make_authority(directory)
        pem = directory / "registry.pem"
        issue_certificate(self.ca_file, self.ca_key, ECR, pem)
        self._port = _free_port()
        self._process = _start_registry(
            directory, storage or directory / "storage", pem, self._port
        )
        self._api = ThreadingHTTPServer(("127.0.0.1", 0), _EcrApi)
        threading.Thread(target=self._api.serve_forever, daemon=True).start()
        self.authorization = "Basic " + base64.b64encode(f"AWS:{PASSWORD}".encode()).decode()
        self.endpoints = Endpoints(
            registry=("127.0.0.1", self._port),
            public_registry=("127.0.0.1", self._port),
            ecr_api=("127.0.0.1", self._api.server_port),
            ca_file=self.ca_file,
            ca_key=self.ca_key,
            account=ACCOUNT,
            region=REGION,
        )
        self._wait()

    def close(self) -> None:
        self._api.shutdown()
        self._api.server_close()
        self._process.terminate()
        self._process.wait(10)

    def push(self, repository: str, image: Image) -> Image:
        """Push the image under its tag."""
        for digest, blob in image.blobs.items():
            if json_type(blob) is None:
                path = self._call("POST", f"/v2/{repository}/blobs/uploads/", b"", 202)
                path += ("&" if "?" in path else "?") + f"digest={digest}"
                self._call("PUT", path, blob, 201)
        tag = image.reference.rpartition(":")[2]
        for digest, blob in image.blobs.items():
            if json_type(blob) == _MANIFEST:
                self._call("PUT", f"/v2/{repository}/manifests/{digest}", blob, 201)
        self._call("PUT", f"/v2/{repository}/manifests/{tag}", image.index, 201)
        return image

    def push_blobs(self, repository: str, files: Mapping[str, Path], mount_from: str) -> None:
        """Push blobs (digest -> file) that may be large; mount those that `mount_from` has."""
        for digest, file in files.items():
            query = f"?mount={digest}&from={mount_from}"
            start = f"/v2/{repository}/blobs/uploads/{query}"
            status, path, _ = self._request("POST", start, b"")
            if status == 201:
                continue
            path += ("&" if "?" in path else "?") + f"digest={digest}"
            with file.open("rb") as body:
                status, _, text = self._request("PUT", path, body, file.stat().st_size)
            assert status == 201, (status, text[:300])

    def push_manifest(self, repository: str, tag: str, manifest: bytes) -> None:
        """Push a manifest or index whose parts are already in the registry."""
        self._call("PUT", f"/v2/{repository}/manifests/{tag}", manifest, 201)

    def _call(self, method: str, path: str, body: bytes, wanted: int) -> str:
        status, location, text = self._request(method, path, body, len(body), json_type(body))
        assert status == wanted, (status, text[:300])
        return location

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | BinaryIO,
        size: int = 0,
        kind: str | None = None,
    ) -> tuple[int, str, bytes]:
        """Return the status, the path of the Location header, and the body."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self._port, context=ssl._create_unverified_context(), timeout=60
        )
        headers = {
            "Authorization": self.authorization,
            "Content-Type": kind or "application/octet-stream",
            "Content-Length": str(size),
        }
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        location = answer.getheader("Location", "")
        path = "/" + location.split("/", 3)[3] if "://" in location else location
        return answer.status, path, text

    def _wait(self) -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
                return
            except OSError:
                assert time.monotonic() < deadline, "docker-registry does not start"
                time.sleep(0.02)


def json_type(blob: bytes) -> str | None:
    """Return the media type of a manifest or index, None for other blobs."""
    if not blob.startswith(b"{"):
        return None
    return json.loads(blob).get("mediaType")


def make_image(tag_reference: str, noise: bytes, files: int = 40) -> Image:
    """Make an image of two layers: busybox and `files` files of noise; a change and a removal."""
    base = {f"data/file-{number}": noise + b"%d" % number for number in range(files)}
    busybox = BUSYBOX.read_bytes()
    layers = [
        _layer(
            {"bin/busybox": busybox, "lib/linked": b"through a link", **base},
            links={"bin/sh": "busybox", "lib": "usr/lib"},
        ),
        _layer(
            {"data/file-0": b"changed", "data/.wh.file-1": b""},
            hard_links={"data/again": "data/file-0"},
        ),
    ]
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/bin/busybox", "cat", "/data/file-0"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(raw) for raw in layers]},
        }
    ).encode()
    packed = [gzip.compress(raw, 1, mtime=0) for raw in layers]
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _describe("application/vnd.oci.image.config.v1+json", config),
            "layers": [
                _describe("application/vnd.oci.image.layer.v1.tar+gzip", one) for one in packed
            ],
        }
    ).encode()
    index = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": _INDEX,
            "manifests": [
                {
                    **_describe(_MANIFEST, manifest),
                    "platform": {"os": "linux", "architecture": "amd64"},
                }
            ],
        }
    ).encode()
    blobs = {_digest(blob): blob for blob in (config, *packed, manifest)}
    return Image(tag_reference, _digest(index), index, blobs, files)


def _layer(
    files: dict[str, bytes],
    links: dict[str, str] | None = None,
    hard_links: dict[str, str] | None = None,
) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
        for name, target in (hard_links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.LNKTYPE, target
            tar.addfile(entry)
    return stream.getvalue()


def _describe(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def _start_registry(
    directory: Path, storage: Path, pem: Path, port: int
) -> subprocess.Popen[bytes]:
    users = subprocess.run(
        ["htpasswd", "-Bbn", "-C", "4", "AWS", PASSWORD],
        capture_output=True,
        check=True,
        timeout=20,
    )
    (directory / "users").write_bytes(users.stdout)
    config = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(storage)}},
        "auth": {"htpasswd": {"realm": "test", "path": str(directory / "users")}},
        "http": {
            "addr": f"127.0.0.1:{port}",
            "secret": "test",
            "tls": {"certificate": str(pem), "key": str(pem)},
        },
    }
    (directory / "registry.json").write_text(json.dumps(config))
    return subprocess.Popen(
        ["docker-registry", "serve", str(directory / "registry.json")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class _EcrApi(BaseHTTPRequestHandler):
    """Serves GetAuthorizationToken to requests that are signed with temporary credentials."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        known = self.headers.get("X-Amz-Target", "").endswith(".GetAuthorizationToken")
        signed = "Credential=ASIA" in self.headers.get("Authorization", "")
        token = base64.b64encode(f"AWS:{PASSWORD}".encode()).decode()
        body = json.dumps({"authorizationData": [{"authorizationToken": token}]}).encode()
        self.send_response(200 if known and signed else 400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""
