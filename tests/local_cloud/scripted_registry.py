"""A stand-in for the registries on machines without docker-registry: it serves nothing.

A push sends only manifests, straight to the AWS layer's ECR. The scripted builder host pulls
nothing anyway.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

INDEX_FIELD = "manifests"


class ScriptedRegistry:
    """The interface that `LocalCloud` needs of a registry, without a registry behind it."""

    address = ("127.0.0.1", 9)
    port = 9
    authorization = ""

    def start(self) -> None:
        """There is nothing to start."""

    def stop(self) -> None:
        """There is nothing to stop."""


def manifests_of(directory: Path, digest: str) -> Iterator[tuple[str, str]]:
    """Digest and text of each manifest of an OCI layout's image; an index comes last."""
    text = (directory / "blobs" / digest.replace(":", "/")).read_text()
    for entry in json.loads(text).get(INDEX_FIELD, []):
        yield from manifests_of(directory, entry["digest"])
    yield digest, text
