"""AMIs with snapshots: RegisterImage with block devices, DescribeImages by snapshot."""

from __future__ import annotations

from typing import Any

from moto.ec2.models.amis import Ami
from moto.ec2.responses._base_response import EC2BaseResponse
from moto.ec2.utils import random_ami_id

from .calls import plain
from .cloud_state import CloudState
from .dispatch import handles, place_of
from .pages import cut_page
from .snapshots import require_completed

LARGEST_PAGE = 1000
BY_SNAPSHOT = "block-device-mapping.snapshot-id"


class RegisteredImage(Ami):
    """An image with the block devices from its registration."""

    devices: list[dict[str, Any]]

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        return self.devices


@handles("ec2", "RegisterImage")
def register_image(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """Register an image with snapshots that the caller sees."""
    request.error_on_dryrun()
    devices = [plain(one) for one in request._get_param("BlockDeviceMappings", [])]
    for device in devices:
        if snapshot_id := device.get("Ebs", {}).get("SnapshotId"):
            require_completed(cloud, place_of(request), snapshot_id)
    backend = request.ec2_backend
    image = RegisteredImage(
        backend,
        random_ami_id(),
        name=request._get_param("Name"),
        description=request._get_param("Description"),
        architecture=request._get_param("Architecture"),
        root_device_name=request._get_param("RootDeviceName", "/dev/xvda"),
        root_device_type="ebs",
    )
    # moto creates a root snapshot for every image; this image has only the request's snapshots.
    backend.snapshots.pop(image.ebs_snapshot.id)
    image.devices = devices
    backend.amis[image.id] = image
    return {"ImageId": image.id}


@handles("ec2", "DescribeImages")
def describe_images(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """List the images in pages, also by a snapshot in their block devices."""
    request.error_on_dryrun()
    filters = request._filters_from_querystring()
    wanted = filters.pop(BY_SNAPSHOT, None)
    images = request.ec2_backend.describe_images(
        ami_ids=request._get_param("ImageIds", []),
        filters=filters,
        exec_users=request._get_param("ExecutableUsers", []),
        owners=request._get_param("Owners", []),
    )
    if wanted is not None:
        images = [image for image in images if snapshots_of(image) & set(wanted)]
    page, token = cut_page(cloud, request, images, 1, LARGEST_PAGE)
    return {"Images": list(page), "NextToken": token}


def snapshots_of(image: Ami) -> set[str]:
    """Return the snapshots that an image's block devices name."""
    named = {device.get("Ebs", {}).get("SnapshotId") for device in image.block_device_mappings}
    return {snapshot_id for snapshot_id in named if snapshot_id}
