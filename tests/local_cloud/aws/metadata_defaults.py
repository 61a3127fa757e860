"""The account's defaults for the metadata service of new instances.

They apply to options that a launch does not set (EC2 user guide, "Where to configure instance
metadata options": the launch, then the account's default, then the image's).
"""

from __future__ import annotations

from typing import Any

from moto.ec2.responses._base_response import EC2BaseResponse

from .calls import plain
from .cloud_state import CloudState, Place
from .dispatch import AwsError, handles, place_of

ENDPOINT = "HttpEndpoint"
_CHOICES = {
    ENDPOINT: {"enabled", "disabled"},
    "HttpTokens": {"optional", "required"},
    "InstanceMetadataTags": {"enabled", "disabled"},
}
_HOPS = "HttpPutResponseHopLimit"
_NONE = {"no-preference", -1}


def defaults_of(cloud: CloudState, place: Place) -> dict[str, Any]:
    """Return the options that an account's default sets in a region."""
    given = {ENDPOINT: cloud.settings.metadata_default}
    return {**given, **cloud.metadata_defaults.get(place, {})}


def options_of(cloud: CloudState, request: EC2BaseResponse) -> dict[str, Any]:
    """Return a launch's options for the metadata service."""
    asked = plain(request._get_param("MetadataOptions", {}))
    return {**defaults_of(cloud, place_of(request)), **asked}


@handles("ec2", "GetInstanceMetadataDefaults")
def get_instance_metadata_defaults(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """Return the account's defaults in this region."""
    request.error_on_dryrun()
    return {"AccountLevel": defaults_of(cloud, place_of(request))}


@handles("ec2", "ModifyInstanceMetadataDefaults")
def modify_instance_metadata_defaults(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """Change the account's defaults in this region; `no-preference` or -1 removes one."""
    request.error_on_dryrun()
    chosen = cloud.metadata_defaults.setdefault(place_of(request), {})
    for name in (*_CHOICES, _HOPS):
        value = request._get_param(name)
        if value is None:
            continue
        if value in _NONE:
            chosen.pop(name, None)
        elif name in _CHOICES and value not in _CHOICES[name]:
            raise AwsError("InvalidParameterValue", f"Value ({value}) for {name} is invalid.")
        else:
            chosen[name] = value
    return {"Return": True}
