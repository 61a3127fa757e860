"""The error codes of the services that Frontload calls, each with its HTTP status.

A status decides as much as a code: an SDK sends what was answered with 500 or more again by
itself. botocore's models name the errors of every call but EC2's; few of them say a status.
"""

from __future__ import annotations

import functools

from botocore.model import OperationNotFoundError

from .request_check import service_model

EC2_PAGE = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"
"""Client errors come with a status of the 400s, server errors with one of the 500s, it says."""
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
    # The page says the hundred; these were seen, as "status code" in the SDKs' messages:
    # InsufficientInstanceCapacity as 500 in galaxyproject/cloudman#64 and
    # nib-health-funds/hammertime#29, RequestLimitExceeded as 503 in
    # CloudSnorkel/cdk-github-runners#946, the missing role of Spot as 403 in #182 of the same.
    "AuthFailure": 401,
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": 403,
    "RequestLimitExceeded": 503,
    "ServiceUnavailable": 503,
    "Unavailable": 503,
    "UnauthorizedOperation": 403,
}
EC2 = dict.fromkeys(_EC2_CLIENT, 400) | dict.fromkeys(_EC2_SERVER, 500) | _EC2_STATUS
"""Those of the page that our calls may meet, with the one that the page leaves out."""
_STS = {
    # "Common errors" of the STS API reference, which the query protocol answers with.
    "AccessDenied": 403,
    "ExpiredToken": 403,
    "InternalFailure": 500,
    "InvalidClientTokenId": 403,
    "ServiceUnavailable": 503,
    "Throttling": 400,
    "ValidationError": 400,
}
_OTHERS = {
    # The same of the services that speak JSON.
    "AccessDeniedException": 400,
    "ExpiredTokenException": 400,
    "InternalFailure": 500,
    "ServiceUnavailable": 503,
    "ThrottlingException": 400,
    "UnrecognizedClientException": 400,
    "ValidationException": 400,
}
_OF_THE_SERVER = {
    # "HTTP Status Code: 500", or 503, in their references; the models leave it out.
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
    """What any call of the service may be answered with, and the status; of EC2 all there is."""
    return {"ec2": EC2, "sts": _STS}.get(service, _OTHERS)


def codes_of(service: str, action: str) -> dict[str, int]:
    """What a call may be answered with, and the status. Raises LookupError for no such call."""
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
    """The HTTP status with which a service answers a code."""
    shapes = service_model(service).error_shapes
    modelled = {s.error_code: s.metadata.get("error", {}).get("httpStatusCode") for s in shapes}
    own = modelled.get(code) or _OF_THE_SERVER.get(code, 400)
    return common_codes(service).get(code, own)


def broken(service: str) -> str:
    """The code by which a service says that it failed itself."""
    return _BROKEN.get(service, "InternalFailure")


def throttled(service: str) -> str:
    """The code by which a service says that it was asked too often."""
    return {"ec2": "RequestLimitExceeded", "sts": "Throttling"}.get(service, "ThrottlingException")


def denied(service: str) -> str:
    """The code by which a service says that a policy does not allow it."""
    other = "AccessDeniedException"
    return {"ec2": "UnauthorizedOperation", "sts": "AccessDenied"}.get(service, other)
