"""CopySnapshot: runs in the destination, takes time, has limits, reports KMS failures late."""

from __future__ import annotations

import copy
from typing import Any

from moto.ec2.models.elastic_block_store import Snapshot
from moto.ec2.responses._base_response import EC2BaseResponse
from moto.ec2.utils import random_snapshot_id

from .cloud_state import CloudState, Place
from .dispatch import AwsError, handles, place_of
from .encryption import of_copy
from .keys import why_unusable
from .snapshots import TimedSnapshot, follow_the_clock, require_completed

LONGEST_MINUTES = 2880
STEP_MINUTES = 15
NO_ACCESS = (
    "Given key ID is not accessible. You must have DescribeKey permissions on the default CMK"
)


class CopiedSnapshot(TimedSnapshot):
    """A copy; it has no volume, so AWS shows a placeholder volume id."""

    source_snapshot_id: str
    completion_duration_minutes: int | None

    @property
    def volume_id(self) -> str:
        return "vol-ffffffff"

    @property
    def transfer_type(self) -> str:
        return "time-based" if self.completion_duration_minutes else "standard"


@handles("ec2", "CopySnapshot")
def copy_snapshot(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """Copy a completed snapshot that the caller sees into this region.

    The copy has only the tags that the request gives.
    """
    request.error_on_dryrun()
    destination = place_of(request)
    source_place = Place(destination.account, request._get_param("SourceRegion"))
    source = require_completed(cloud, source_place, request._get_param("SourceSnapshotId"))
    minutes = _minutes(request)
    tags = request._parse_tag_specification().get("snapshot", {})
    encryption = of_copy(destination, request.params, source)
    _require_room(cloud, request)
    made = Snapshot(
        request.ec2_backend,
        random_snapshot_id(),
        # The copy keeps the source's present size, even if the source's volume changes later.
        volume=copy.copy(source.volume),
        description=request._get_param("Description") or "",
        encrypted=encryption.on,
        kms_key_id=encryption.key,
    )
    cloud.copy_snapshot(source.id, made.id)
    failure = _failure(cloud, source_place, source, destination, encryption.key)
    settings = cloud.settings
    seconds = settings.copy_seconds_to.get(destination.region, settings.copy_seconds)
    follow_the_clock(cloud, made, CopiedSnapshot, seconds, failure)
    made.source_snapshot_id = source.id  # type: ignore[attr-defined]
    made.full_snapshot_size_in_bytes = getattr(source, "full_snapshot_size_in_bytes", None)
    made.completion_duration_minutes = minutes  # type: ignore[attr-defined]
    request.ec2_backend.snapshots[made.id] = made
    made.add_tags(tags)
    return {"SnapshotId": made.id, "Tags": made.tag_set}


def _minutes(request: EC2BaseResponse) -> int | None:
    minutes = request._get_param("CompletionDurationMinutes")
    if minutes is None:
        return None
    minutes = int(minutes)
    if minutes % STEP_MINUTES or not STEP_MINUTES <= minutes <= LONGEST_MINUTES:
        raise AwsError(
            "InvalidParameterValue",
            f"Value ({minutes}) for parameter CompletionDurationMinutes is invalid. It must be a "
            f"multiple of {STEP_MINUTES} from {STEP_MINUTES} to {LONGEST_MINUTES}.",
        )
    return minutes


def _require_room(cloud: CloudState, request: EC2BaseResponse) -> None:
    limit = cloud.settings.copies_per_region
    under_way = [
        snapshot
        for snapshot in request.ec2_backend.snapshots.values()
        if isinstance(snapshot, CopiedSnapshot) and snapshot.status == "pending"
    ]
    if len(under_way) >= limit:
        raise AwsError(
            "ResourceLimitExceeded",
            f"Too many snapshot copies in progress. The limit is {limit} for this destination "
            "region.",
        )


def _failure(
    cloud: CloudState, source_place: Place, source: Snapshot, destination: Place, key: str | None
) -> str | None:
    """Return why the copy will fail, or None; AWS checks the keys only after the call."""
    reasons = []
    if source.encrypted:
        reasons.append(why_unusable(source.kms_key_id or "", source_place))
    if key is not None:
        reasons.append(why_unusable(key, destination))
    for reason in filter(None, reasons):
        return f"{NO_ACCESS} ({reason})"
    return cloud.faults.for_copy(destination.region)
