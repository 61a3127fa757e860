"""Volumes and snapshots are encrypted as requested, like their source, or by account default."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from .aws.keys import EBS_ACTIONS, SPOT_ROLE
from .conftest import ACCOUNT, CONSUMER, IRELAND, Aws, wait_until


def managed_key(aws: Aws, region: str = "us-east-1") -> str:
    found = aws.client("kms", region).describe_key(KeyId="alias/aws/ebs")
    return found["KeyMetadata"]["Arn"]


def test_snapshots_and_volumes_are_unencrypted_by_default(aws: Aws) -> None:
    shown = aws.snapshot(aws.make_snapshot())
    assert (shown["Encrypted"], shown.get("KmsKeyId")) == (False, None)


def test_a_snapshot_inherits_its_volumes_key(aws: Aws) -> None:
    key = aws.make_key()
    shown = aws.snapshot(aws.make_snapshot(Encrypted=True, KmsKeyId=key))
    assert (shown["Encrypted"], shown["KmsKeyId"]) == (True, key)
    shown = aws.snapshot(aws.make_snapshot(Encrypted=True))
    assert (shown["Encrypted"], shown["KmsKeyId"]) == (True, managed_key(aws))


def test_a_volume_from_a_snapshot_has_the_snapshots_key_or_the_consumers(aws: Aws) -> None:
    key = aws.make_key(users=(CONSUMER,))
    snapshot_id = aws.make_snapshot(Encrypted=True, KmsKeyId=key)
    aws.share(snapshot_id)
    request = {"SnapshotId": snapshot_id, "AvailabilityZone": "us-east-1a"}
    assert aws.ec2.create_volume(**request)["KmsKeyId"] == key
    theirs = aws.client("ec2", account=CONSUMER).create_volume(**request)["KmsKeyId"]
    kms = aws.client("kms", account=CONSUMER)
    assert theirs == kms.describe_key(KeyId="alias/aws/ebs")["KeyMetadata"]["Arn"]


def test_a_builders_data_volume_is_encrypted_as_requested(aws: Aws) -> None:
    key = aws.make_key()
    ebs = {"VolumeSize": 40, "Encrypted": True, "KmsKeyId": key}
    instance_id = aws.launch(BlockDeviceMappings=[{"DeviceName": "/dev/xvdb", "Ebs": ebs}])
    volume_id = aws.data_volume(instance_id)
    volume = aws.ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]
    assert (volume["Encrypted"], volume["KmsKeyId"]) == (True, key)


def test_a_spot_instance_ends_when_its_key_does_not_admit_ec2s_spot_role(
    aws: Aws,
) -> None:
    key = aws.make_key()
    ebs = {"VolumeSize": 40, "Encrypted": True, "KmsKeyId": key}
    asked = {"BlockDeviceMappings": [{"DeviceName": "/dev/xvdb", "Ebs": ebs}]}
    spot = {"InstanceMarketOptions": {"MarketType": "spot"}}
    on_demand, dead = aws.launch(**asked), aws.launch(**asked, **spot)
    wait_until(lambda: aws.state(dead) == "terminated")
    assert aws.instance(dead)["StateReason"]["Code"] == "Client.InternalError"
    operations = [*EBS_ACTIONS, "Encrypt", "GenerateDataKey"]
    role = f"arn:aws:iam::{ACCOUNT}:{SPOT_ROLE}"
    aws.client("kms").create_grant(KeyId=key, GranteePrincipal=role, Operations=operations)
    let_in = aws.launch(**asked, **spot)
    wait_until(lambda: [aws.state(one) for one in (on_demand, let_in)] == ["running"] * 2)


def test_encryption_by_default_applies_only_in_its_region(aws: Aws) -> None:
    assert aws.ec2.get_ebs_encryption_by_default()["EbsEncryptionByDefault"] is False
    aws.ec2.enable_ebs_encryption_by_default()
    assert aws.ec2.get_ebs_encryption_by_default()["EbsEncryptionByDefault"] is True
    assert aws.snapshot(aws.make_snapshot())["KmsKeyId"] == managed_key(aws)
    assert aws.snapshot(aws.make_snapshot(IRELAND), IRELAND)["Encrypted"] is False
    theirs = aws.make_snapshot(account=CONSUMER)
    assert aws.snapshot(theirs, account=CONSUMER)["Encrypted"] is False


def test_the_default_key_can_be_set_and_reset(aws: Aws) -> None:
    key = aws.make_key()
    assert aws.ec2.get_ebs_default_kms_key_id()["KmsKeyId"] == "alias/aws/ebs"
    aws.ec2.modify_ebs_default_kms_key_id(KmsKeyId=key)
    assert aws.ec2.get_ebs_default_kms_key_id()["KmsKeyId"] == key
    assert aws.snapshot(aws.make_snapshot(Encrypted=True))["KmsKeyId"] == key
    aws.ec2.reset_ebs_default_kms_key_id()
    assert aws.snapshot(aws.make_snapshot(Encrypted=True))["KmsKeyId"] == managed_key(aws)


def test_a_key_without_encryption_is_refused(aws: Aws) -> None:
    with pytest.raises(ClientError, match="InvalidParameterDependency"):
        aws.make_snapshot(KmsKeyId=aws.make_key())


def test_a_volume_under_a_key_of_another_region_fails_after_the_call(aws: Aws) -> None:
    request = {"Size": 1, "AvailabilityZone": "us-east-1a", "Encrypted": True}
    volume = aws.ec2.create_volume(**request, KmsKeyId=aws.make_key(IRELAND))
    shown = aws.ec2.describe_volumes(VolumeIds=[volume["VolumeId"]])["Volumes"][0]
    assert shown["State"] == "error"
    assert not aws.host.volume_file(volume["VolumeId"]).exists()
