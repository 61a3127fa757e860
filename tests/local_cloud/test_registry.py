"""The registries, and what ECR and EventBridge learn from a push."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .aws.pushes import MANIFEST_TYPES
from .cloud import LocalCloud
from .images import INDEX, MANIFEST, Layout
from .registry import Registry


def get(cloud: LocalCloud, registry: Registry, path: str, login: str | None = None) -> bytes:
    """GET a path of a registry. Raises HTTPError or URLError."""
    request = urllib.request.Request(f"https://127.0.0.1:{registry.port}/v2/{path}")
    request.add_header("Accept", ",".join(MANIFEST_TYPES))
    if login is not None:
        request.add_header("Authorization", f"Basic {login}")
    context = ssl.create_default_context(cafile=cloud.ca_file)
    with urllib.request.urlopen(request, timeout=10, context=context) as answer:
        return answer.read()


def token(cloud: LocalCloud) -> str:
    answer = cloud.client("ecr").get_authorization_token()
    return answer["authorizationData"][0]["authorizationToken"]


def status(cloud: LocalCloud, login: str | None = None) -> int:
    try:
        get(cloud, cloud.registry, "", login)
    except urllib.error.HTTPError as error:
        return error.code
    return 200


@pytest.fixture
def sound(cloud: LocalCloud) -> Iterator[Registry]:
    """The ECR registry, repaired after the test."""
    yield cloud.registry
    cloud.registry.accept_password()
    cloud.registry.start()


def test_the_registry_accepts_only_the_token_of_ecr(cloud: LocalCloud) -> None:
    assert base64.b64decode(token(cloud)).startswith(b"AWS:")
    assert status(cloud, token(cloud)) == 200
    assert status(cloud) == 401
    assert status(cloud, base64.b64encode(b"AWS:guessed").decode()) == 401


def test_the_public_registry_asks_for_no_password(cloud: LocalCloud) -> None:
    assert get(cloud, cloud.public, "") == b"{}"


def test_a_password_can_be_refused_and_accepted_again(cloud: LocalCloud, sound: Registry) -> None:
    sound.refuse_password()
    assert status(cloud, token(cloud)) == 401
    sound.accept_password()
    assert status(cloud, token(cloud)) == 200


def test_a_registry_can_fail_and_be_switched_off_and_on(
    cloud: LocalCloud, sound: Registry, layout: Layout
) -> None:
    cloud.push(layout, "app", "team/kept")
    sound.fail_with(500)
    assert status(cloud, token(cloud)) == 500
    sound.stop()
    with pytest.raises(urllib.error.URLError, match="refused"):
        status(cloud, token(cloud))
    sound.start()
    assert get(cloud, sound, "team/kept/manifests/app", token(cloud))


def test_ecr_knows_a_pushed_image_by_tag_and_by_digest(cloud: LocalCloud, layout: Layout) -> None:
    digest = cloud.push(layout, "app", "team/app")
    ecr = cloud.client("ecr")
    for image_id in ({"imageTag": "app"}, {"imageDigest": digest}):
        answer = ecr.batch_get_image(repositoryName="team/app", imageIds=[image_id])
        (image,) = answer["images"]
        assert image["imageId"]["imageDigest"] == digest
        assert image["imageManifestMediaType"] == MANIFEST
        pulled = get(cloud, cloud.registry, f"team/app/manifests/{digest}", token(cloud))
        assert image["imageManifest"].encode() == pulled
    (detail,) = ecr.describe_images(repositoryName="team/app", imageIds=[{"imageTag": "app"}])[
        "imageDetails"
    ]
    layers = json.loads(pulled)["layers"]
    assert detail["imageSizeInBytes"] == sum(layer["size"] for layer in layers)


def test_ecr_knows_an_index_and_the_manifests_in_it(cloud: LocalCloud, layout: Layout) -> None:
    cloud.push(layout, "multi", "team/multi")
    ecr = cloud.client("ecr")
    (index,) = ecr.batch_get_image(
        repositoryName="team/multi",
        imageIds=[{"imageTag": "multi"}],
        acceptedMediaTypes=[INDEX, MANIFEST],
    )["images"]
    children = [
        {"imageDigest": m["digest"]} for m in json.loads(index["imageManifest"])["manifests"]
    ]
    answer = ecr.batch_get_image(repositoryName="team/multi", imageIds=children)
    assert (len(answer["images"]), answer["failures"]) == (2, [])


def test_ecr_reports_a_missing_image_as_a_failure_or_an_error(
    cloud: LocalCloud, layout: Layout
) -> None:
    cloud.push(layout, "multi", "team/multi")
    ecr = cloud.client("ecr")

    def failure(image_id: dict[str, str], **more: Any) -> str:
        answer = ecr.batch_get_image(repositoryName="team/multi", imageIds=[image_id], **more)
        assert answer["images"] == []
        return answer["failures"][0]["failureCode"]

    assert failure({"imageTag": "none"}) == "ImageNotFound"
    assert failure({"imageDigest": "sha256:" + "0" * 64}) == "ImageNotFound"
    assert failure({"imageTag": "multi"}, acceptedMediaTypes=[MANIFEST]) == "ImageNotFound"
    mismatch = {"imageTag": "none", "imageDigest": layout.digest("multi")}
    assert failure(mismatch) == "ImageTagDoesNotMatchDigest"
    with pytest.raises(ClientError, match="RepositoryNotFoundException"):
        ecr.batch_get_image(repositoryName="team/none", imageIds=[{"imageTag": "app"}])


def test_a_pushed_tag_moves(cloud: LocalCloud, layout: Layout) -> None:
    cloud.push(layout, "app", "team/moving", "latest")
    moved = cloud.push(layout, "multi", "team/moving", "latest")
    answer = cloud.client("ecr").describe_images(
        repositoryName="team/moving", imageIds=[{"imageTag": "latest"}]
    )
    assert [detail["imageDigest"] for detail in answer["imageDetails"]] == [moved]
