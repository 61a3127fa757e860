"""The events that ECR sends for an image that was pushed, replicated or pulled through.

Shaped as in the Amazon ECR user guide ("Amazon ECR events and EventBridge").
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

EVENT_SOURCE = "aws.ecr"
"""PutEvents refuses it, as on AWS. So tests put whole events on the bus, see `ministack_server`."""
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"

Event = dict[str, Any]


@dataclass(frozen=True)
class Image:
    """An image that arrived in a registry, with its parsed manifest and its tag, if any."""

    repository: str
    tag: str | None
    digest: str
    manifest: dict[str, Any]


Arrival = Callable[[Image, str, str], Event]
"""How an image came into a registry: makes the event from the registry's account and region."""


def pushed(image: Image, account: str, region: str) -> Event:
    """`ECR Image Action`, with the media type of the manifest."""
    detail = {
        **_named(image),
        "action-type": "PUSH",
        "result": "SUCCESS",
        "manifest-media-type": image.manifest.get("mediaType", OCI_MANIFEST),
    }
    if artifact := image.manifest.get("config", {}).get("mediaType"):
        detail["artifact-media-type"] = artifact
    return envelope("ECR Image Action", detail, account, region)


def replicated_from(source_account: str, source_region: str) -> Arrival:
    """`ECR Replication Action`, which the destination's registry sends."""

    def replicated(image: Image, account: str, region: str) -> Event:
        detail = {
            **_named(image),
            "action-type": "REPLICATE",
            "result": "SUCCESS",
            "source-account": source_account,
            "source-region": source_region,
        }
        resource = _repository_arn(image, account, region)
        return envelope("ECR Replication Action", detail, account, region, resource)

    return replicated


def pulled_through(upstream: str, rule_version: str = "1") -> Arrival:
    """`ECR Pull Through Cache Action`: the repository's name begins with the rule's prefix."""

    def pulled(image: Image, account: str, region: str) -> Event:
        detail = {
            **_named(image),
            "rule-version": rule_version,
            "sync-status": "SUCCESS",
            "ecr-repository-prefix": image.repository.partition("/")[0],
            "upstream-registry-url": upstream,
        }
        resource = _repository_arn(image, account, region)
        return envelope("ECR Pull Through Cache Action", detail, account, region, resource)

    return pulled


def _named(image: Image) -> dict[str, Any]:
    names = {"repository-name": image.repository, "image-digest": image.digest}
    return {**names, "image-tag": image.tag} if image.tag else names


def _repository_arn(image: Image, account: str, region: str) -> str:
    return f"arn:aws:ecr:{region}:{account}:repository/{image.repository}"


def envelope(
    detail_type: str, detail: dict[str, Any], account: str, region: str, *resources: str
) -> Event:
    """An event of ECR with the current time."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": detail_type,
        "source": EVENT_SOURCE,
        "account": account,
        "time": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
        "region": region,
        "resources": list(resources),
        "detail": detail,
    }
