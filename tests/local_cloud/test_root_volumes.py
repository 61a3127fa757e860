"""A launch also makes the image's root volume, and a service control policy may refuse it."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from .aws.cloud_state import Role
from .conftest import ACCOUNT, Aws
from .ministack import FUNCTION_TOKEN


def device(name: str, **ebs: Any) -> dict[str, Any]:
    return {"DeviceName": name, "Ebs": ebs}


DATA = device("/dev/xvdb", VolumeSize=40, Encrypted=True)
ROOT = device("/dev/xvda", Encrypted=True)


def volumes(aws: Aws, instance_id: str) -> dict[str, Any]:
    attached = [{"Name": "attachment.instance-id", "Values": [instance_id]}]
    found = aws.ec2.describe_volumes(Filters=attached)["Volumes"]
    return {one["Attachments"][0]["Device"]: one for one in found}


def test_bottlerockets_image_lists_both_volumes(aws: Aws) -> None:
    image_id = aws.instance(aws.launch())["ImageId"]
    (image,) = aws.ec2.describe_images(ImageIds=[image_id])["Images"]
    named = {one["DeviceName"]: one["Ebs"] for one in image["BlockDeviceMappings"]}
    sizes = {name: (ebs["VolumeSize"], ebs["VolumeType"]) for name, ebs in named.items()}
    assert sizes == {"/dev/xvda": (2, "gp2"), "/dev/xvdb": (20, "gp2")}
    assert {ebs["Encrypted"] for ebs in named.values()} == {False}


def test_a_launch_without_a_root_device_gets_the_images_root_volume(aws: Aws) -> None:
    root = volumes(aws, aws.launch())["/dev/xvda"]
    assert (root["Size"], root["VolumeType"], root["Encrypted"]) == (2, "gp2", False)
    assert root["Attachments"][0]["DeleteOnTermination"]


def test_a_launch_with_a_root_device_gets_the_requested_root_volume(aws: Aws) -> None:
    root = device("/dev/xvda", Encrypted=True, VolumeType="gp3")
    made = volumes(aws, aws.launch(BlockDeviceMappings=[root, DATA]))["/dev/xvda"]
    assert (made["Size"], made["VolumeType"], made["Encrypted"]) == (2, "gp3", True)


def test_tags_for_volumes_go_to_both_volumes(aws: Aws) -> None:
    found = volumes(aws, aws.launch())
    assert sorted(found) == ["/dev/xvda", "/dev/xvdb"]
    tags = [one["Tags"] for one in found.values()]
    assert tags == [[{"Key": "frontload:build", "Value": "b1"}]] * 2


@pytest.mark.parametrize("mappings", [[DATA], [ROOT], [ROOT, device("/dev/xvdb", VolumeSize=40)]])
def test_a_service_control_policy_refuses_a_volume_that_is_not_encrypted(
    aws: Aws, mappings: list[dict[str, Any]]
) -> None:
    aws.control.settings(deny_unencrypted_volumes=True)
    with pytest.raises(ClientError, match="explicit deny in a service control policy") as refusal:
        aws.launch(BlockDeviceMappings=mappings)
    assert refusal.value.response["Error"]["Code"] == "UnauthorizedOperation"
    assert aws.ec2.describe_instances()["Reservations"] == []
    assert aws.launch_online(BlockDeviceMappings=[ROOT, DATA])


def test_a_service_control_policy_accepts_encryption_by_default(aws: Aws) -> None:
    aws.control.settings(deny_unencrypted_volumes=True)
    aws.ec2.enable_ebs_encryption_by_default()
    assert aws.launch_online()


def test_a_refusal_names_the_role_that_was_refused(aws: Aws) -> None:
    image_id = aws.instance(aws.launch())["ImageId"]
    aws.control.settings(deny_unencrypted_volumes=True)
    allowed = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    aws.roles[ACCOUNT, "LaunchRole"] = Role({}, [{"Statement": allowed}])
    ec2 = aws.client("ec2", token=f"{FUNCTION_TOKEN}LaunchRole")
    with pytest.raises(ClientError, match="assumed-role/LaunchRole/function is not authorized"):
        ec2.run_instances(ImageId=image_id, MinCount=1, MaxCount=1)


def test_a_data_volume_smaller_than_the_images_is_refused(aws: Aws) -> None:
    with pytest.raises(ClientError, match="InvalidBlockDeviceMapping.*expect size >= 20GB"):
        aws.launch(BlockDeviceMappings=[device("/dev/xvdb", VolumeSize=19)])
