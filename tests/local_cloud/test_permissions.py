"""A function may do only what the template grants its role.

No function that deletes can delete a forged resource without our tag.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from infra.resolution import resolve, translate

from infra import resolution

from . import REGION
from .aws.authorization import UnknownActionError, supplied
from .aws.cloud_state import Place, Role
from .aws.grants import Grant
from .aws.host_containers import missing_permissions
from .conftest import ACCOUNT, CONSUMER, IRELAND, Aws
from .ministack import FUNCTION_TOKEN

OURS = [{"Key": "frontload:stack", "Value": "frontload"}]
THEIRS = [{"Key": "frontload:stack", "Value": "another"}]
RESOURCES = json.loads(
    json.dumps(resolve(translate("template"))).replace(resolution.ACCOUNT, ACCOUNT)
)


def role_of_template(logical: str) -> Role:
    """A role of the template with all of its policies."""
    policies = [one["PolicyDocument"] for one in RESOURCES[logical]["Properties"]["Policies"]]
    policies += [
        one["Properties"]["PolicyDocument"]
        for one in RESOURCES.values()
        if one["Type"] == "AWS::IAM::Policy"
        and f"<{logical}>" in str(one["Properties"].get("Roles"))
    ]
    return Role({}, policies)


def client(aws: Aws, logical: str, service: str) -> Any:
    """A client with the credentials of the function that has the role."""
    aws.roles[ACCOUNT, logical] = role_of_template(logical)
    return aws.client(service, token=f"{FUNCTION_TOKEN}{logical}")


def make_volume(aws: Aws, tags: list[dict[str, str]]) -> str:
    made = aws.ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1, VolumeType="gp3")
    aws.ec2.create_tags(Resources=[made["VolumeId"]], Tags=tags)
    return made["VolumeId"]


def make_snapshot(aws: Aws, tags: list[dict[str, str]]) -> str:
    made = aws.make_snapshot()
    aws.ec2.create_tags(Resources=[made], Tags=tags)
    return made


def make_instance(aws: Aws, tags: list[dict[str, str]]) -> str:
    kinds = ("instance", "volume")
    return aws.launch(TagSpecifications=[{"ResourceType": kind, "Tags": tags} for kind in kinds])


def delete_snapshot(ec2: Any, identity: str) -> None:
    ec2.delete_snapshot(SnapshotId=identity)


def delete_volume(ec2: Any, identity: str) -> None:
    ec2.delete_volume(VolumeId=identity)


def terminate(ec2: Any, identity: str) -> None:
    ec2.terminate_instances(InstanceIds=[identity])


def keep_volume(ec2: Any, identity: str) -> None:
    kept = {"DeviceName": "/dev/xvdb", "Ebs": {"DeleteOnTermination": False}}
    ec2.modify_instance_attribute(InstanceId=identity, BlockDeviceMappings=[kept])


def share(ec2: Any, identity: str) -> None:
    ec2.modify_snapshot_attribute(
        SnapshotId=identity,
        Attribute="createVolumePermission",
        CreateVolumePermission={"Add": [{"UserId": "210987654321"}]},
    )


def make_public(ec2: Any, identity: str) -> None:
    ec2.modify_snapshot_attribute(
        SnapshotId=identity,
        Attribute="createVolumePermission",
        CreateVolumePermission={"Add": [{"Group": "all"}]},
    )


def make_ours(ec2: Any, identity: str) -> None:
    ec2.create_tags(Resources=[identity], Tags=OURS)


DESTRUCTIVE = [
    ("PruneRole", make_snapshot, delete_snapshot),
    ("CleanUpRole", make_snapshot, delete_snapshot),
    ("ReapRole", make_snapshot, delete_snapshot),
    ("CleanUpRole", make_volume, delete_volume),
    ("ReapRole", make_volume, delete_volume),
    ("SnapshotRole", make_volume, delete_volume),
    ("EndRole", make_instance, keep_volume),
    ("EndRole", make_instance, terminate),
    ("CleanUpRole", make_instance, terminate),
    ("ReapRole", make_instance, terminate),
    ("ReplicateRole", make_snapshot, share),
]
Make = Callable[[Aws, list[dict[str, str]]], str]
Destroy = Callable[[Any, str], None]


@pytest.mark.parametrize(("role", "make", "destroy"), DESTRUCTIVE)
def test_a_role_cannot_destroy_resources_without_our_tag(
    role: str, make: Make, destroy: Destroy, aws: Aws
) -> None:
    ec2 = client(aws, role, "ec2")
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        destroy(ec2, make(aws, THEIRS))
    destroy(ec2, make(aws, OURS))


def test_every_role_that_can_destroy_resources_has_a_case() -> None:
    destroying = ("ec2:Delete", "ec2:Terminate", "ec2:Modify")
    may = {
        (logical, action)
        for logical, one in RESOURCES.items()
        if one["Type"] == "AWS::IAM::Role" and logical.endswith("Role")
        for statement, _ in role_of_template(logical).statements
        for action in (
            statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        )
        if action.startswith(destroying) and "VpcPolicy" not in logical
    }
    assert {role for role, _ in may} == {role for role, _, _ in DESTRUCTIVE}
    assert len(may) == len(DESTRUCTIVE)


@pytest.mark.parametrize("role", ["ReplicateRole", "PublishRole"])
def test_a_role_cannot_make_a_snapshot_public_or_ours(role: str, aws: Aws) -> None:
    ec2 = client(aws, role, "ec2")
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        make_public(ec2, make_snapshot(aws, OURS))
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        make_ours(ec2, make_snapshot(aws, THEIRS))


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"TagSpecifications": []}, "instance"),
        ({"MetadataOptions": {"HttpTokens": "optional"}}, "instance"),
        ({"MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 2}}, "instance"),
        ({"IamInstanceProfile": {"Name": "administrator"}}, "instance"),
    ],
)
def test_a_builder_is_launched_only_as_the_template_allows(
    changes: dict[str, Any], missing: str, aws: Aws
) -> None:
    usual = {
        "MinCount": 1,
        "MaxCount": 1,
        "ImageId": aws.instance(aws.launch())["ImageId"],
        "IamInstanceProfile": {"Name": "builder"},
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "TagSpecifications": [{"ResourceType": k, "Tags": OURS} for k in ("instance", "volume")],
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvdb", "Ebs": {"VolumeSize": 20}}],
    }
    text = json.dumps(role_of_template("LaunchRole").policies)
    for name, arn in (("InstanceProfile", "instance-profile"), ("Role", "role")):
        assert f"<Builder{name}.Arn>" in text
        text = text.replace(f"<Builder{name}.Arn>", f"arn:aws:iam::{ACCOUNT}:{arn}/builder")
    aws.roles[ACCOUNT, "LaunchRole"] = Role({}, json.loads(text))
    ec2 = aws.client("ec2", token=f"{FUNCTION_TOKEN}LaunchRole")
    assert ec2.run_instances(**usual)["Instances"] != []
    with pytest.raises(ClientError, match=f"on resource: .*{missing}/"):
        ec2.run_instances(**usual | changes)


def copy(aws: Aws, source: str, role: str = "ReplicateRole", **changes: Any) -> str:
    """Copy a snapshot to another region with the credentials of a role."""
    ec2 = aws.client("ec2", IRELAND, token=f"{FUNCTION_TOKEN}{role}")
    specification = {"ResourceType": "snapshot", "Tags": OURS}
    usual = {"SourceRegion": REGION, "TagSpecifications": [specification]}
    return ec2.copy_snapshot(SourceSnapshotId=source, **usual | changes)["SnapshotId"]


def test_any_snapshot_of_the_account_is_copied_but_the_copy_must_have_our_tag(aws: Aws) -> None:
    client(aws, "ReplicateRole", "ec2")
    source = make_snapshot(aws, THEIRS)
    assert copy(aws, source).startswith("snap-")
    with pytest.raises(ClientError, match=r"UnauthorizedOperation.*snapshot/\*"):
        copy(aws, source, TagSpecifications=[])
    theirs = aws.make_snapshot(account=CONSUMER)
    aws.client("ec2", account=CONSUMER).modify_snapshot_attribute(
        SnapshotId=theirs,
        Attribute="createVolumePermission",
        CreateVolumePermission={"Add": [{"UserId": ACCOUNT}]},
    )
    with pytest.raises(ClientError, match=f"UnauthorizedOperation.*{theirs}"):
        copy(aws, theirs)


def test_a_condition_on_a_key_that_aws_does_not_supply_denies_the_call(aws: Aws) -> None:
    of_our_tag = {"StringEquals": {"aws:ResourceTag/frontload:stack": "frontload"}}
    anything = {"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}
    aws.roles[ACCOUNT, "role"] = Role({}, [{"Statement": anything | {"Condition": of_our_tag}}])
    source = make_snapshot(aws, OURS)
    with pytest.raises(ClientError, match=f"UnauthorizedOperation.*{source}"):
        copy(aws, source, "role")
    aws.client("ec2", token=f"{FUNCTION_TOKEN}role").delete_snapshot(SnapshotId=source)


def test_an_action_missing_from_the_extract_is_an_error_with_the_remedy() -> None:
    with pytest.raises(UnknownActionError, match="lacks ec2:ImportKeyPair.*make authorization"):
        supplied("ec2:ImportKeyPair", "*", {"ec2:Owner": ACCOUNT})


def test_keeping_a_volume_needs_permission_on_its_instance_and_on_it(aws: Aws) -> None:
    instance_id = make_instance(aws, OURS)
    own = f"arn:aws:ec2:{REGION}:{ACCOUNT}"
    resources = [f"{own}:instance/{instance_id}", f"{own}:volume/{aws.data_volume(instance_id)}"]
    for number, lacking in enumerate(resources, start=1):
        allowed = [one for one in resources if one != lacking]
        statement = {"Effect": "Allow", "Action": "ec2:*", "Resource": allowed}
        aws.roles[ACCOUNT, f"role-{number}"] = Role({}, [{"Statement": statement}])
        with pytest.raises(ClientError, match=f"UnauthorizedOperation.*{lacking}"):
            keep_volume(aws.client("ec2", token=f"{FUNCTION_TOKEN}role-{number}"), instance_id)
    statement = {"Effect": "Allow", "Action": "ec2:ModifyInstanceAttribute", "Resource": resources}
    aws.roles[ACCOUNT, "role"] = Role({}, [{"Statement": statement}])
    keep_volume(aws.client("ec2", token=f"{FUNCTION_TOKEN}role"), instance_id)


@pytest.mark.parametrize("region", [REGION, "eu-west-1", "ap-south-2"])
def test_builders_of_the_stack_may_pull_their_host_containers(region: str) -> None:
    role = role_of_template("BuilderRole")
    assert missing_permissions(role, "BuilderRole", Place(ACCOUNT, region), "i-1") == []


def test_granted_and_used_permissions_are_recorded(aws: Aws) -> None:
    client(aws, "PruneRole", "ec2").describe_images(Owners=["self"])
    grants = aws.layer.cloud.grants
    used = Grant("PruneRole", "ec2:DescribeImages", "*", "")
    assert used in grants.used
    assert grants.used < grants.granted
