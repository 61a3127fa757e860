"""An instance's agent runs in a container that its role must be allowed to pull."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from .aws.cloud_state import Place, Role
from .aws.host_containers import missing_permissions
from .cloud import LocalCloud
from .conftest import ACCOUNT, Aws, wait_until

USUAL = "arn:aws:ecr:us-east-1:328549459982:repository"
BOTH = [f"{USUAL}/bottlerocket-control", f"{USUAL}/bottlerocket-admin"]
PULL = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]


def allow(action: str | list[str], resource: str | list[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource}


TOKEN = allow("ecr:GetAuthorizationToken", "*")
ENOUGH = [TOKEN, allow(PULL, BOTH)]


def role(*statements: dict[str, Any]) -> Role:
    return Role({}, [{"Statement": list(statements)}])


def missing(*statements: dict[str, Any], region: str = "us-east-1") -> list[str]:
    return missing_permissions(role(*statements), "builder", Place(ACCOUNT, region), "i-1")


def test_a_role_that_may_pull_both_containers_lacks_nothing() -> None:
    assert missing(*ENOUGH) == []
    assert missing(allow("ecr:*", "*")) == []


@pytest.mark.parametrize(
    ("statements", "lacking"),
    [
        ([allow(PULL, BOTH)], ["ecr:GetAuthorizationToken on *"]),
        ([TOKEN, allow(PULL, BOTH[:1])], [f"{action} on {BOTH[1]}" for action in PULL]),
        ([TOKEN, allow(PULL, BOTH[1:])], [f"{action} on {BOTH[0]}" for action in PULL]),
        ([TOKEN, allow(PULL[0], BOTH)], [f"{PULL[1]} on {one}" for one in BOTH]),
        ([TOKEN, allow(PULL[1], BOTH)], [f"{PULL[0]} on {one}" for one in BOTH]),
        (
            [TOKEN, allow(PULL, f"arn:aws:ecr:*:{ACCOUNT}:repository/*")],
            [f"{action} on {one}" for one in BOTH for action in PULL],
        ),
        (
            [*ENOUGH, {**allow(PULL[0], BOTH[1]), "Effect": "Deny"}],
            [f"{PULL[0]} on {BOTH[1]}"],
        ),
    ],
    ids=["token", "admin", "control", "layers", "manifests", "own account only", "denied"],
)
def test_a_role_must_be_allowed_every_call_of_the_pull(
    statements: list[dict[str, Any]], lacking: list[str]
) -> None:
    assert missing(*statements) == lacking


@pytest.mark.parametrize(
    ("region", "source"),
    [
        ("eu-west-1", "arn:aws:ecr:eu-west-1:328549459982"),
        ("ap-south-2", "arn:aws:ecr:ap-south-2:764716012617"),
        ("cn-north-1", "arn:aws-cn:ecr:cn-north-1:183470599484"),
        ("us-gov-west-1", "arn:aws-us-gov:ecr:us-gov-west-1:347163068887"),
        ("mx-central-1", "arn:aws:ecr:us-east-1:328549459982"),
    ],
)
def test_each_region_has_its_account_and_an_unknown_region_uses_virginias(
    region: str, source: str
) -> None:
    assert missing(TOKEN, allow(PULL, f"{source}:repository/bottlerocket-*"), region=region) == []
    asked = {line.partition(" on ")[2] for line in missing(TOKEN, region=region)}
    assert asked == {f"{source}:repository/bottlerocket-{one}" for one in ("control", "admin")}


def test_an_instance_whose_role_may_pull_comes_online(aws: Aws) -> None:
    aws.roles[ACCOUNT, "builder"] = role(*ENOUGH)
    instance_id = aws.launch_online()
    assert aws.host.running[instance_id][1].host_containers


def test_an_instance_whose_role_may_not_pull_runs_and_never_comes_online(aws: Aws) -> None:
    aws.roles[ACCOUNT, "builder"] = role(TOKEN, allow(PULL, BOTH[:1]))
    instance_id = aws.launch()
    aws.stays_offline(instance_id)
    assert not aws.host.running[instance_id][1].host_containers
    told = aws.control.state()["instances"][instance_id]["missingPermissions"]
    assert told == [f"{action} on {BOTH[1]}" for action in PULL]


def test_the_role_is_the_one_in_the_instance_profile(aws: Aws) -> None:
    aws.layer.cloud.role_of_profile = lambda _, profile: f"role-in-{profile}"
    aws.roles[ACCOUNT, "role-in-builder"] = role(TOKEN)
    instance_id = aws.launch()
    aws.stays_offline(instance_id)
    assert aws.host.running[instance_id][1].role_name == "role-in-builder"


def test_an_instance_without_a_profile_never_comes_online(aws: Aws) -> None:
    aws.stays_offline(aws.launch(IamInstanceProfile={}))


def test_an_instance_comes_online_after_its_control_container_runs(aws: Aws) -> None:
    running: set[str] = set()
    aws.host.control_running = running.__contains__  # type: ignore[method-assign]
    instance_id = aws.launch()
    aws.stays_offline(instance_id)
    running.add(instance_id)
    wait_until(lambda: aws.online(instance_id))


@contextmanager
def instance_with(cloud: LocalCloud, statements: list[dict[str, Any]]) -> Iterator[str]:
    """The id of an instance whose profile and role are in the local cloud's IAM."""
    iam, ec2, ssm = (cloud.client(service) for service in ("iam", "ec2", "ssm"))
    path = "/aws/service/bottlerocket/aws-k8s-1.35/x86_64/latest/image_id"
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.create_role(RoleName="pulls", AssumeRolePolicyDocument=json.dumps({"Statement": []}))
    iam.put_role_policy(RoleName="pulls", PolicyName="pulls", PolicyDocument=policy)
    iam.create_instance_profile(InstanceProfileName="profile")
    iam.add_role_to_instance_profile(InstanceProfileName="profile", RoleName="pulls")
    instance_id = ec2.run_instances(
        ImageId=ssm.get_parameter(Name=path)["Parameter"]["Value"],
        IamInstanceProfile={"Name": "profile"},
        MinCount=1,
        MaxCount=1,
    )["Instances"][0]["InstanceId"]
    try:
        yield instance_id
    finally:
        ec2.terminate_instances(InstanceIds=[instance_id])
        wait_until(lambda: seen(cloud, instance_id)["state"] == "terminated", 60)
        iam.remove_role_from_instance_profile(InstanceProfileName="profile", RoleName="pulls")
        iam.delete_instance_profile(InstanceProfileName="profile")
        iam.delete_role_policy(RoleName="pulls", PolicyName="pulls")
        iam.delete_role(RoleName="pulls")


def seen(cloud: LocalCloud, instance_id: str) -> dict[str, Any]:
    return cloud.control.state()["instances"][instance_id]


def test_a_deployed_role_is_read_from_iam(cloud: LocalCloud) -> None:
    with instance_with(cloud, ENOUGH) as instance_id:
        wait_until(lambda: seen(cloud, instance_id)["agent"] == "online", 60)
    with instance_with(cloud, [TOKEN]) as instance_id:
        wait_until(lambda: seen(cloud, instance_id)["missingPermissions"], 60)
        assert len(seen(cloud, instance_id)["missingPermissions"]) == 4
        assert seen(cloud, instance_id)["agent"] == "absent"
