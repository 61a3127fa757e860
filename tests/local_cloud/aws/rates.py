"""Throttle functions' calls by account and region, as AWS does.

Off unless `rates_are_kept`. Tests' own calls have no limit.
"""

from __future__ import annotations

import time
from typing import Any

from .. import error_codes
from ..request_check import is_of_function
from .cloud_state import CloudState
from .dispatch import AwsError, place_of
from .token_buckets import Rate

# Parameter Store: "AWS Systems Manager endpoints and quotas", default throughput; its read actions
# share one rate. EC2: "Request throttling for the Amazon EC2 API".
RATES = {
    "parameter reads": Rate(40, 40),
    "parameter writes": Rate(3, 3),
    "launches": Rate(5, 2),
}
KINDS = {
    ("ssm", "GetParameter"): "parameter reads",
    ("ssm", "GetParameters"): "parameter reads",
    ("ssm", "GetParametersByPath"): "parameter reads",
    ("ssm", "PutParameter"): "parameter writes",
    ("ec2", "RunInstances"): "launches",
}


def require_rate(cloud: CloudState, request: Any, service: str, action: str) -> None:
    """Raise AwsError when the account's bucket in the region has no call left."""
    kind = KINDS.get((service, action))
    if kind is None or not cloud.settings.rates_are_kept:
        return
    if not is_of_function(request.headers.get("User-Agent", "")):
        return
    share = cloud.settings.share_of_rates
    whole = RATES[kind]
    ours = Rate(max(1.0, whole.capacity * share), whole.per_second * share)
    if not cloud.buckets.take((place_of(request), kind), ours, time.monotonic()):
        raise AwsError(error_codes.throttled(service), "Rate exceeded")
