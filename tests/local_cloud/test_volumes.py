"""EBS snapshots of the local cloud contain the bytes at the request, and take time."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import Aws, wait_until


def take_snapshot(aws: Aws, volume_id: str) -> str:
    tags = [{"ResourceType": "snapshot", "Tags": [{"Key": "frontload:build", "Value": "b1"}]}]
    return aws.ec2.create_snapshot(VolumeId=volume_id, TagSpecifications=tags)["SnapshotId"]


def test_a_snapshot_has_the_volumes_bytes_at_the_time_of_the_request(aws: Aws) -> None:
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


def test_a_filter_by_owner_lists_only_the_accounts_own_snapshots(aws: Aws) -> None:
    snapshot_id = take_snapshot(aws, aws.data_volume(aws.launch_online()))
    own = aws.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert [snapshot["SnapshotId"] for snapshot in own] == [snapshot_id]
    # The others are snapshots for the root volumes of Bottlerocket's images.
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


def keep_volume(aws: Aws, instance_id: str, device: str = "/dev/xvdb", goes: bool = False) -> None:
    mapping = {"DeviceName": device, "Ebs": {"DeleteOnTermination": goes}}
    aws.ec2.modify_instance_attribute(InstanceId=instance_id, BlockDeviceMappings=[mapping])


def terminate(aws: Aws, instance_id: str) -> None:
    aws.ec2.terminate_instances(InstanceIds=[instance_id])
    wait_until(lambda: aws.state(instance_id) == "terminated")


def volume(aws: Aws, volume_id: str) -> dict[str, Any]:
    return aws.ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]


def found_by(aws: Aws, **filters: str) -> set[str]:
    asked = [
        {"Name": name.replace("_", "-").replace("--", "."), "Values": [value]}
        for name, value in filters.items()
    ]
    return {one["VolumeId"] for one in aws.ec2.describe_volumes(Filters=asked)["Volumes"]}


def test_a_kept_volume_is_available_after_its_instance_has_ended(aws: Aws) -> None:
    aws.control.settings(shutting_down_seconds=0.5)
    instance_id = aws.launch_online()
    volume_id = aws.data_volume(instance_id)
    keep_volume(aws, instance_id)
    (attachment,) = volume(aws, volume_id)["Attachments"]
    assert (attachment["InstanceId"], attachment["Device"]) == (instance_id, "/dev/xvdb")
    assert attachment["DeleteOnTermination"] is False
    aws.host.volume_file(volume_id).write_text("pulled")
    aws.ec2.terminate_instances(InstanceIds=[instance_id])
    assert (aws.state(instance_id), volume(aws, volume_id)["State"]) == ("shutting-down", "in-use")
    wait_until(lambda: aws.state(instance_id) == "terminated")
    left = volume(aws, volume_id)
    assert (left["State"], left["Attachments"]) == ("available", [])
    assert left["Tags"] == [{"Key": "frontload:build", "Value": "b1"}]
    assert aws.host.volume_file(volume_id).read_text() == "pulled"


def test_a_volume_with_delete_on_termination_is_deleted(aws: Aws) -> None:
    instance_id = aws.launch_online()
    volume_id = aws.data_volume(instance_id)
    keep_volume(aws, instance_id)
    keep_volume(aws, instance_id, goes=True)
    terminate(aws, instance_id)
    assert not aws.host.volume_file(volume_id).exists()


def test_the_volumes_of_a_terminated_instance_cannot_be_changed(aws: Aws) -> None:
    instance_id = aws.launch_online()
    terminate(aws, instance_id)
    with pytest.raises(ClientError, match="IncorrectInstanceState"):
        keep_volume(aws, instance_id)
    with pytest.raises(ClientError, match=r"InvalidInstanceID\.NotFound"):
        keep_volume(aws, "i-00000000000000000")


def test_a_device_that_is_not_attached_cannot_be_changed(aws: Aws) -> None:
    with pytest.raises(ClientError, match="No device is currently mapped at /dev/xvdz"):
        keep_volume(aws, aws.launch(), device="/dev/xvdz")


def test_other_attributes_of_an_instance_can_be_changed(aws: Aws) -> None:
    instance_id = aws.launch()
    aws.ec2.modify_instance_attribute(InstanceId=instance_id, SourceDestCheck={"Value": False})
    assert aws.instance(instance_id)["SourceDestCheck"] is False


def test_volumes_are_found_by_attachment_and_state(aws: Aws) -> None:
    instance_id = aws.launch_online()
    data = aws.data_volume(instance_id)
    keep_volume(aws, instance_id)
    terminate(aws, instance_id)
    other = aws.launch()
    assert found_by(aws, status="available") == {data}
    assert found_by(aws, volume_id=data, status="in-use") == set()
    assert found_by(aws, attachment__instance_id=instance_id) == set()
    asked = {"attachment__instance_id": other, "attachment__device": "/dev/xvdb"}
    assert found_by(aws, **asked) == {aws.data_volume(other)}
    assert found_by(aws, **{"tag:frontload:build": "b1", "status": "available"}) == {data}
    assert found_by(aws, **{"tag:frontload:build": "b2"}) == set()


def test_volumes_are_listed_over_several_pages(aws: Aws) -> None:
    aws.control.settings(largest_page=2)
    made = {aws.ec2.create_volume(Size=1, AvailabilityZone="us-east-1a")["VolumeId"]
            for _ in range(5)}  # fmt: skip
    first = aws.ec2.describe_volumes()
    assert (len(first["Volumes"]), bool(first["NextToken"])) == (2, True)
    pages = aws.ec2.get_paginator("describe_volumes").paginate()
    assert {one["VolumeId"] for page in pages for one in page["Volumes"]} == made


def test_a_kept_volume_can_be_snapshotted_and_a_deleted_one_cannot(aws: Aws) -> None:
    aws.control.settings(snapshot_seconds=1.0)
    instance_id = aws.launch_online()
    volume_id = aws.data_volume(instance_id)
    keep_volume(aws, instance_id)
    terminate(aws, instance_id)
    aws.host.volume_file(volume_id).write_text("left")
    snapshot_id = take_snapshot(aws, volume_id)
    aws.ec2.delete_volume(VolumeId=volume_id)
    assert aws.snapshot(snapshot_id)["State"] == "pending"
    with pytest.raises(ClientError, match=r"InvalidVolume\.NotFound"):
        take_snapshot(aws, volume_id)
    with pytest.raises(ClientError, match=r"InvalidVolume\.NotFound"):
        aws.ec2.delete_volume(VolumeId=volume_id)
    with pytest.raises(ClientError, match=rf"InvalidVolume\.NotFound.*{volume_id}"):
        volume(aws, volume_id)
    wait_until(lambda: aws.snapshot(snapshot_id)["State"] == "completed")
    assert aws.host.volume_file(snapshot_id).read_text() == "left"


def test_a_volume_in_use_is_not_deleted(aws: Aws) -> None:
    instance_id = aws.launch_online()
    volume_id = aws.data_volume(instance_id)
    with pytest.raises(ClientError, match=rf"\(VolumeInUse\).*{instance_id}"):
        aws.ec2.delete_volume(VolumeId=volume_id)
    assert aws.host.volume_file(volume_id).exists()
