"""What an account and region contain before the first call."""

from __future__ import annotations

from moto.core.responses import BaseResponse

from .cloud_state import CloudState
from .dispatch import place_of
from .networks import open_default_vpc
from .releases import publish_newest


def seed(cloud: CloudState, request: BaseResponse, service: str, _action: str) -> None:
    """Before the first call, open the default VPC and publish Bottlerocket's images."""
    place = place_of(request)
    if place in cloud.seeded or service not in ("ec2", "ssm"):
        return
    cloud.seeded.add(place)
    open_default_vpc(place)
    publish_newest(cloud, place)
