"""EBS snapshots of the local cloud hold the bytes of the moment and take time."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from .conftest import Aws, wait_until


def take_snapshot(aws: Aws, volume_id: str) -> str:
    tags = [{"ResourceType": "snapshot", "Tags": [{"Key": "frontload:build", "Value": "b1"}]}]
    return aws.ec2.create_snapshot(VolumeId=volume_id, TagSpecifications=tags)["SnapshotId"]


def test_a_snapshot_holds_the_bytes_of_the_moment_it_was_asked_for(aws: Aws) -> None:
    volume_id = aws.data_volume(aws.launch_online())
    aws.host.volume_file(volume_id).write_text("before")
    snapshot_id = take_snapshot(aws, volume_id)
    aws.host.volume_file(volume_id).write_text("after")
    assert aws.host.volume_file(snapshot_id).read_text() == "before"


def test_a_snapshot_is_pending_with_rising_progress_then_completed(aws: Aws) -> None:
    aws.control.settings(snapshot_seconds=1.0)
    snapshot_id = take_snapshot(aws, aws.data_volume(aws.launch_online()))
    early = aws.snapshot(snapshot_id)
    assert early["State"] == "pending"
    wait_until(lambda: aws.snapshot(snapshot_id)["Progress"] not in ("0%", early["Progress"]))
    wait_until(lambda: aws.snapshot(snapshot_id)["State"] == "completed")
    done = aws.snapshot(snapshot_id)
    assert (done["Progress"], done["VolumeSize"]) == ("100%", 40)
    assert done["Tags"] == [{"Key": "frontload:build", "Value": "b1"}]


def test_a_pending_snapshot_completes_although_its_instance_and_volume_are_gone(aws: Aws) -> None:
    aws.control.settings(snapshot_seconds=1.0)
    instance_id = aws.launch_online()
    volume_id = aws.data_volume(instance_id)
    aws.host.volume_file(volume_id).write_text("pulled")
    snapshot_id = take_snapshot(aws, volume_id)
    aws.ec2.terminate_instances(InstanceIds=[instance_id])
    wait_until(lambda: not aws.host.volume_file(volume_id).exists())
    assert aws.snapshot(snapshot_id)["State"] == "pending"
    wait_until(lambda: aws.snapshot(snapshot_id)["State"] == "completed")
    assert aws.host.volume_file(snapshot_id).read_text() == "pulled"


def test_snapshots_are_found_by_tag_and_state(aws: Aws) -> None:
    snapshot_id = take_snapshot(aws, aws.data_volume(aws.launch_online()))
    filters = [
        {"Name": "tag:frontload:build", "Values": ["b1"]},
        {"Name": "status", "Values": ["completed"]},
    ]
    wait_until(lambda: aws.ec2.describe_snapshots(Filters=filters)["Snapshots"])
    found = aws.ec2.describe_snapshots(Filters=filters, OwnerIds=["self"])["Snapshots"]
    assert [snapshot["SnapshotId"] for snapshot in found] == [snapshot_id]


def test_only_the_accounts_own_snapshots_are_its_own(aws: Aws) -> None:
    snapshot_id = take_snapshot(aws, aws.data_volume(aws.launch_online()))
    own = aws.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert [snapshot["SnapshotId"] for snapshot in own] == [snapshot_id]
    # The others are the root volumes of Bottlerocket's images.
    assert len(aws.ec2.describe_snapshots()["Snapshots"]) > 1


def test_volumes_are_found_by_tag_and_instance(aws: Aws) -> None:
    instance_id = aws.launch()
    aws.launch()
    filters = [
        {"Name": "attachment.instance-id", "Values": [instance_id]},
        {"Name": "attachment.device", "Values": ["/dev/xvdb"]},
        {"Name": "tag:frontload:build", "Values": ["b1"]},
    ]
    found = aws.ec2.describe_volumes(Filters=filters)["Volumes"]
    assert [volume["VolumeId"] for volume in found] == [aws.data_volume(instance_id)]


def test_a_planted_failure_ends_the_snapshot_in_error_with_a_message(aws: Aws) -> None:
    aws.control.plant(snapshots_to_fail=1, snapshot_message="the key is disabled")
    snapshot_id = take_snapshot(aws, aws.data_volume(aws.launch_online()))
    wait_until(lambda: aws.snapshot(snapshot_id)["State"] == "error")
    assert aws.snapshot(snapshot_id)["StateMessage"] == "the key is disabled"


def test_a_volume_is_made_only_from_a_completed_snapshot(aws: Aws) -> None:
    aws.control.settings(snapshot_seconds=1.0)
    snapshot_id = take_snapshot(aws, aws.data_volume(aws.launch_online()))
    request = {"SnapshotId": snapshot_id, "AvailabilityZone": "us-east-1a"}
    with pytest.raises(ClientError, match="IncorrectState"):
        aws.ec2.create_volume(**request)
    mapping = [{"DeviceName": "/dev/xvdb", "Ebs": {"SnapshotId": snapshot_id}}]
    with pytest.raises(ClientError, match="IncorrectState"):
        aws.launch(BlockDeviceMappings=mapping)
    wait_until(lambda: aws.snapshot(snapshot_id)["State"] == "completed")
    volume = aws.ec2.create_volume(**request)
    assert aws.host.volume_file(volume["VolumeId"]).read_text() == "40 GiB"
    node = aws.launch(BlockDeviceMappings=mapping)
    assert aws.host.volume_file(aws.data_volume(node)).read_text() == "40 GiB"


def test_deleting_a_snapshot_removes_its_bytes(aws: Aws) -> None:
    snapshot_id = take_snapshot(aws, aws.data_volume(aws.launch_online()))
    aws.ec2.delete_snapshot(SnapshotId=snapshot_id)
    assert not aws.host.volume_file(snapshot_id).exists()
    with pytest.raises(ClientError, match=rf"InvalidSnapshot\.NotFound.*{snapshot_id}"):
        aws.ec2.delete_snapshot(SnapshotId=snapshot_id)
    with pytest.raises(ClientError, match=r"InvalidSnapshot\.NotFound"):
        aws.snapshot(snapshot_id)


def test_a_snapshot_of_an_unknown_volume_is_refused(aws: Aws) -> None:
    with pytest.raises(ClientError, match=r"InvalidVolume\.NotFound"):
        take_snapshot(aws, "vol-00000000000000000")
