"""CreateTags: the tags become visible with a delay."""

from __future__ import annotations

from typing import Any

from moto.ec2.responses._base_response import EC2BaseResponse

from .cloud_state import CloudState
from .dispatch import handles


@handles("ec2", "CreateTags")
def create_tags(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """Note when the tags become visible, and let moto write them."""
    keys = [tag["Key"] for tag in request._get_param("Tags", [])]
    for resource in request._get_param("Resources", []):
        cloud.lags.note_tags(cloud, request.ec2_backend, resource, keys)
    return request.create_tags()
