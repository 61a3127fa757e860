"""DescribeSnapshots in pages, as EC2 cuts them."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from .conftest import Aws

MINE = {"OwnerIds": ["self"]}


@pytest.fixture
def snapshots(aws: Aws) -> list[str]:
    aws.control.settings(snapshot_seconds=0)
    volume = aws.ec2.create_volume(Size=1, AvailabilityZone="us-east-1a")["VolumeId"]
    return [aws.ec2.create_snapshot(VolumeId=volume)["SnapshotId"] for _ in range(12)]


def test_pages_hold_every_snapshot_once(aws: Aws, snapshots: list[str]) -> None:
    first = aws.ec2.describe_snapshots(**MINE, MaxResults=5)
    assert (len(first["Snapshots"]), bool(first["NextToken"])) == (5, True)
    pages = aws.ec2.get_paginator("describe_snapshots").paginate(
        **MINE, PaginationConfig={"PageSize": 5}
    )
    found = [[snapshot["SnapshotId"] for snapshot in page["Snapshots"]] for page in pages]
    assert [len(page) for page in found] == [5, 5, 2]
    assert sorted(sum(found, [])) == sorted(snapshots)


def test_a_page_may_be_empty_although_more_follow(aws: Aws, snapshots: list[str]) -> None:
    aws.ec2.create_tags(Resources=[snapshots[-1]], Tags=[{"Key": "last", "Value": "yes"}])
    tagged = [{"Name": "tag:last", "Values": ["yes"]}]
    first = aws.ec2.describe_snapshots(**MINE, MaxResults=5, Filters=tagged)
    assert (first["Snapshots"], bool(first["NextToken"])) == ([], True)
    pages = aws.ec2.get_paginator("describe_snapshots").paginate(
        **MINE, Filters=tagged, PaginationConfig={"PageSize": 5}
    )
    assert [s["SnapshotId"] for page in pages for s in page["Snapshots"]] == [snapshots[-1]]


def test_the_limits_of_a_page_are_kept(aws: Aws, snapshots: list[str]) -> None:
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        aws.ec2.describe_snapshots(**MINE, MaxResults=4)
    with pytest.raises(ClientError, match="InvalidParameterCombination"):
        aws.ec2.describe_snapshots(SnapshotIds=snapshots[:1], MaxResults=5)
    with pytest.raises(ClientError, match="InvalidNextToken"):
        aws.ec2.describe_snapshots(**MINE, MaxResults=5, NextToken="made up")


def test_a_test_can_force_small_pages(aws: Aws, snapshots: list[str]) -> None:
    aws.control.settings(largest_page=5)
    assert len(aws.ec2.describe_snapshots(**MINE)["Snapshots"]) == 5
