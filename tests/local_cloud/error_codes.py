"""The error codes of the services that Frontload calls, each with its HTTP status.

The status decides as much as the code: an SDK retries by itself when the status is 500 or more.
botocore's models name the errors of every call except EC2's; few of them give a status.
"""

from __future__ import annotations

import functools

from botocore.model import OperationNotFoundError

from .request_check import service_model

EC2_PAGE = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"
"""By this page, client errors have a 4xx status and server errors have a 5xx status."""
_EC2_CLIENT = (
    "AuthFailure",
    "ConcurrentSnapshotLimitExceeded",
    "IdempotentInstanceTerminated",
    "IdempotentParameterMismatch",
    "InstanceLimitExceeded",
    "InsufficientFreeAddressesInSubnet",
    "InvalidInstanceID.NotFound",
    "InvalidParameterValue",
    "InvalidSnapshot.InUse",
    "InvalidSnapshot.NotFound",
    "InvalidSubnetID.NotFound",
    "InvalidVolume.NotFound",
    "MaxIOPSLimitExceeded",
    "MaxSpotInstanceCountExceeded",
    "PendingSnapshotLimitExceeded",
    "PendingVerification",
    "RequestExpired",
    "ResourceLimitExceeded",
    "SnapshotCreationPerVolumeRateExceeded",
    "SpotMaxPriceTooLow",
    "UnauthorizedOperation",
    "UnfulfillableCapacity",
    "Unsupported",
    "VcpuLimitExceeded",
    "VolumeLimitExceeded",
)
_EC2_SERVER = (
    "InsufficientAddressCapacity",
    "InsufficientHostCapacity",
    "InsufficientInstanceCapacity",
    "InsufficientVolumeCapacity",
    "InternalError",
    "InternalFailure",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "Unavailable",
)
_EC2_STATUS = {
    # The page gives only 4xx or 5xx. The "status code" in messages of SDKs shows these:
    # InsufficientInstanceCapacity as 500 in galaxyproject/cloudman#64 and
    # nib-health-funds/hammertime#29, RequestLimitExceeded as 503 in
    # CloudSnorkel/cdk-github-runners#946, the missing role of Spot as 403 in its #182.
    "AuthFailure": 401,
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": 403,
    "RequestLimitExceeded": 503,
    "ServiceUnavailable": 503,
    "Unavailable": 503,
    "UnauthorizedOperation": 403,
}
EC2 = dict.fromkeys(_EC2_CLIENT, 400) | dict.fromkeys(_EC2_SERVER, 500) | _EC2_STATUS
"""The codes of the page that our calls may meet, and the one code that the page omits."""
_STS = {
    # "Common errors" of the STS API reference, for the query protocol.
    "AccessDenied": 403,
    "ExpiredToken": 403,
    "InternalFailure": 500,
    "InvalidClientTokenId": 403,
    "ServiceUnavailable": 503,
    "Throttling": 400,
    "ValidationError": 400,
}
_OTHERS = {
    # The common errors of the services with a JSON protocol.
    "AccessDeniedException": 400,
    "ExpiredTokenException": 400,
    "InternalFailure": 500,
    "ServiceUnavailable": 503,
    "ThrottlingException": 400,
    "UnrecognizedClientException": 400,
    "ValidationException": 400,
}
_OF_THE_SERVER = {
    # The services' references give "HTTP Status Code: 500", or 503; the models omit it.
    "DependencyTimeoutException": 503,
    "InternalException": 500,
    "InternalServerError": 500,
    "KMSInternalException": 500,
    "ServerException": 500,
}
_BROKEN = {
    "dynamodb": "InternalServerError",
    "ec2": "InternalError",
    "ecr": "ServerException",
    "events": "InternalException",
    "kms": "KMSInternalException",
    "ssm": "InternalServerError",
}


def common_codes(service: str) -> dict[str, int]:
    """The codes that any call of the service may return, with their status; for EC2 all codes."""
    return {"ec2": EC2, "sts": _STS}.get(service, _OTHERS)


def codes_of(service: str, action: str) -> dict[str, int]:
    """The codes that a call may return, with their status. Raises LookupError for no such call."""
    try:
        modelled = service_model(service).operation_model(action).error_shapes
    except OperationNotFoundError as error:
        raise LookupError(f"{service} has no {action}") from error
    own = {
        shape.error_code: shape.metadata.get("error", {}).get(
            "httpStatusCode", _OF_THE_SERVER.get(shape.error_code, 400)
        )
        for shape in modelled
    }
    return common_codes(service) | own


@functools.cache
def status_of(service: str, code: str) -> int:
    """The HTTP status that a service returns with a code."""
    shapes = service_model(service).error_shapes
    modelled = {s.error_code: s.metadata.get("error", {}).get("httpStatusCode") for s in shapes}
    own = modelled.get(code) or _OF_THE_SERVER.get(code, 400)
    return common_codes(service).get(code, own)


def broken(service: str) -> str:
    """The code that a service returns when it fails itself."""
    return _BROKEN.get(service, "InternalFailure")


def throttled(service: str) -> str:
    """The code that a service returns when it throttles."""
    return {"ec2": "RequestLimitExceeded", "sts": "Throttling"}.get(service, "ThrottlingException")


def denied(service: str) -> str:
    """The code that a service returns when a policy does not allow the call."""
    other = "AccessDeniedException"
    return {"ec2": "UnauthorizedOperation", "sts": "AccessDenied"}.get(service, other)
