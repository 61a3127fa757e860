"""EBS snapshots: they take time, and an account sees its own and those shared with it."""

from __future__ import annotations

import copy
import datetime
import time
from collections.abc import Iterator
from typing import Any

from moto.ec2 import ec2_backends
from moto.ec2.models.elastic_block_store import Snapshot
from moto.ec2.responses._base_response import EC2BaseResponse
from moto.ec2.utils import generic_filter

from .cloud_state import CloudState, Place
from .dispatch import AwsError, accounts_of, handles, place_of
from .pages import cut_page

SMALLEST_PAGE, LARGEST_PAGE = 5, 1000


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
        # A failing snapshot stays below 100%, as on AWS.
        return f"{min(done, 90) if self.failure else done}%"

    @property
    def state_message(self) -> str | None:
        return self.failure if self.status == "error" else None

    @property
    def completion_time(self) -> datetime.datetime | None:
        if self.status != "completed":
            return None
        return self.start_time + datetime.timedelta(seconds=self.duration)


def follow_the_clock(
    cloud: CloudState,
    snapshot: Snapshot,
    kind: type[TimedSnapshot],
    seconds: float,
    failure: str | None,
) -> None:
    """Make moto's finished snapshot take time, and then fail if `failure` gives a reason."""
    del snapshot.__dict__["status"]
    snapshot.__class__ = kind
    snapshot.started = time.monotonic()  # type: ignore[attr-defined]
    snapshot.duration = cloud.lasting(seconds)  # type: ignore[attr-defined]
    snapshot.failure = failure  # type: ignore[attr-defined]


@handles("ec2", "CreateSnapshot")
def create_snapshot(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """Take the volume's bytes as they are now, unflushed, and report them completed later."""
    request.error_on_dryrun()
    volume_id = request._get_param("VolumeId")
    tags = request._parse_tag_specification().get("snapshot", {})
    snapshot = request.ec2_backend.create_snapshot(
        volume_id, request._get_param("Description") or ""
    )
    try:
        cloud.create_snapshot(volume_id, snapshot.id)
    except Exception:
        request.ec2_backend.snapshots.pop(snapshot.id)
        raise
    snapshot.kms_key_id = snapshot.volume.kms_key_id
    snapshot.full_snapshot_size_in_bytes = cloud.host.snapshot_full_bytes(snapshot.id)
    fails = cloud.faults.take("snapshots_to_fail")
    failure = cloud.faults.snapshot_message if fails else None
    follow_the_clock(cloud, snapshot, TimedSnapshot, cloud.settings.snapshot_seconds, failure)
    snapshot.add_tags(tags)
    return snapshot


def is_public(snapshot: Snapshot) -> bool:
    """Whether every account sees it: it is shared with all, or AWS owns it."""
    amazons = snapshot.owner_id != snapshot.ec2_backend.account_id
    return amazons or "all" in snapshot.create_volume_permission_groups


def visible_snapshots(cloud: CloudState, place: Place) -> Iterator[Snapshot]:
    """Yield the snapshots that an account sees in a region: its own, AWS's and shared ones.

    Another account's snapshot is a view without its owner's tags: the view shows only the tags
    that the viewing account itself set.
    """
    yield from list(ec2_backends[place.account][place.region].snapshots.values())
    for account in accounts_of(cloud):
        if account == place.account or Place(account, place.region) not in cloud.places:
            continue
        for snapshot in list(ec2_backends[account][place.region].snapshots.values()):
            if snapshot.owner_id != account:
                continue
            shared = place.account in snapshot.create_volume_permission_userids
            if shared or is_public(snapshot):
                view = copy.copy(snapshot)
                view.ec2_backend = ec2_backends[place.account][place.region]
                yield view


def known_snapshot(cloud: CloudState, place: Place, snapshot_id: str) -> Snapshot:
    """Return the snapshot as the account sees it. Raises AwsError when it sees none."""
    for snapshot in visible_snapshots(cloud, place):
        if snapshot.id == snapshot_id:
            return snapshot
    # moto leaves the message empty; AWS names the snapshot.
    raise AwsError("InvalidSnapshot.NotFound", f"The snapshot '{snapshot_id}' does not exist.")


def own_snapshot(cloud: CloudState, request: EC2BaseResponse, snapshot_id: str) -> Snapshot:
    """Return the caller's snapshot. Raises AwsError when it is another's or does not exist."""
    place = place_of(request)
    snapshot = known_snapshot(cloud, place, snapshot_id)
    if snapshot.owner_id != place.account:
        raise AwsError(
            "OperationNotPermitted",
            f"The snapshot '{snapshot_id}' belongs to account {snapshot.owner_id}",
        )
    return snapshot


@handles("ec2", "DescribeSnapshots")
def describe_snapshots(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """List the visible snapshots in pages, by id, owner, who may restore them, and filter.

    As on AWS, the filters apply after a page is cut: a page may be empty although more follow.
    """
    request.error_on_dryrun()
    place = place_of(request)
    ids = request._get_param("SnapshotIds", [])
    if ids and request._get_param("MaxResults"):
        raise AwsError(
            "InvalidParameterCombination",
            "The parameter snapshotSet cannot be used with the parameter maxResults",
        )
    found = (
        [known_snapshot(cloud, place, snapshot_id) for snapshot_id in ids]
        if ids
        else visible_snapshots(cloud, place)
    )
    found = [snapshot for snapshot in found if _is_asked_for(request, place, snapshot)]
    page, token = cut_page(cloud, request, found, SMALLEST_PAGE, LARGEST_PAGE)
    filters = request._filters_from_querystring()
    return {"Snapshots": generic_filter(filters, list(page)), "NextToken": token}


def _is_asked_for(request: EC2BaseResponse, place: Place, snapshot: Snapshot) -> bool:
    owners = request._get_param("OwnerIds", [])
    restorers = request._get_param("RestorableByUserIds", [])
    names = {snapshot.owner_id}
    if snapshot.owner_id == place.account:
        names.add("self")
    if snapshot.from_ami and snapshot.owner_id != place.account:
        names.add("amazon")
    if owners and not names & set(owners):
        return False
    return not restorers or bool(_restorers(place, snapshot) & set(restorers))


def _restorers(place: Place, snapshot: Snapshot) -> set[str]:
    own = snapshot.owner_id == place.account
    names = set(snapshot.create_volume_permission_userids) if own else set()
    if own or place.account in snapshot.create_volume_permission_userids:
        names.add("self")
    if is_public(snapshot):
        names.add("all")
    return names


@handles("ec2", "DeleteSnapshot")
def delete_snapshot(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """Delete a snapshot and its bytes, unless an image of the account uses it."""
    request.error_on_dryrun()
    snapshot_id = request._get_param("SnapshotId")
    own_snapshot(cloud, request, snapshot_id)
    for image in request.ec2_backend.amis.values():
        if snapshot_id in {m["Ebs"].get("SnapshotId") for m in image.block_device_mappings}:
            raise AwsError(
                "InvalidSnapshot.InUse",
                f"The snapshot {snapshot_id} is currently in use by {image.id}",
            )
    request.ec2_backend.delete_snapshot(snapshot_id)
    cloud.delete_snapshot(snapshot_id)
    return {}


def require_completed(cloud: CloudState, place: Place, snapshot_id: str) -> Snapshot:
    """Return the snapshot. Raises AwsError, as AWS does, when it is not completed."""
    snapshot = known_snapshot(cloud, place, snapshot_id)
    if snapshot.status != "completed":
        raise AwsError("IncorrectState", f"Snapshot is in invalid state - {snapshot.status}")
    return snapshot
