"""ECR's image actions over what was pushed to the real registry."""

from __future__ import annotations

import base64
import datetime
import json
from typing import Any

from moto.ecr import ecr_backends
from moto.ecr.exceptions import RepositoryNotFoundException
from moto.ecr.models import Image, Repository
from moto.ecr.responses import ECRResponse

from .dispatch import handles
from .world import World


class RegistryImage(Image):
    """An image whose size is its layers', as ECR counts, not its config's."""

    size: int | None = None

    def get_image_size_in_bytes(self) -> int | None:
        return self.size


def remember_push(
    account: str, region: str, repository: str, tag: str | None, digest: str, manifest: str
) -> dict[str, Any]:
    """Record a pushed manifest and move its tag; returns the parsed manifest."""
    backend = ecr_backends[account][region]
    known = backend.repositories.get(repository)
    if known is None:
        # The registry takes any name; on AWS someone has created the repository.
        known = Repository(account, region, repository, None, None, "", "")
        backend.repositories[repository] = known
    parsed = json.loads(manifest)
    image = _find(known, {"imageDigest": digest})
    if image is None:
        media_type = parsed.get("mediaType") or "application/vnd.oci.image.manifest.v1+json"
        image = RegistryImage(account, None, manifest, repository, media_type, digest, account)
        image.size = _layer_bytes(known, parsed)
        known.images.append(image)
    if tag:
        for other in known.images:
            other.remove_tag(tag)
        image.update_tag(tag)
    return parsed


def _layer_bytes(repository: Repository, manifest: dict[str, Any]) -> int:
    if "layers" in manifest:
        return sum(layer["size"] for layer in manifest["layers"])
    children = [_find(repository, {"imageDigest": m["digest"]}) for m in manifest["manifests"]]
    return sum(child.size or 0 for child in children if isinstance(child, RegistryImage))


def _find(repository: Repository, image_id: dict[str, str]) -> Image | None:
    for image in repository.images:
        digest = image_id.get("imageDigest", image.get_image_digest())
        tag_fits = "imageTag" not in image_id or image_id["imageTag"] in image.image_tags
        if digest == image.get_image_digest() and tag_fits:
            return image
    return None


@handles("ecr", "BatchGetImage")
def batch_get_image(world: World, request: ECRResponse) -> Any:
    """Manifests by tag or digest; what cannot be given is listed under failures."""
    name = request._get_param("repositoryName")
    registry = request._get_param("registryId") or world.account
    repository = request.ecr_backend.repositories.get(name)
    if repository is None or registry != world.account:
        raise RepositoryNotFoundException(name, registry)
    accepted = request._get_param("acceptedMediaTypes") or []
    images, failures = [], []
    for image_id in request._get_param("imageIds"):
        image = _find(repository, image_id)
        if image is None or accepted and image.image_manifest_media_type not in accepted:
            failures.append(_failure(repository, image_id))
        else:
            images.append(_manifest_view(image, image_id, world.account))
    return {"images": images, "failures": failures}


def _manifest_view(image: Image, image_id: dict[str, str], account: str) -> dict[str, Any]:
    identity = {"imageDigest": image.get_image_digest()}
    if "imageTag" in image_id:
        identity["imageTag"] = image_id["imageTag"]
    return {
        "registryId": account,
        "repositoryName": image.repository_name,
        "imageId": identity,
        "imageManifest": image.image_manifest,
        "imageManifestMediaType": image.image_manifest_media_type,
    }


def _failure(repository: Repository, image_id: dict[str, str]) -> dict[str, Any]:
    both = "imageTag" in image_id and "imageDigest" in image_id
    if both and _find(repository, {"imageDigest": image_id["imageDigest"]}):
        code, reason = "ImageTagDoesNotMatchDigest", "The tag names another digest"
    elif not image_id:
        code, reason = "MissingDigestAndTag", "Neither digest nor tag was given"
    else:
        code, reason = "ImageNotFound", "Requested image not found"
    return {"imageId": dict(image_id), "failureCode": code, "failureReason": reason}


@handles("ecr", "GetAuthorizationToken")
def get_authorization_token(world: World, request: ECRResponse) -> Any:
    """The token of this run, which the registry accepts for 12 hours in name only."""
    now = datetime.datetime.now(datetime.UTC)
    return {
        "authorizationData": [
            {
                "authorizationToken": base64.b64encode(
                    f"AWS:{world.registry_token}".encode()
                ).decode(),
                "expiresAt": now + datetime.timedelta(hours=12),
                "proxyEndpoint": f"https://{world.account}.dkr.ecr.{world.region}.amazonaws.com",
            }
        ]
    }
