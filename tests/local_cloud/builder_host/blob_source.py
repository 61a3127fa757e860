"""The content check's sources of what an image *should* contain: never the checked snapshot."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from .interface import Address, BuilderHostError

_SECONDS = 60
_REFERENCE = re.compile(
    r"(?P<host>[a-z0-9.-]+(?::\d+)?)/(?P<repository>[a-z0-9][a-z0-9._/-]*)"
    r"(?::[\w][\w.-]*)?(?:@sha256:[0-9a-f]{64})?"
)


class BlobSource(Protocol):
    """Opens manifests and blobs of an image by digest."""

    def open(self, reference: str, digest: str, manifest: bool) -> AbstractContextManager[BinaryIO]:
        """Return a context manager that opens the blob as a readable file."""


class OciLayout:
    """An OCI image layout directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextmanager
    def open(self, reference: str, digest: str, manifest: bool) -> Iterator[BinaryIO]:
        """See BlobSource."""
        algorithm, _, value = digest.partition(":")
        with (self._directory / "blobs" / algorithm / value).open("rb") as blob:
            yield blob


class Registry:
    """A TLS registry that listens at `address` under the host name of the references.

    `authorization` is the Authorization header's value.
    """

    def __init__(self, address: Address, ca_file: Path, authorization: str) -> None:
        self._address = address
        self._tls = ssl.create_default_context(cafile=str(ca_file))
        self._authorization = authorization

    @contextmanager
    def open(self, reference: str, digest: str, manifest: bool) -> Iterator[BinaryIO]:
        """See BlobSource."""
        parts = _REFERENCE.fullmatch(reference)
        if not parts:
            raise BuilderHostError(f"{reference!r} is no full image reference")
        host = parts["host"]
        connection = http.client.HTTPSConnection(host, context=self._tls, timeout=_SECONDS)
        plain = socket.create_connection(self._address, timeout=_SECONDS)
        connection.sock = self._tls.wrap_socket(plain, server_hostname=host.partition(":")[0])
        try:
            kind = "manifests" if manifest else "blobs"
            connection.request(
                "GET",
                f"/v2/{parts['repository']}/{kind}/{digest}",
                headers={
                    "Authorization": self._authorization,
                    "Accept": "application/vnd.oci.image.index.v1+json, "
                    "application/vnd.oci.image.manifest.v1+json, "
                    "application/vnd.docker.distribution.manifest.list.v2+json, "
                    "application/vnd.docker.distribution.manifest.v2+json",
                },
            )
            answer = connection.getresponse()
            if answer.status != 200:
                raise BuilderHostError(f"{host}: {kind} {digest}: HTTP {answer.status}")
            yield answer  # type: ignore[misc]
        finally:
            connection.close()
