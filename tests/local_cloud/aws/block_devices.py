"""The block devices of a launch: the request's mappings override the image's."""

from __future__ import annotations

from typing import Any, NamedTuple

from moto.ec2.models.elastic_block_store import Volume

from . import performance
from .calls import plain
from .cloud_state import CloudState, Place
from .dispatch import AwsError
from .encryption import of_volume
from .performance import Performance
from .snapshots import require_completed
from .volumes import sized_for, why_no_volume

DATA_DEVICE = "/dev/xvdb"
ROOT_DEVICE = "/dev/xvda"
BOTTLEROCKET_DEVICES: dict[str, dict[str, Any]] = {
    ROOT_DEVICE: {"VolumeSize": 2, "VolumeType": "gp2", "DeleteOnTermination": True},
    DATA_DEVICE: {"VolumeSize": 20, "VolumeType": "gp2", "DeleteOnTermination": True},
}
"""The devices of Bottlerocket's images. They are not encrypted (twoliter
tools/pubsys/src/aws/ami/register.rs; sizes: bottlerocket variants/README.md, "image-layout")."""


class MadeFrom(NamedTuple):
    """A volume's properties that moto does not get; we set them on the volume that moto made."""

    snapshot_id: str | None
    """moto would look for a shared snapshot in the account's own snapshots."""
    performance: Performance

    def note_on(self, volume: Volume) -> None:
        """Set the properties on the volume."""
        volume.snapshot_id = self.snapshot_id
        self.performance.give_to(volume)


class PreparedDevices(NamedTuple):
    """Devices with size and encryption as EC2 fills them in."""

    devices: list[dict[str, Any]]
    volumes: dict[str, MadeFrom]
    """By device."""
    doomed: bool
    """EBS cannot create a volume: the instance terminates right after the launch."""


def prepare_devices(
    cloud: CloudState, place: Place, asked: list[dict[str, Any]]
) -> PreparedDevices:
    """Return the devices of a launch in an account and region.

    Raises AwsError when EC2 would refuse a device.
    """
    devices = _devices(asked)
    volumes, lacking = {}, []
    for device in devices:
        ebs = device["Ebs"]
        snapshot_id = ebs.pop("SnapshotId", None)
        lacking.append(_prepare(cloud, place, ebs, snapshot_id))
        can_do = performance.of_volume(ebs, int(ebs["VolumeSize"]), snapshot_id)
        volumes[device["DeviceName"]] = MadeFrom(snapshot_id, can_do)
    return PreparedDevices(devices, volumes, any(lacking))


def _devices(asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the image's two devices and the request's own, as the request sets them."""
    defaults = {name: dict(ebs) for name, ebs in BOTTLEROCKET_DEVICES.items()}
    for mapping in asked:
        device = defaults.setdefault(mapping["DeviceName"], {"DeleteOnTermination": False})
        given = plain(mapping.get("Ebs") or {})
        if "SnapshotId" in given and "VolumeSize" not in given:
            device.pop("VolumeSize", None)
        _require_room(device, given)
        device.update(given)
    return [{"DeviceName": name, "Ebs": ebs} for name, ebs in defaults.items()]


def _require_room(of_image: dict[str, Any], given: dict[str, Any]) -> None:
    """Raise AwsError when a volume is smaller than the image's snapshot.

    EC2 creates a device from the image's snapshot when the request names none (EC2 user guide,
    "Block device mappings"; bottlerocket#4000).
    """
    size, least = given.get("VolumeSize"), of_image.get("VolumeSize")
    if "SnapshotId" not in given and size and least and int(size) < least:
        raise AwsError(
            "InvalidBlockDeviceMapping",
            f"Volume of size {size}GB is smaller than the image's snapshot, "
            f"expect size >= {least}GB",
        )


def _prepare(cloud: CloudState, place: Place, ebs: dict[str, Any], snapshot_id: str | None) -> bool:
    """Fill in size and encryption as EC2 would; return True when EBS cannot create the volume."""
    snapshot = require_completed(cloud, place, snapshot_id) if snapshot_id else None
    ebs["VolumeSize"] = sized_for(snapshot, ebs.get("VolumeSize"), "InvalidBlockDeviceMapping")
    encryption = of_volume(place, ebs, snapshot)
    ebs["Encrypted"], ebs["KmsKeyId"] = encryption.on, encryption.key
    return why_no_volume(place, snapshot, encryption) is not None
