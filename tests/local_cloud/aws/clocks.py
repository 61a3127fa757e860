"""ECR refuses a caller whose clock is wrong.

A signature is valid for five minutes (IAM user guide, "Signing AWS API requests"). A builder's
script signs requests for ECR only, so only ECR checks.
"""

from __future__ import annotations

import datetime
from typing import Any

from .cloud_state import CloudState
from .dispatch import AwsError

_LONGEST_SKEW = datetime.timedelta(minutes=5)
_FORMAT = "%Y%m%dT%H%M%SZ"


def require_right_time(_cloud: CloudState, request: Any, service: str, _action: str) -> None:
    """Raise AwsError when the signature's time, if there is one, differs too much from ours."""
    stamp = request.headers.get("X-Amz-Date")
    if service != "ecr" or not stamp:
        return
    signed = datetime.datetime.strptime(stamp, _FORMAT).replace(tzinfo=datetime.UTC)
    now = datetime.datetime.now(datetime.UTC)
    if abs(now - signed) <= _LONGEST_SKEW:
        return
    bound = f"{now - _LONGEST_SKEW:{_FORMAT}} ({now:{_FORMAT}} - 5 min.)"
    told = f"Signature expired: {stamp} is now earlier than {bound}"
    if signed > now:
        bound = f"{now + _LONGEST_SKEW:{_FORMAT}} ({now:{_FORMAT}} + 5 min.)"
        told = f"Signature not yet current: {stamp} is still later than {bound}"
    raise AwsError("InvalidSignatureException", told)
