"""ECR's image actions for the images in the real registry."""

from __future__ import annotations

import base64
import datetime
import json
import time
from typing import Any

from moto.ecr import ecr_backends
from moto.ecr.exceptions import ImageNotFoundException, RepositoryNotFoundException
from moto.ecr.models import Image, Repository
from moto.ecr.responses import ECRResponse

from .cloud_state import CloudState
from .dispatch import handles
from .pages import page_after

DESCRIBED_AT_ONCE = 100


class RegistryImage(Image):
    """An image whose size is that of its layers without the config, as ECR counts.

    Its push time is that of its manifest. Another tag or a repeated push does not change it
    (aws/containers-roadmap 214, 2746).
    """

    size: int | None = None

    def get_image_size_in_bytes(self) -> int | None:
        return self.size


def remember_push(
    account: str, region: str, repository: str, tag: str | None, digest: str, manifest: str
) -> dict[str, Any]:
    """Record a pushed manifest, move its tag, and return the parsed manifest."""
    backend = ecr_backends[account][region]
    known = backend.repositories.get(repository)
    if known is None:
        # The registry accepts any name; on AWS the repository exists before a push.
        known = Repository(account, region, repository, None, None, "", "")
        backend.repositories[repository] = known
    parsed = json.loads(manifest)
    image = _find(known, {"imageDigest": digest})
    if image is None:
        media_type = parsed.get("mediaType") or "application/vnd.oci.image.manifest.v1+json"
        image = RegistryImage(account, None, manifest, repository, media_type, digest, account)
        image.size = _layer_bytes(known, parsed)
        image.image_pushed_at = _next_push_time(known)
        known.images.append(image)
    if tag:
        for other in known.images:
            other.remove_tag(tag)
        image.update_tag(tag)
    return parsed


def _next_push_time(repository: Repository) -> float:
    """Return now, in seconds, but later than every earlier push, in ECR's whole milliseconds."""
    last = max((image.image_pushed_at for image in repository.images), default=0.0)
    return max(round(time.time(), 3), round(last + 0.001, 3))


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
def batch_get_image(cloud: CloudState, request: ECRResponse) -> Any:
    """Return manifests by tag or digest; the rest goes into `failures`."""
    name = request._get_param("repositoryName")
    registry = request._get_param("registryId") or cloud.account
    repository = request.ecr_backend.repositories.get(name)
    if repository is None or registry != cloud.account:
        raise RepositoryNotFoundException(name, registry)
    accepted = request._get_param("acceptedMediaTypes") or []
    images, failures = [], []
    for image_id in request._get_param("imageIds"):
        image = _find(repository, image_id)
        if image is None or accepted and image.image_manifest_media_type not in accepted:
            failures.append(_failure(repository, image_id))
        else:
            images.append(_manifest_view(image, image_id, cloud.account))
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


@handles("ecr", "DescribeImages")
def describe_images(cloud: CloudState, request: ECRResponse) -> Any:
    """Return details of the requested images, or of all with the filter's tag status."""
    repository = request.ecr_backend._get_repository(
        request._get_param("repositoryName"), request._get_param("registryId")
    )
    asked = request._get_param("imageIds") or []
    if asked:
        images = _images_asked_for(repository, asked)
        return {"imageDetails": [_details(image) for image in images]}
    wanted = (request._get_param("filter") or {}).get("tagStatus", "ANY")
    images = [i for i in repository.images if wanted in ("ANY", _tag_status(i))]
    # ECR guarantees no order: no caller may treat the first as the oldest or the newest.
    images.sort(key=lambda image: image.get_image_digest())
    size = request._get_int_param("maxResults") or DESCRIBED_AT_ONCE
    page, token = page_after(
        request._get_param("nextToken"), images, min(size, cloud.settings.largest_page)
    )
    return {"imageDetails": [_details(image) for image in page], "nextToken": token}


def _images_asked_for(repository: Repository, image_ids: list[dict[str, str]]) -> list[Image]:
    found: dict[str, Image] = {}
    for image_id in image_ids:
        image = _find(repository, image_id)
        if image is None:
            raise ImageNotFoundException(str(image_id), repository.name, repository.registry_id)
        found[image.get_image_digest()] = image
    return list(found.values())


def _tag_status(image: Image) -> str:
    return "TAGGED" if image.image_tags else "UNTAGGED"


def _details(image: Image) -> dict[str, Any]:
    shown = {
        "registryId": image.registry_id,
        "repositoryName": image.repository_name,
        "imageDigest": image.get_image_digest(),
        "imageSizeInBytes": image.get_image_size_in_bytes(),
        "imagePushedAt": image.image_pushed_at,
        "imageManifestMediaType": image.image_manifest_media_type,
    }
    if artifact := json.loads(image.image_manifest).get("config", {}).get("mediaType"):
        shown["artifactMediaType"] = artifact
    # ECR omits the field for an untagged image.
    return {**shown, "imageTags": list(image.image_tags)} if image.image_tags else shown


@handles("ecr", "GetAuthorizationToken")
def get_authorization_token(cloud: CloudState, request: ECRResponse) -> Any:
    """Return this run's token; it shows a 12-hour expiry that the registry does not enforce."""
    now = datetime.datetime.now(datetime.UTC)
    return {
        "authorizationData": [
            {
                "authorizationToken": base64.b64encode(
                    f"AWS:{cloud.registry_token}".encode()
                ).decode(),
                "expiresAt": now + datetime.timedelta(hours=12),
                "proxyEndpoint": f"https://{cloud.account}.dkr.ecr.{cloud.region}.amazonaws.com",
            }
        ]
    }
