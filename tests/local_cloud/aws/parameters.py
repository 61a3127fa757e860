"""Parameter Store: the size limits AWS keeps and moto does not, and Bottlerocket's parameters."""

from __future__ import annotations

import hashlib
from typing import Any

from moto.core.utils import utcnow
from moto.ec2 import ec2_backends
from moto.ec2.models.amis import Ami
from moto.ssm import ssm_backends
from moto.ssm.exceptions import ParameterNotFound, ParameterVersionNotFound
from moto.ssm.models import Parameter
from moto.ssm.responses import SimpleSystemManagerResponse

from .dispatch import AwsError, handles, place_of
from .world import World

STANDARD_BYTES = 4096
ADVANCED_BYTES = 8192
BOTTLEROCKET_VERSION = "1.50.0"
BOTTLEROCKET_VARIANTS = ("aws-k8s-1.34", "aws-k8s-1.35")
ARCHITECTURES = ("x86_64", "arm64")


@handles("ssm", "PutParameter")
def put_parameter(world: World, request: SimpleSystemManagerResponse) -> Any:
    """Write a parameter within its tier's size limit."""
    name, value = request._get_param("Name"), request._get_param("Value") or ""
    tier = _tier(request, name, len(value.encode()))
    parameter = request.ssm_backend.put_parameter(
        name,
        request._get_param("Description"),
        value,
        request._get_param("Type"),
        request._get_param("AllowedPattern"),
        request._get_param("KeyId"),
        request._get_param("Overwrite", False),
        request._get_param("Tags"),
        request._get_param("DataType", "text"),
        tier=tier,
        policies=request._get_param("Policies"),
    )
    return {"Version": parameter.version, "Tier": parameter.tier}


def _tier(request: SimpleSystemManagerResponse, name: str, size: int) -> str:
    before = request.ssm_backend._parameters.get(name)
    default = before[-1].tier if before else "Standard"
    asked = request._get_param("Tier") or default or "Standard"
    if default == "Advanced" and asked == "Standard":
        raise AwsError(
            "ValidationException",
            "This parameter uses the advanced-parameter tier. You can't downgrade a parameter "
            "from the advanced-parameter tier to the standard-parameter tier.",
        )
    if asked == "Intelligent-Tiering":
        asked = "Advanced" if size > STANDARD_BYTES or default == "Advanced" else "Standard"
    limit = ADVANCED_BYTES if asked == "Advanced" else STANDARD_BYTES
    if size > limit:
        hint = (
            " To create a larger parameter value, upgrade the parameter to use the "
            "advanced-parameter tier."
            if asked == "Standard"
            else ""
        )
        raise AwsError(
            "ValidationException",
            f"{asked} tier parameters support a maximum parameter value of {limit} "
            f"characters.{hint}",
        )
    return asked


@handles("ssm", "GetParameter")
def get_parameter(world: World, request: SimpleSystemManagerResponse) -> Any:
    """Read a parameter; a label that no version carries is another error than an unknown name."""
    name, _, selector = request._get_param("Name").partition(":")
    known = request.ssm_backend._parameters.get(name)
    found = request.ssm_backend.get_parameter(request._get_param("Name"))
    if selector and known and found is None:
        raise ParameterVersionNotFound(
            f"Systems Manager could not find version {selector} of {name}. Verify the version "
            "and try again."
        )
    return request.get_parameter()


@handles("ssm", "LabelParameterVersion")
def label_parameter_version(world: World, request: SimpleSystemManagerResponse) -> Any:
    """Move labels to a version. moto would create an empty parameter for an unknown name."""
    name = request._get_param("Name")
    if not request.ssm_backend._parameters.get(name):
        raise ParameterNotFound(f"Parameter {name} not found.")
    invalid, version = request.ssm_backend.label_parameter_version(
        name, request._get_param("ParameterVersion"), request._get_param("Labels")
    )
    return {"InvalidLabels": invalid, "ParameterVersion": version}


def seed_bottlerocket(
    world: World, request: SimpleSystemManagerResponse, service: str, action: str
) -> None:
    """Before the first call in an account and region: register one image per architecture and
    name it in AWS's public parameters."""
    account, region = place = place_of(request)
    if place in world.seeded or service not in ("ec2", "ssm"):
        return
    world.seeded.add(place)
    _publish_release(world, account, region, BOTTLEROCKET_VERSION)


def release_bottlerocket(world: World, version: str) -> None:
    """Let there be another Bottlerocket, with images of its own, in every place seeded so far."""
    for account, region in world.seeded:
        _publish_release(world, account, region, version)


def _publish_release(world: World, account: str, region: str, version: str) -> None:
    for architecture in ARCHITECTURES:
        home = region == world.region and version == BOTTLEROCKET_VERSION
        image = _register_image(account, region, architecture, home, version)
        for variant in BOTTLEROCKET_VARIANTS:
            path = f"/aws/service/bottlerocket/{variant}/{architecture}/latest"
            _put_public(account, region, f"{path}/image_id", image.id)
            _put_public(account, region, f"{path}/image_version", version)


def _register_image(account: str, region: str, architecture: str, home: bool, version: str) -> Ami:
    backend = ec2_backends[account][region]
    # Fixed ids: a test may write them down. Each region and release has images of its own.
    own = hashlib.sha256(f"{region} {version}".encode()).hexdigest()[:16]
    unique = "0b0771e0c8e70064" if home else own
    image_id = f"ami-{unique}" + ("a" if architecture == "x86_64" else "b")
    image = Ami(
        backend,
        image_id,
        name=f"bottlerocket-aws-k8s-1.35-{architecture}-v{version}",
        owner_id="092701018921",
        owner_alias="amazon",
        public=True,
        virtualization_type="hvm",
        architecture=architecture,
        root_device_type="ebs",
        root_device_name="/dev/xvda",
        region_name=f"{region}a",
    )
    backend.amis[image_id] = image
    return image


def _put_public(account: str, region: str, name: str, value: str) -> None:
    ssm_backends[account][region]._parameters[name].append(
        Parameter(
            account_id=account,
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
