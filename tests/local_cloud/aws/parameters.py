"""Parameter Store: the limits that AWS enforces and moto does not."""

from __future__ import annotations

import time
from typing import Any

from moto.ssm.exceptions import ParameterNotFound, ParameterVersionNotFound
from moto.ssm.responses import SimpleSystemManagerResponse

from ..request_check import is_of_function
from .cloud_state import CloudState
from .dispatch import AwsError, handles, place_of

STANDARD_BYTES = 4096
ADVANCED_BYTES = 8192


@handles("ssm", "PutParameter")
def put_parameter(cloud: CloudState, request: SimpleSystemManagerResponse) -> Any:
    """Write a parameter within its tier's size limit."""
    name, value = request._get_param("Name"), request._get_param("Value") or ""
    _require_rest(cloud, request, name)
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


@handles("ssm", "DeleteParameter")
def delete_parameter(cloud: CloudState, request: SimpleSystemManagerResponse) -> Any:
    """Delete a parameter, and record when."""
    cloud.deleted_parameters[place_of(request), request._get_param("Name")] = time.monotonic()
    return request.delete_parameter()


def _require_rest(cloud: CloudState, request: SimpleSystemManagerResponse, name: str) -> None:
    """Refuse a function that recreates a deleted parameter too early, and fail its test.

    SSM tells callers to wait 30 s after a deletion before they create a parameter of that name
    (botocore's model of DeleteParameter). It does not say what happens otherwise.
    """
    deleted = cloud.deleted_parameters.get((place_of(request), name))
    rest = cloud.settings.deleted_parameter_rest_seconds
    if deleted is None or time.monotonic() - deleted >= rest:
        return
    if is_of_function(request.headers.get("User-Agent", "")):
        told = f"{name} is written less than {rest} s after it was deleted"
        cloud.host_errors.append(told)
        raise AwsError("ValidationException", told)


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
def get_parameter(cloud: CloudState, request: SimpleSystemManagerResponse) -> Any:
    """Read a parameter; an unknown label gives another error than an unknown name."""
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
def label_parameter_version(cloud: CloudState, request: SimpleSystemManagerResponse) -> Any:
    """Move labels to a version. moto would create an empty parameter for an unknown name."""
    name = request._get_param("Name")
    if not request.ssm_backend._parameters.get(name):
        raise ParameterNotFound(f"Parameter {name} not found.")
    invalid, version = request.ssm_backend.label_parameter_version(
        name, request._get_param("ParameterVersion"), request._get_param("Labels")
    )
    return {"InvalidLabels": invalid, "ParameterVersion": version}
