"""ECR's list of a repository's images: tags, push time, filter and pages."""

from __future__ import annotations

import datetime
import hashlib
import itertools
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from . import REGION
from .aws.images import remember_push
from .conftest import ACCOUNT, CONSUMER, Aws
from .images import CONFIG, INDEX, MANIFEST

REPOSITORY = "team/app"
_numbers = itertools.count(1)


def push(tag: str | None = None, text: str | None = None) -> str:
    """Add an image to ECR: a new one at each call, or the one of `text`; returns its digest."""
    own = {"mediaType": MANIFEST, "config": {"mediaType": CONFIG}, "layers": [{"size": 3}]}
    text = text or json.dumps({**own, "number": next(_numbers)})
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    remember_push(ACCOUNT, REGION, REPOSITORY, tag, digest, text)
    return digest


@pytest.fixture(autouse=True)
def empty_repository(aws: Aws) -> None:
    """Recreate the repository, because a reset keeps images."""
    if any(one["repositoryName"] == REPOSITORY for one in repositories(aws)):
        aws.ecr.delete_repository(repositoryName=REPOSITORY, force=True)
    aws.ecr.create_repository(repositoryName=REPOSITORY)


def repositories(aws: Aws) -> list[dict[str, Any]]:
    return aws.ecr.describe_repositories()["repositories"]


def described(aws: Aws, **request: Any) -> dict[str, dict[str, Any]]:
    """What DescribeImages returns, by digest."""
    details = aws.ecr.describe_images(repositoryName=REPOSITORY, **request)["imageDetails"]
    return {one["imageDigest"]: one for one in details}


def test_an_image_is_described_with_tags_time_and_media_types(aws: Aws) -> None:
    digest = push("v1")
    (detail,) = described(aws).values()
    age = datetime.datetime.now(datetime.UTC) - detail.pop("imagePushedAt")
    assert abs(age.total_seconds()) < 10
    assert detail == {
        "registryId": ACCOUNT,
        "repositoryName": REPOSITORY,
        "imageDigest": digest,
        "imageTags": ["v1"],
        "imageSizeInBytes": 3,
        "imageManifestMediaType": MANIFEST,
        "artifactMediaType": CONFIG,
    }


def test_each_push_is_later_than_the_one_before(aws: Aws) -> None:
    digests = [push(f"v{number}") for number in range(20)]
    times = [described(aws)[digest]["imagePushedAt"] for digest in digests]
    assert sorted(set(times)) == times


def test_a_second_push_of_a_tag_moves_it(aws: Aws) -> None:
    first = push("latest")
    second = push("latest")
    images = described(aws)
    assert "imageTags" not in images[first]
    assert images[second]["imageTags"] == ["latest"]
    assert images[first]["imagePushedAt"] < images[second]["imagePushedAt"]


def test_a_second_tag_of_an_image_keeps_its_push_time(aws: Aws) -> None:
    text = json.dumps({"layers": []})
    digest = push("v1", text)
    before = described(aws)[digest]["imagePushedAt"]
    push("v2")
    push("promoted", text)
    image = described(aws)[digest]
    assert (image["imageTags"], image["imagePushedAt"]) == (["v1", "promoted"], before)


def test_an_index_is_described_as_one(aws: Aws) -> None:
    child = push()
    text = json.dumps({"mediaType": INDEX, "manifests": [{"digest": child}]})
    digest = push("v1", text)
    index = described(aws)[digest]
    assert index["imageManifestMediaType"] == INDEX
    assert "artifactMediaType" not in index


def test_the_filter_selects_tagged_or_untagged_images(aws: Aws) -> None:
    tagged, untagged = push("v1"), push()
    assert set(described(aws, filter={"tagStatus": "TAGGED"})) == {tagged}
    assert set(described(aws, filter={"tagStatus": "UNTAGGED"})) == {untagged}
    assert set(described(aws, filter={"tagStatus": "ANY"})) == {tagged, untagged}


def test_pages_hold_every_image_once(aws: Aws) -> None:
    digests = {push(f"v{number}") for number in range(5)}
    pages = aws.ecr.get_paginator("describe_images").paginate(
        repositoryName=REPOSITORY, PaginationConfig={"PageSize": 2}
    )
    found = [[one["imageDigest"] for one in page["imageDetails"]] for page in pages]
    assert [len(page) for page in found] == [2, 2, 1]
    assert set(sum(found, [])) == digests
    aws.control.settings(largest_page=3)
    assert len(described(aws)) == 3


def test_images_are_described_by_tag_and_digest_once_each(aws: Aws) -> None:
    digest = push("v1")
    push("v2")
    asked = [{"imageTag": "v1"}, {"imageDigest": digest}]
    assert list(described(aws, imageIds=asked)) == [digest]


def test_an_unknown_image_repository_or_registry_is_an_error(aws: Aws) -> None:
    push("v1")
    with pytest.raises(ClientError, match="ImageNotFoundException"):
        described(aws, imageIds=[{"imageTag": "v1"}, {"imageTag": "none"}])
    with pytest.raises(ClientError, match="RepositoryNotFoundException"):
        described(aws, registryId=CONSUMER)
    with pytest.raises(ClientError, match="RepositoryNotFoundException"):
        aws.ecr.describe_images(repositoryName="team/none")
