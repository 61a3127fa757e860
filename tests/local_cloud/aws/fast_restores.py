"""Fast snapshot restores: an account enables them per zone for a snapshot that it sees."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass, field
from typing import Any

from moto.ec2.responses._base_response import EC2BaseResponse

from .cloud_state import CloudState, Place, Settings
from .dispatch import AwsError, handles, place_of
from .pages import cut_page
from .regions import zone_names
from .snapshots import known_snapshot

ACTIVE = ("enabling", "optimizing", "enabled")
LARGEST_PAGE = 200
FILTERS = {
    "availability-zone": "AvailabilityZone",
    "owner-id": "OwnerId",
    "snapshot-id": "SnapshotId",
    "state": "State",
}


@dataclass
class FastRestore:
    """Fast restores of one snapshot in one zone, requested by one account."""

    place: Place
    snapshot_id: str
    zone: str
    settings: Settings
    asked: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.UTC))
    asked_at: float = field(default_factory=time.monotonic)
    disabled: datetime.datetime | None = None

    @property
    def state(self) -> str:
        """enabling, optimizing, enabled, or disabled."""
        if self.disabled:
            return "disabled"
        age = time.monotonic() - self.asked_at
        if age < self.settings.fast_restore_enabling_seconds:
            return "enabling"
        age -= self.settings.fast_restore_enabling_seconds
        return "optimizing" if age < self.settings.fast_restore_optimizing_seconds else "enabled"

    def view(self) -> dict[str, Any]:
        """Return it as EC2 shows it."""
        state = self.state
        first = state in ("enabling", "disabling")
        shown: dict[str, Any] = {
            "SnapshotId": self.snapshot_id,
            "AvailabilityZone": self.zone,
            "State": state,
            "StateTransitionReason": "Client.UserInitiated"
            + ("" if first else " - Lifecycle state transition"),
            "OwnerId": self.place.account,
            "EnablingTime": self.asked,
        }
        if self.disabled:
            shown["DisabledTime"] = self.disabled
        return shown


@handles("ec2", "EnableFastSnapshotRestores")
def enable_fast_snapshot_restores(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """Begin fast restores; a snapshot over the limit goes into `Unsuccessful`, without an error."""
    place, zones = _where(request)
    done, failed = [], []
    for snapshot_id in request._get_param("SourceSnapshotIds", []):
        error = _refusal(cloud, place, snapshot_id)
        if error is not None:
            failed.append(_unsuccessful(snapshot_id, zones, error))
            continue
        for zone in zones:
            restore = _find(cloud, place, snapshot_id, zone)
            if restore is None:
                restore = FastRestore(place, snapshot_id, zone, cloud.settings)
                cloud.fast_restores.append(restore)
            done.append(restore.view())
    return {"Successful": done, "Unsuccessful": failed}


def _where(request: EC2BaseResponse) -> tuple[Place, list[str]]:
    request.error_on_dryrun()
    zones = request._get_param("AvailabilityZones", [])
    if strange := sorted(set(zones) - zone_names(request)):
        raise AwsError("InvalidParameterValue", f"Invalid availability zone: {strange}")
    return place_of(request), zones


def _refusal(cloud: CloudState, place: Place, snapshot_id: str) -> AwsError | None:
    try:
        snapshot = known_snapshot(cloud, place, snapshot_id)
    except AwsError as error:
        return error
    if snapshot.status != "completed":
        return AwsError("IncorrectState", f"Snapshot is in invalid state - {snapshot.status}")
    taken = {r.snapshot_id for r in _active(cloud, place)}
    limit = cloud.settings.fast_restores_per_region
    if snapshot_id not in taken and len(taken) >= limit:
        return AwsError(
            "FastSnapshotRestoreLimitExceeded",
            f"You have reached the limit of {limit} snapshots with fast restores in {place.region}",
        )
    return None


def _active(cloud: CloudState, place: Place) -> list[FastRestore]:
    return [r for r in _listed(cloud, place) if r.state in ACTIVE]


def _listed(cloud: CloudState, place: Place) -> list[FastRestore]:
    """Return the account's fast restores of snapshots that exist and that it still sees."""
    mine = [r for r in cloud.fast_restores if r.place == place]
    return [r for r in mine if _is_visible(cloud, place, r.snapshot_id)]


def _is_visible(cloud: CloudState, place: Place, snapshot_id: str) -> bool:
    try:
        known_snapshot(cloud, place, snapshot_id)
    except AwsError:
        return False
    return True


def _find(cloud: CloudState, place: Place, snapshot_id: str, zone: str) -> FastRestore | None:
    for restore in _active(cloud, place):
        if (restore.snapshot_id, restore.zone) == (snapshot_id, zone):
            return restore
    return None


def _unsuccessful(snapshot_id: str, zones: list[str], error: AwsError) -> dict[str, Any]:
    reason = {"Code": error.code, "Message": error.message}
    return {
        "SnapshotId": snapshot_id,
        "FastSnapshotRestoreStateErrors": [
            {"AvailabilityZone": zone, "Error": reason} for zone in zones
        ],
    }


@handles("ec2", "DisableFastSnapshotRestores")
def disable_fast_snapshot_restores(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """Disable the caller's fast restores; one that is not enabled goes into `Unsuccessful`."""
    place, zones = _where(request)
    done, failed = [], []
    for snapshot_id in request._get_param("SourceSnapshotIds", []):
        for zone in zones:
            restore = _find(cloud, place, snapshot_id, zone)
            if restore is None:
                error = AwsError("InvalidState", "Fast snapshot restores are not enabled")
                failed.append(_unsuccessful(snapshot_id, [zone], error))
                continue
            restore.disabled = datetime.datetime.now(datetime.UTC)
            done.append(restore.view())
    return {"Successful": done, "Unsuccessful": failed}


@handles("ec2", "DescribeFastSnapshotRestores")
def describe_fast_snapshot_restores(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """List the caller's fast restores in this region, including disabled ones."""
    request.error_on_dryrun()
    views = [restore.view() for restore in _listed(cloud, place_of(request))]
    for name, values in request._filters_from_querystring().items():
        if name not in FILTERS:
            raise AwsError("InvalidParameterValue", f"The filter '{name}' is invalid")
        views = [view for view in views if view[FILTERS[name]] in values]
    page, token = cut_page(cloud, request, views, 0, LARGEST_PAGE)
    return {"FastSnapshotRestores": list(page), "NextToken": token}
