"""Parameter Store of the local cloud: limits, labels, history, Bottlerocket's parameters."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from . import REGION
from .conftest import ACCOUNT, CONSUMER, IRELAND, Aws

NAME = "/frontload/default/x86_64/snapshot-id"


def put(aws: Aws, value: str, **changes: object) -> dict[str, object]:
    return aws.ssm.put_parameter(Name=NAME, Value=value, Type="String", **changes)


def test_bottlerocket_parameters_name_an_image_that_exists(aws: Aws) -> None:
    for architecture in ("x86_64", "arm64"):
        path = f"/aws/service/bottlerocket/aws-k8s-1.35/{architecture}/latest"
        image_id = aws.ssm.get_parameter(Name=f"{path}/image_id")["Parameter"]["Value"]
        version = aws.ssm.get_parameter(Name=f"{path}/image_version")["Parameter"]["Value"]
        image = aws.ec2.describe_images(ImageIds=[image_id])["Images"][0]
        assert (image["Architecture"], image["RootDeviceName"]) == (architecture, "/dev/xvda")
        assert version.count(".") == 2


def test_a_standard_parameter_holds_at_most_4096_bytes(aws: Aws) -> None:
    assert put(aws, "v" * 4096)["Tier"] == "Standard"
    with pytest.raises(ClientError, match="ValidationException"):
        put(aws, "v" * 4097, Overwrite=True)
    assert len(aws.ssm.get_parameter(Name=NAME)["Parameter"]["Value"]) == 4096


def test_intelligent_tiering_switches_to_advanced_up_to_its_limit(aws: Aws) -> None:
    tier = {"Tier": "Intelligent-Tiering"}
    assert put(aws, "v", **tier)["Tier"] == "Standard"
    assert put(aws, "v" * 8192, Overwrite=True, **tier)["Tier"] == "Advanced"
    with pytest.raises(ClientError, match="ValidationException"):
        put(aws, "v" * 8193, Overwrite=True, **tier)


def test_a_parameter_is_not_overwritten_by_default(aws: Aws) -> None:
    put(aws, "one")
    with pytest.raises(ClientError, match="ParameterAlreadyExists"):
        put(aws, "two")


def test_labels_move_and_find_versions_and_history_keeps_them(aws: Aws) -> None:
    put(aws, "one")
    aws.ssm.label_parameter_version(Name=NAME, ParameterVersion=1, Labels=["current"])
    put(aws, "two", Overwrite=True)
    aws.ssm.label_parameter_version(Name=NAME, ParameterVersion=1, Labels=["previous"])
    aws.ssm.label_parameter_version(Name=NAME, ParameterVersion=2, Labels=["current"])
    labelled = aws.ssm.get_parameter(Name=f"{NAME}:current")["Parameter"]["Value"]
    history = aws.ssm.get_parameter_history(Name=NAME)["Parameters"]
    assert labelled == "two"
    assert [(p["Value"], p["Version"], p["Labels"]) for p in history] == [
        ("one", 1, ["previous"]),
        ("two", 2, ["current"]),
    ]


def test_a_label_without_a_version_is_a_version_not_found(aws: Aws) -> None:
    put(aws, "one")
    with pytest.raises(ClientError, match="ParameterVersionNotFound"):
        aws.ssm.get_parameter(Name=f"{NAME}:current")
    with pytest.raises(ClientError, match="ParameterNotFound"):
        aws.ssm.get_parameter(Name=f"{NAME}-none:current")


def test_labelling_an_unknown_parameter_creates_nothing(aws: Aws) -> None:
    with pytest.raises(ClientError, match="ParameterNotFound"):
        aws.ssm.label_parameter_version(Name=NAME, ParameterVersion=1, Labels=["current"])
    with pytest.raises(ClientError, match="ParameterNotFound"):
        aws.ssm.get_parameter(Name=NAME)


def test_a_deleted_parameter_is_gone_and_its_versions_start_again(aws: Aws) -> None:
    put(aws, "one")
    put(aws, "two", Overwrite=True)
    aws.ssm.delete_parameter(Name=NAME)
    with pytest.raises(ClientError, match="ParameterNotFound"):
        aws.ssm.get_parameter_history(Name=NAME)
    assert put(aws, "three")["Version"] == 1


def test_parameters_are_listed_by_path(aws: Aws) -> None:
    put(aws, "one")
    found = aws.ssm.get_parameters_by_path(Path="/frontload", Recursive=True)["Parameters"]
    assert [parameter["Name"] for parameter in found] == [NAME]
    assert aws.ssm.get_parameters_by_path(Path="/frontload")["Parameters"] == []


def test_every_account_and_region_has_its_own_parameters(aws: Aws) -> None:
    places = [(REGION, ACCOUNT), (IRELAND, ACCOUNT), (REGION, CONSUMER), (IRELAND, CONSUMER)]
    for region, account in places:
        ssm = aws.client("ssm", region, account)
        ssm.put_parameter(Name=NAME, Value=f"{account} {region}", Type="String")
        ssm.label_parameter_version(Name=NAME, ParameterVersion=1, Labels=["current"])
    for region, account in places:
        ssm = aws.client("ssm", region, account)
        found = ssm.get_parameter(Name=f"{NAME}:current")["Parameter"]
        assert (found["Value"], found["Version"]) == (f"{account} {region}", 1)
        assert len(ssm.get_parameter_history(Name=NAME)["Parameters"]) == 1


def test_bottlerocket_has_its_own_image_in_every_region(aws: Aws) -> None:
    found = set()
    for region, account in ((REGION, CONSUMER), (IRELAND, CONSUMER), ("ap-southeast-2", ACCOUNT)):
        path = "/aws/service/bottlerocket/aws-k8s-1.35/x86_64/latest/image_id"
        ssm, ec2 = aws.client("ssm", region, account), aws.client("ec2", region, account)
        image_id = ssm.get_parameter(Name=path)["Parameter"]["Value"]
        assert ec2.describe_images(ImageIds=[image_id])["Images"]
        found.add(image_id)
    assert len(found) == 3
