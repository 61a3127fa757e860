"""Bottlerocket's releases: its public images, and the public parameters that name them."""

from __future__ import annotations

import hashlib
import re

from moto.core.utils import utcnow
from moto.ec2 import ec2_backends
from moto.ssm import ssm_backends
from moto.ssm.models import Parameter

from .block_devices import BOTTLEROCKET_DEVICES, DATA_DEVICE, ROOT_DEVICE
from .cloud_state import CloudState, Place
from .machine_images import RegisteredImage

BOTTLEROCKET_VERSION = "1.62.0-5f2bd3a7"
"""With the commit, as Bottlerocket publishes it (twoliter tools/pubsys/policies/ssm/README.md)."""
BOTTLEROCKET_VARIANTS = ("aws-k8s-1.34", "aws-k8s-1.35")
ARCHITECTURES = ("x86_64", "arm64")
AMAZON = "092701018921"
_NAME_VERSION = re.compile(r"-v(\d+\.\d+\.\d+)")


def publish_newest(cloud: CloudState, place: Place) -> None:
    """Publish the newest release in an account and region: one image per architecture."""
    _publish(cloud, place, cloud.newest_bottlerocket or BOTTLEROCKET_VERSION)


def release_bottlerocket(cloud: CloudState, version: str) -> None:
    """Publish another release, with its own images, in every place seeded so far and later."""
    cloud.newest_bottlerocket = version
    for place in cloud.seeded:
        _publish(cloud, place, version)


def version_of(image_name: str) -> str:
    """Return the release in an image's name, without the commit; the default if it has none."""
    found = _NAME_VERSION.search(image_name)
    return found[1] if found else BOTTLEROCKET_VERSION.partition("-")[0]


def _publish(cloud: CloudState, place: Place, version: str) -> None:
    for architecture in ARCHITECTURES:
        home = place.region == cloud.region and version == BOTTLEROCKET_VERSION
        image = _register_image(place, architecture, home, version)
        for variant in BOTTLEROCKET_VARIANTS:
            path = f"/aws/service/bottlerocket/{variant}/{architecture}"
            for shown in ("latest", version):
                _put_public(place, f"{path}/{shown}/image_id", image.id)
                _put_public(place, f"{path}/{shown}/image_version", version)


def _register_image(place: Place, architecture: str, home: bool, version: str) -> RegisteredImage:
    backend = ec2_backends[place.account][place.region]
    # The ids are fixed, so that a test can name them. Each region and release has its own images.
    own = hashlib.sha256(f"{place.region} {version}".encode()).hexdigest()[:16]
    unique = "0b0771e0c8e70064" if home else own
    image_id = f"ami-{unique}" + ("a" if architecture == "x86_64" else "b")
    image = RegisteredImage(
        backend,
        image_id,
        name=f"bottlerocket-aws-k8s-1.35-{architecture}-v{version}",
        owner_id=AMAZON,
        owner_alias="amazon",
        public=True,
        virtualization_type="hvm",
        architecture=architecture,
        root_device_type="ebs",
        root_device_name=ROOT_DEVICE,
        region_name=f"{place.region}a",
    )
    image.ebs_snapshot.volume.size = BOTTLEROCKET_DEVICES[ROOT_DEVICE]["VolumeSize"]
    snapshots = {ROOT_DEVICE: {"SnapshotId": image.ebs_snapshot.id}, DATA_DEVICE: {}}
    image.devices = [
        {"DeviceName": name, "Ebs": {**ebs, "Encrypted": False, **snapshots[name]}}
        for name, ebs in BOTTLEROCKET_DEVICES.items()
    ]
    backend.amis[image_id] = image
    return image


def _put_public(place: Place, name: str, value: str) -> None:
    ssm_backends[place.account][place.region]._parameters[name].append(
        Parameter(
            account_id=place.account,
            name=name,
            value=value,
            parameter_type="String",
            description=None,
            allowed_pattern=None,
            keyid=None,
            last_modified_date=utcnow(),
            version=1,
            data_type="text",
            tier="Standard",
        )
    )
