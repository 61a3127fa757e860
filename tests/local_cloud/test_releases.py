"""Releases of Bottlerocket: images, parameters, and an instance's version."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from .aws.releases import version_of
from .conftest import IRELAND, Aws

PATH = "/aws/service/bottlerocket/aws-k8s-1.35/x86_64"


def read(aws: Aws, name: str, **place: str) -> str:
    return aws.client("ssm", **place).get_parameter(Name=f"{PATH}/{name}")["Parameter"]["Value"]


@pytest.mark.parametrize("version", ["1.52.0-abcdef01", "1.58.0"])
def test_an_instance_of_a_release_runs_that_version(aws: Aws, version: str) -> None:
    aws.control.release_bottlerocket(version)
    assert read(aws, "latest/image_version") == version
    image_id = read(aws, "latest/image_id")
    (image,) = aws.ec2.describe_images(ImageIds=[image_id])["Images"]
    assert image["Name"].endswith(f"-v{version}")
    instance_id = aws.launch_online(ImageId=image_id)
    expected = version.partition("-")[0]
    assert aws.host.running[instance_id][1].os_version == expected
    assert aws.control.state()["instances"][instance_id]["osVersion"] == expected


def test_an_older_release_stays_under_its_own_number(aws: Aws) -> None:
    first = read(aws, "latest/image_version")
    before = read(aws, f"{first}/image_id")
    assert before == read(aws, "latest/image_id")
    aws.control.release_bottlerocket("1.63.0-abcdef01")
    assert read(aws, f"{first}/image_id") == before
    assert read(aws, "latest/image_id") == read(aws, "1.63.0-abcdef01/image_id") != before
    with pytest.raises(ClientError, match="ParameterNotFound"):
        read(aws, "1.64.0/image_id")


def test_a_release_reaches_regions_without_earlier_calls(aws: Aws) -> None:
    aws.control.release_bottlerocket("1.63.0-abcdef01")
    assert read(aws, "latest/image_version", region=IRELAND) == "1.63.0-abcdef01"
    aws.control.reset()
    assert read(aws, "latest/image_version", region=IRELAND) != "1.63.0-abcdef01"


def test_an_images_name_contains_its_release() -> None:
    assert version_of("bottlerocket-aws-k8s-1.35-arm64-v1.52.0-abcdef01") == "1.52.0"
    assert version_of("node") == version_of("bottlerocket-aws-k8s-1.35-x86_64-v1.62.0")
