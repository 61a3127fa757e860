"""What another account sees of a snapshot, and the volumes that it can make from it."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from . import REGION
from .conftest import ACCOUNT, CONSUMER, IRELAND, STRANGER, Aws, wait_until


def permissions(aws: Aws, snapshot_id: str) -> list[dict[str, str]]:
    shown = aws.ec2.describe_snapshot_attribute(
        SnapshotId=snapshot_id, Attribute="createVolumePermission"
    )
    return shown["CreateVolumePermissions"]


def modify(aws: Aws, snapshot_id: str, **change: Any) -> None:
    aws.ec2.modify_snapshot_attribute(
        SnapshotId=snapshot_id, Attribute="createVolumePermission", **change
    )


def volume_state(aws: Aws, snapshot_id: str, account: str = CONSUMER) -> str:
    """The state of a volume that the account makes from the snapshot."""
    ec2 = aws.client("ec2", account=account)
    made = ec2.create_volume(SnapshotId=snapshot_id, AvailabilityZone="us-east-1a")
    return ec2.describe_volumes(VolumeIds=[made["VolumeId"]])["Volumes"][0]["State"]


def test_permissions_are_added_shown_and_removed(aws: Aws) -> None:
    snapshot_id = aws.make_snapshot()
    assert permissions(aws, snapshot_id) == []
    aws.share(snapshot_id)
    modify(aws, snapshot_id, OperationType="add", UserIds=[STRANGER])
    assert permissions(aws, snapshot_id) == [{"UserId": STRANGER}, {"UserId": CONSUMER}]
    modify(aws, snapshot_id, CreateVolumePermission={"Remove": [{"UserId": CONSUMER}]})
    modify(aws, snapshot_id, OperationType="remove", UserIds=[STRANGER])
    assert permissions(aws, snapshot_id) == []


def test_a_shared_snapshot_is_visible_only_to_its_consumers(aws: Aws) -> None:
    snapshot_id = aws.make_snapshot()
    for account, region in ((CONSUMER, REGION), (STRANGER, REGION), (CONSUMER, IRELAND)):
        with pytest.raises(ClientError, match=r"InvalidSnapshot\.NotFound"):
            aws.snapshot(snapshot_id, region, account)
    aws.share(snapshot_id)
    assert aws.snapshot(snapshot_id, account=CONSUMER)["OwnerId"] == ACCOUNT
    for account, region in ((STRANGER, REGION), (CONSUMER, IRELAND)):
        with pytest.raises(ClientError, match=r"InvalidSnapshot\.NotFound"):
            aws.snapshot(snapshot_id, region, account)


def test_shared_snapshots_are_listed_by_owner_and_restorer(aws: Aws) -> None:
    shared, kept = aws.make_snapshot(), aws.make_snapshot()
    aws.share(shared)
    theirs = aws.make_snapshot(account=CONSUMER)

    def listed(account: str, **request: Any) -> set[str]:
        answer = aws.client("ec2", account=account).describe_snapshots(**request)
        return {snapshot["SnapshotId"] for snapshot in answer["Snapshots"]}

    assert listed(CONSUMER, OwnerIds=[ACCOUNT]) == {shared}
    assert listed(CONSUMER, OwnerIds=["self"]) == {theirs}
    assert listed(CONSUMER, OwnerIds=["self"], SnapshotIds=[shared]) == set()
    assert listed(CONSUMER, RestorableByUserIds=["self"]) == {shared, theirs}
    assert listed(ACCOUNT, RestorableByUserIds=[CONSUMER]) == {shared}
    assert listed(ACCOUNT, OwnerIds=["self"]) == {shared, kept}
    assert kept not in listed(CONSUMER)


def test_a_shared_snapshot_shows_no_tags_of_its_owner(aws: Aws) -> None:
    snapshot_id = aws.make_snapshot()
    aws.ec2.create_tags(Resources=[snapshot_id], Tags=[{"Key": "frontload:build", "Value": "b"}])
    aws.share(snapshot_id)
    consumer = aws.client("ec2", account=CONSUMER)
    assert aws.snapshot(snapshot_id, account=CONSUMER).get("Tags", []) == []
    by_tag = [{"Name": "tag:frontload:build", "Values": ["b"]}]
    assert consumer.describe_snapshots(Filters=by_tag)["Snapshots"] == []
    assert aws.ec2.describe_snapshots(Filters=by_tag)["Snapshots"]


def test_only_the_owner_changes_or_deletes_a_snapshot(aws: Aws) -> None:
    snapshot_id = aws.make_snapshot()
    aws.share(snapshot_id)
    consumer = aws.client("ec2", account=CONSUMER)
    with pytest.raises(ClientError, match="OperationNotPermitted"):
        consumer.delete_snapshot(SnapshotId=snapshot_id)
    with pytest.raises(ClientError, match="OperationNotPermitted"):
        consumer.modify_snapshot_attribute(
            SnapshotId=snapshot_id, OperationType="add", UserIds=[STRANGER]
        )
    assert permissions(aws, snapshot_id) == [{"UserId": CONSUMER}]


def test_a_snapshot_under_the_default_key_cannot_be_shared(aws: Aws) -> None:
    snapshot_id = aws.make_snapshot(Encrypted=True)
    with pytest.raises(ClientError, match="OperationNotPermitted.*EBS default key"):
        aws.share(snapshot_id)
    assert permissions(aws, snapshot_id) == []


def test_an_encrypted_snapshot_cannot_be_made_public(aws: Aws) -> None:
    encrypted = aws.make_snapshot(Encrypted=True, KmsKeyId=aws.make_key())
    everybody = {"CreateVolumePermission": {"Add": [{"Group": "all"}]}}
    with pytest.raises(ClientError, match="OperationNotPermitted"):
        modify(aws, encrypted, **everybody)
    plain = aws.make_snapshot()
    modify(aws, plain, **everybody)
    assert aws.snapshot(plain, account=STRANGER)["SnapshotId"] == plain


def test_a_malformed_account_is_refused(aws: Aws) -> None:
    with pytest.raises(ClientError, match=r"InvalidUserID\.Malformed"):
        aws.share(aws.make_snapshot(), account="12345678901")


def test_a_consumer_makes_a_volume_of_a_shared_snapshot(aws: Aws) -> None:
    snapshot_id = aws.make_snapshot()
    with pytest.raises(ClientError, match=r"InvalidSnapshot\.NotFound"):
        volume_state(aws, snapshot_id)
    aws.share(snapshot_id)
    assert volume_state(aws, snapshot_id) == "available"


def test_a_consumer_needs_the_key_of_an_encrypted_snapshot(aws: Aws) -> None:
    snapshot_id = aws.make_snapshot(Encrypted=True, KmsKeyId=aws.make_key(users=(STRANGER,)))
    for account in (CONSUMER, STRANGER):
        aws.share(snapshot_id, account)
    assert volume_state(aws, snapshot_id, CONSUMER) == "error"
    assert volume_state(aws, snapshot_id, STRANGER) == "available"
    assert volume_state(aws, snapshot_id, ACCOUNT) == "available"


def test_a_consumer_can_use_a_key_by_a_grant_of_every_permission(aws: Aws) -> None:
    key = aws.make_key()
    snapshot_id = aws.make_snapshot(Encrypted=True, KmsKeyId=key)
    aws.share(snapshot_id)
    needed = [
        "DescribeKey",
        "CreateGrant",
        "Decrypt",
        "ReEncryptFrom",
        "ReEncryptTo",
        "GenerateDataKeyWithoutPlaintext",
    ]
    consumer, stranger = (f"arn:aws:iam::{account}:root" for account in (CONSUMER, STRANGER))
    aws.kms.create_grant(KeyId=key, GranteePrincipal=stranger, Operations=needed)
    for operation in needed:
        assert volume_state(aws, snapshot_id) == "error"
        aws.kms.create_grant(KeyId=key, GranteePrincipal=consumer, Operations=[operation])
    assert volume_state(aws, snapshot_id) == "available"


def test_a_consumers_node_without_the_key_ends_right_after_its_launch(aws: Aws) -> None:
    key = aws.make_key()
    snapshot_id = aws.make_snapshot(Encrypted=True, KmsKeyId=key)
    aws.share(snapshot_id)
    ec2, ssm = aws.client("ec2", account=CONSUMER), aws.client("ssm", account=CONSUMER)
    aws.ec2, aws.ssm = ec2, ssm
    mapping = [{"DeviceName": "/dev/xvdb", "Ebs": {"SnapshotId": snapshot_id}}]
    instance_id = aws.launch(BlockDeviceMappings=mapping)
    wait_until(lambda: aws.state(instance_id) == "terminated")
    assert aws.instance(instance_id)["StateReason"]["Code"] == "Client.InternalError"
    assert aws.host.running == {}


def test_a_volume_smaller_than_its_snapshot_is_refused(aws: Aws) -> None:
    snapshot_id = aws.make_snapshot(Size=3)
    with pytest.raises(ClientError, match="InvalidParameterValue.*expect size >= 3GB"):
        aws.ec2.create_volume(SnapshotId=snapshot_id, Size=2, AvailabilityZone="us-east-1a")
    ebs = {"SnapshotId": snapshot_id, "VolumeSize": 2}
    with pytest.raises(ClientError, match="InvalidBlockDeviceMapping"):
        aws.launch(BlockDeviceMappings=[{"DeviceName": "/dev/xvdb", "Ebs": ebs}])
