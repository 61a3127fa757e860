"""EBS volumes and snapshots that hold the builder host's bytes and take time."""

from __future__ import annotations

import time
from typing import Any

from moto.ec2.models.elastic_block_store import Snapshot
from moto.ec2.responses._base_response import EC2BaseResponse

from .dispatch import AwsError, handles
from .world import World


class TimedSnapshot(Snapshot):
    """A snapshot whose state follows the clock: pending, then completed or error."""

    started: float
    duration: float
    failure: str | None

    def _share_done(self) -> float:
        if self.duration <= 0:
            return 1.0
        return min(1.0, (time.monotonic() - self.started) / self.duration)

    @property
    def status(self) -> str:  # type: ignore[override]
        if self._share_done() < 1.0:
            return "pending"
        return "error" if self.failure else "completed"

    @property
    def progress(self) -> str:
        done = int(self._share_done() * 100)
        # A failing snapshot stops short of the end, as AWS shows it.
        return f"{min(done, 90) if self.failure else done}%"

    @property
    def state_message(self) -> str | None:
        return self.failure if self.status == "error" else None


@handles("ec2", "CreateSnapshot")
def create_snapshot(world: World, request: EC2BaseResponse) -> Any:
    """Take the volume's bytes as they are now, unflushed, and report them completed later."""
    request.error_on_dryrun()
    volume_id = request._get_param("VolumeId")
    tags = request._parse_tag_specification().get("snapshot", {})
    snapshot = request.ec2_backend.create_snapshot(
        volume_id, request._get_param("Description") or ""
    )
    try:
        world.create_snapshot(volume_id, snapshot.id)
    except Exception:
        request.ec2_backend.snapshots.pop(snapshot.id)
        raise
    _follow_the_clock(world, snapshot)
    snapshot.add_tags(tags)
    return snapshot


def _follow_the_clock(world: World, snapshot: Snapshot) -> None:
    fails = world.faults.take("snapshots_to_fail")
    del snapshot.__dict__["status"]
    snapshot.__class__ = TimedSnapshot
    snapshot.started = time.monotonic()  # type: ignore[attr-defined]
    snapshot.duration = world.settings.snapshot_seconds  # type: ignore[attr-defined]
    snapshot.failure = world.faults.snapshot_message if fails else None  # type: ignore[attr-defined]


@handles("ec2", "DescribeSnapshots")
def describe_snapshots(world: World, request: EC2BaseResponse) -> Any:
    """The snapshots by id, filter and owner; moto pays no heed to the owner."""
    request.error_on_dryrun()
    ids = request._get_param("SnapshotIds", [])
    for snapshot_id in ids:
        _known_snapshot(request, snapshot_id)
    found = request.ec2_backend.describe_snapshots(
        snapshot_ids=ids, filters=request._filters_from_querystring()
    )
    asked = request._get_param("OwnerIds", [])
    owners = {world.account if owner == "self" else owner for owner in asked}
    return {"Snapshots": [s for s in found if not owners or s.owner_id in owners]}


@handles("ec2", "DeleteSnapshot")
def delete_snapshot(world: World, request: EC2BaseResponse) -> Any:
    """Delete a snapshot and its bytes."""
    request.error_on_dryrun()
    snapshot_id = request._get_param("SnapshotId")
    _known_snapshot(request, snapshot_id)
    request.ec2_backend.delete_snapshot(snapshot_id)
    world.delete_snapshot(snapshot_id)
    return {}


def _known_snapshot(request: EC2BaseResponse, snapshot_id: str) -> Snapshot:
    snapshot = request.ec2_backend.snapshots.get(snapshot_id)
    if snapshot is None:
        # moto leaves the message empty; AWS names the snapshot.
        raise AwsError("InvalidSnapshot.NotFound", f"The snapshot '{snapshot_id}' does not exist.")
    return snapshot


def require_completed(request: EC2BaseResponse, snapshot_id: str) -> Snapshot:
    """The snapshot, or the error AWS gives when a volume is made from it too early."""
    snapshot = _known_snapshot(request, snapshot_id)
    if snapshot.status != "completed":
        raise AwsError(
            "IncorrectState",
            f"Snapshot is in invalid state - {snapshot.status}",
        )
    return snapshot


@handles("ec2", "CreateVolume")
def create_volume(world: World, request: EC2BaseResponse) -> Any:
    """Create a volume, empty or from a completed snapshot."""
    request.error_on_dryrun()
    snapshot_id = request._get_param("SnapshotId")
    if snapshot_id:
        require_completed(request, snapshot_id)
    volume = request.ec2_backend.create_volume(
        size=request._get_param("Size"),
        zone_name=request._get_param("AvailabilityZone"),
        snapshot_id=snapshot_id,
        encrypted=request._get_bool_param("Encrypted", False),
        volume_type=request._get_param("VolumeType"),
        iops=request._get_param("Iops"),
        throughput=request._get_param("Throughput"),
    )
    volume.add_tags(request._parse_tag_specification().get("volume", {}))
    world.create_volume(volume)
    return volume


@handles("ec2", "DeleteVolume")
def delete_volume(world: World, request: EC2BaseResponse) -> Any:
    """Delete a detached volume and its bytes."""
    request.error_on_dryrun()
    volume_id = request._get_param("VolumeId")
    request.ec2_backend.delete_volume(volume_id)
    world.delete_volume(volume_id)
    return {}
