"""Fast snapshot restores take time, have a limit, and belong to the account that enabled them."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import CONSUMER, IRELAND, Aws, wait_until

ZONES = ["us-east-1a", "us-east-1b"]


def enable(ec2: Any, snapshot_id: str, zones: list[str] | None = None) -> dict[str, Any]:
    return ec2.enable_fast_snapshot_restores(
        AvailabilityZones=zones or ZONES, SourceSnapshotIds=[snapshot_id]
    )


def states(ec2: Any, **filters: list[str]) -> list[str]:
    wanted = [{"Name": name.replace("_", "-"), "Values": v} for name, v in filters.items()]
    found = ec2.describe_fast_snapshot_restores(Filters=wanted)["FastSnapshotRestores"]
    return [restore["State"] for restore in found]


def test_fast_restores_are_enabling_then_optimizing_then_enabled(aws: Aws) -> None:
    aws.control.settings(fast_restore_enabling_seconds=0.4, fast_restore_optimizing_seconds=0.6)
    snapshot_id = aws.make_snapshot()
    done = enable(aws.ec2, snapshot_id)["Successful"]
    assert [(r["AvailabilityZone"], r["State"]) for r in done] == [(z, "enabling") for z in ZONES]
    assert states(aws.ec2, snapshot_id=[snapshot_id]) == ["enabling"] * 2
    wait_until(lambda: states(aws.ec2) == ["optimizing"] * 2)
    wait_until(lambda: states(aws.ec2, state=["enabled"]) == ["enabled"] * 2)
    assert states(aws.ec2, availability_zone=["us-east-1b"]) == ["enabled"]


def test_enabling_twice_changes_nothing(aws: Aws) -> None:
    snapshot_id = aws.make_snapshot()
    enable(aws.ec2, snapshot_id)
    wait_until(lambda: states(aws.ec2) == ["enabled"] * 2)
    enable(aws.ec2, snapshot_id)
    assert states(aws.ec2) == ["enabled"] * 2


def test_disabled_fast_restores_are_shown_as_disabled(aws: Aws) -> None:
    snapshot_id = aws.make_snapshot()
    enable(aws.ec2, snapshot_id)
    request = {"AvailabilityZones": ["us-east-1a"], "SourceSnapshotIds": [snapshot_id]}
    assert aws.ec2.disable_fast_snapshot_restores(**request)["Successful"]
    assert sorted(states(aws.ec2))[0] == "disabled"
    assert aws.ec2.disable_fast_snapshot_restores(**request)["Unsuccessful"]


def test_a_region_allows_fast_restores_for_at_most_five_snapshots(aws: Aws) -> None:
    snapshots = [aws.make_snapshot() for _ in range(6)]
    for snapshot_id in snapshots[:5]:
        assert enable(aws.ec2, snapshot_id)["Unsuccessful"] == []
    (refused,) = enable(aws.ec2, snapshots[5])["Unsuccessful"]
    assert refused["SnapshotId"] == snapshots[5]
    assert "limit of 5" in refused["FastSnapshotRestoreStateErrors"][0]["Error"]["Message"]
    assert len(states(aws.ec2)) == 10
    aws.ec2.disable_fast_snapshot_restores(
        AvailabilityZones=ZONES, SourceSnapshotIds=[snapshots[0]]
    )
    assert enable(aws.ec2, snapshots[5])["Unsuccessful"] == []


def test_a_zone_of_another_region_is_refused(aws: Aws) -> None:
    snapshot_id = aws.make_snapshot()
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        enable(aws.ec2, snapshot_id, [f"{IRELAND}a"])


def test_a_consumer_enables_fast_restores_only_for_itself_and_while_shared(aws: Aws) -> None:
    snapshot_id = aws.make_snapshot()
    consumer = aws.client("ec2", account=CONSUMER)
    (refused,) = enable(consumer, snapshot_id)["Unsuccessful"]
    error = refused["FastSnapshotRestoreStateErrors"][0]["Error"]
    assert error["Code"] == "InvalidSnapshot.NotFound"
    aws.share(snapshot_id)
    assert enable(consumer, snapshot_id)["Successful"][0]["OwnerId"] == CONSUMER
    assert (len(states(consumer)), states(aws.ec2)) == (2, [])
    aws.ec2.modify_snapshot_attribute(
        SnapshotId=snapshot_id, OperationType="remove", UserIds=[CONSUMER]
    )
    assert states(consumer) == []


def test_a_copy_does_not_inherit_fast_restores(aws: Aws) -> None:
    snapshot_id = aws.make_snapshot()
    enable(aws.ec2, snapshot_id)
    copied = aws.ec2.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=snapshot_id)
    assert states(aws.ec2, snapshot_id=[copied["SnapshotId"]]) == []
