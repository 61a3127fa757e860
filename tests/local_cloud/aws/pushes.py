"""What happens when the registry says that a manifest was pushed: ECR knows it, and an event.

The registry calls `/_local/registry-events`; the manifest is read back from the registry, so
ECR serves the very bytes that were pushed.
"""

from __future__ import annotations

import json
import ssl
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import images
from .world import World

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
EVENT_SOURCE = "local.ecr"
"""PutEvents refuses the source `aws.ecr`, here as on AWS."""


@dataclass(frozen=True)
class PushSource:
    """The registry whose pushes are received, and the EventBridge client that is told of them."""

    url: str
    authorization: str
    ca_file: Path
    events: Any


class PushReceiver:
    """Handles the registry's push notifications."""

    def __init__(self, world: World, registry: PushSource) -> None:
        self.world = world
        self.registry = registry
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(
                context=ssl.create_default_context(cafile=registry.ca_file)
            ),
        )

    def receive(self, notification: dict[str, Any]) -> None:
        """Take the registry's notification, pushes of manifests only."""
        for event in notification.get("events", []):
            target = event.get("target", {})
            if event.get("action") == "push" and target.get("mediaType") in MANIFEST_TYPES:
                repository, digest = target["repository"], target["digest"]
                manifest = self._read_manifest(repository, digest)
                self.remember(repository, target.get("tag"), digest, manifest)

    def remember(self, repository: str, tag: str | None, digest: str, manifest: str) -> None:
        """Let ECR know a manifest, given as text, and tell the bus of its push."""
        world = self.world
        with world.lock:
            parsed = images.remember_push(
                world.account, world.region, repository, tag, digest, manifest
            )
        self._tell(push_detail(repository, tag, digest, parsed))

    def _read_manifest(self, repository: str, digest: str) -> str:
        request = urllib.request.Request(
            f"{self.registry.url}/v2/{repository}/manifests/{digest}",
            headers={
                "Authorization": self.registry.authorization,
                "Accept": ",".join(MANIFEST_TYPES),
            },
        )
        with self._opener.open(request, timeout=10) as answer:
            return answer.read().decode()

    def _tell(self, detail: dict[str, Any]) -> None:
        answer = self.registry.events.put_events(
            Entries=[
                {
                    "Source": EVENT_SOURCE,
                    "DetailType": "ECR Image Action",
                    "Detail": json.dumps(detail),
                    "Resources": [],
                }
            ]
        )
        if answer["FailedEntryCount"]:
            raise RuntimeError(f"EventBridge refused the push event: {answer['Entries']}")


def push_detail(
    repository: str, tag: str | None, digest: str, manifest: dict[str, Any]
) -> dict[str, Any]:
    """The detail of ECR's `ECR Image Action` event; a tag only where there is one."""
    detail = {
        "action-type": "PUSH",
        "result": "SUCCESS",
        "repository-name": repository,
        "image-digest": digest,
        "manifest-media-type": manifest.get("mediaType", MANIFEST_TYPES[0]),
    }
    if tag:
        detail["image-tag"] = tag
    if artifact := manifest.get("config", {}).get("mediaType"):
        detail["artifact-media-type"] = artifact
    return detail
