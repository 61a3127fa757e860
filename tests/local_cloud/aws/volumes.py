"""EBS volumes with bytes on the builder host, and the checks for a volume from a snapshot."""

from __future__ import annotations

from typing import Any

from moto.ec2.models.elastic_block_store import Snapshot, Volume, VolumeAttachment
from moto.ec2.responses._base_response import EC2BaseResponse
from moto.ec2.utils import generic_filter

from . import performance
from .cloud_state import CloudState, Place
from .dispatch import AwsError, handles, place_of
from .encryption import Encryption, of_volume
from .keys import why_unusable
from .pages import cut_page
from .snapshots import require_completed

SMALLEST_PAGE, LARGEST_PAGE = 5, 500


class Attachment(VolumeAttachment):
    """An attachment that shows whether EC2 deletes the volume with the instance."""

    @property
    def delete_on_termination(self) -> bool:
        return self.instance.block_device_mapping[self.device].delete_on_termination


class FailedVolume(Volume):
    """A volume with a key that EBS could not use: it is in state `error` and has no bytes."""

    @property
    def status(self) -> str:
        return "error"


@handles("ec2", "CreateVolume")
def create_volume(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """Create a volume, empty or from a completed snapshot.

    If EBS cannot use a key, the call succeeds and the volume is in state `error`.
    """
    request.error_on_dryrun()
    place = place_of(request)
    snapshot_id = request._get_param("SnapshotId")
    snapshot = require_completed(cloud, place, snapshot_id) if snapshot_id else None
    size = sized_for(snapshot, request._get_param("Size"), "InvalidParameterValue")
    encryption = of_volume(place, request.params, snapshot)
    can_do = performance.of_volume(request.params, int(size or 0), snapshot_id)
    volume = request.ec2_backend.create_volume(
        size=size,
        zone_name=request._get_param("AvailabilityZone"),
        encrypted=encryption.on,
        kms_key_id=encryption.key,
        volume_type=request._get_param("VolumeType"),
        iops=request._get_param("Iops"),
        throughput=request._get_param("Throughput"),
    )
    # Set after the creation: moto would look for a shared snapshot in the account's own.
    volume.snapshot_id = snapshot_id
    can_do.give_to(volume)
    volume.add_tags(request._parse_tag_specification().get("volume", {}))
    if why_no_volume(place, snapshot, encryption):
        volume.__class__ = FailedVolume
    else:
        cloud.create_volume(volume)
    return volume


def sized_for(snapshot: Snapshot | None, asked: Any, error_code: str) -> int | None:
    """Return the volume's size in GiB: the requested size, or else the snapshot's.

    Raises AwsError with that code when the snapshot is larger.
    """
    if snapshot is None:
        return asked
    smallest = int(snapshot.volume_size)
    if asked is not None and int(asked) < smallest:
        raise AwsError(
            error_code,
            f"Volume of size {asked}GB is smaller than snapshot '{snapshot.id}', expect size >= "
            f"{smallest}GB",
        )
    return int(asked) if asked is not None else smallest


def why_no_volume(place: Place, snapshot: Snapshot | None, encryption: Encryption) -> str | None:
    """Return why EBS cannot use a key for this volume of the account; None when it can."""
    reasons = []
    if snapshot is not None and snapshot.encrypted:
        reasons.append(why_unusable(snapshot.kms_key_id or "", place))
    if encryption.key is not None:
        reasons.append(why_unusable(encryption.key, place))
    return next(filter(None, reasons), None)


@handles("ec2", "DescribeVolumes")
def describe_volumes(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """List the account's volumes by id and filter, in pages."""
    request.error_on_dryrun()
    ids = request._get_param("VolumeIds", [])
    if ids and request._get_param("MaxResults"):
        raise AwsError(
            "InvalidParameterCombination",
            "The parameter volumeSet cannot be used with the parameter maxResults",
        )
    volumes = request.ec2_backend.volumes
    if unknown := [one for one in ids if one not in volumes]:
        raise AwsError("InvalidVolume.NotFound", f"The volume '{unknown[0]}' does not exist.")
    found = [volumes[one] for one in ids] if ids else list(volumes.values())
    found = generic_filter(request._filters_from_querystring(), found)
    page, token = cut_page(cloud, request, found, SMALLEST_PAGE, LARGEST_PAGE)
    return {"Volumes": list(page), "NextToken": token}


@handles("ec2", "DeleteVolume")
def delete_volume(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """Delete a detached volume and its bytes."""
    request.error_on_dryrun()
    volume_id = request._get_param("VolumeId")
    request.ec2_backend.delete_volume(volume_id)
    cloud.delete_volume(volume_id)
    return {}
