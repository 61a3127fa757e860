"""The registry's push notifications: ECR then lists the manifest, and the bus gets an event.

The registry calls `/_local/registry-events`. The receiver reads the manifest from the registry, so
that ECR serves exactly the pushed bytes. A push can represent another way in which an image
arrives, such as replication: ECR's event is then the event for that way.
"""

from __future__ import annotations

import ssl
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..control_client import ask
from ..ecr_events import Arrival, Event, Image, pushed
from . import images
from .cloud_state import CloudState

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


@dataclass(frozen=True)
class PushSource:
    """The registry that sends notifications, and MiniStack's bus, which gets the events."""

    url: str
    authorization: str
    ca_file: Path
    bus_url: str


class PushReceiver:
    """Handles the registry's push notifications."""

    def __init__(self, cloud: CloudState, registry: PushSource) -> None:
        self.cloud = cloud
        self.registry = registry
        self.arrivals: dict[str, Arrival] = {}
        """How images arrive in a repository, by its name, if not by a push."""
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(
                context=ssl.create_default_context(cafile=registry.ca_file)
            ),
        )

    def receive(self, notification: dict[str, Any]) -> None:
        """Process the registry's notification; only pushes of manifests count."""
        for event in notification.get("events", []):
            target = event.get("target", {})
            if event.get("action") == "push" and target.get("mediaType") in MANIFEST_TYPES:
                repository, digest = target["repository"], target["digest"]
                manifest = self._read_manifest(repository, digest)
                self.remember(repository, target.get("tag"), digest, manifest)

    def remember(self, repository: str, tag: str | None, digest: str, manifest: str) -> None:
        """Add a manifest, given as text, to ECR, and send its event to the bus."""
        cloud = self.cloud
        arrived = self.arrivals.get(repository, pushed)
        with cloud.lock:
            parsed = images.remember_push(
                cloud.account, cloud.region, repository, tag, digest, manifest
            )
        image = Image(repository, tag, digest, parsed)
        self._send_event(arrived(image, cloud.account, cloud.region))

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

    def _send_event(self, event: Event) -> None:
        order = {"account": self.cloud.account, "region": self.cloud.region, "event": event}
        ask(self.registry.bus_url, "events", order)
