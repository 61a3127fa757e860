"""AMIs and launch templates that name snapshots."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import Aws


def register(aws: Aws, snapshot_id: str) -> str:
    devices = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot_id}}]
    made = aws.ec2.register_image(
        Name="node", RootDeviceName="/dev/xvda", BlockDeviceMappings=devices
    )
    return made["ImageId"]


def template_data(snapshot_id: str) -> dict[str, Any]:
    ebs = {"SnapshotId": snapshot_id, "VolumeSize": 40}
    return {"BlockDeviceMappings": [{"DeviceName": "/dev/xvdb", "Ebs": ebs}]}


def named_by(version: dict[str, Any]) -> str:
    return version["LaunchTemplateData"]["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]


def test_a_snapshot_that_an_image_uses_is_not_deleted(aws: Aws) -> None:
    snapshot_id = aws.make_snapshot()
    image_id = register(aws, snapshot_id)
    with pytest.raises(ClientError, match=rf"InvalidSnapshot\.InUse.*{image_id}"):
        aws.ec2.delete_snapshot(SnapshotId=snapshot_id)
    assert aws.host.volume_file(snapshot_id).exists()
    aws.ec2.deregister_image(ImageId=image_id)
    aws.ec2.delete_snapshot(SnapshotId=snapshot_id)
    assert not aws.host.volume_file(snapshot_id).exists()


def test_images_are_found_by_owner_and_snapshot(aws: Aws) -> None:
    snapshot_id = aws.make_snapshot()
    image_id = register(aws, snapshot_id)
    register(aws, aws.make_snapshot())
    by_snapshot = [{"Name": "block-device-mapping.snapshot-id", "Values": [snapshot_id]}]
    (found,) = aws.ec2.describe_images(Owners=["self"], Filters=by_snapshot)["Images"]
    assert found["ImageId"] == image_id
    assert found["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"] == snapshot_id
    assert len(aws.ec2.describe_images(Owners=["self"])["Images"]) == 2


def test_an_image_of_an_unknown_snapshot_is_refused(aws: Aws) -> None:
    with pytest.raises(ClientError, match=r"InvalidSnapshot\.NotFound"):
        register(aws, "snap-00000000000000000")


def test_the_default_and_latest_versions_of_all_launch_templates_are_listed(aws: Aws) -> None:
    aws.ec2.create_launch_template(
        LaunchTemplateName="nodes", LaunchTemplateData=template_data("snap-1")
    )
    for snapshot_id in ("snap-2", "snap-3"):
        aws.ec2.create_launch_template_version(
            LaunchTemplateName="nodes", LaunchTemplateData=template_data(snapshot_id)
        )
    aws.ec2.modify_launch_template(LaunchTemplateName="nodes", DefaultVersion="2")
    versions = aws.ec2.describe_launch_template_versions(Versions=["$Default", "$Latest"])
    named = {named_by(version) for version in versions["LaunchTemplateVersions"]}
    assert named == {"snap-2", "snap-3"}
    (shown,) = aws.ec2.describe_launch_templates()["LaunchTemplates"]
    assert (shown["DefaultVersionNumber"], shown["LatestVersionNumber"]) == (2, 3)


def test_launch_templates_are_listed_over_several_pages(aws: Aws) -> None:
    for number in range(18):
        aws.ec2.create_launch_template(
            LaunchTemplateName=f"nodes-{number}",
            LaunchTemplateData=template_data(f"snap-{number}"),
        )
    assert len(aws.ec2.describe_launch_templates()["LaunchTemplates"]) == 18
    aws.control.settings(largest_page=5)
    first = aws.ec2.describe_launch_templates()
    assert (len(first["LaunchTemplates"]), bool(first["NextToken"])) == (5, True)
    pages = aws.ec2.get_paginator("describe_launch_template_versions").paginate(
        Versions=["$Latest"]
    )
    listed = [version for page in pages for version in page["LaunchTemplateVersions"]]
    assert {named_by(version) for version in listed} == {f"snap-{n}" for n in range(18)}
