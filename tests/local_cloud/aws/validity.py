"""Refuse and record a function's request that AWS's model of the call does not allow."""

from __future__ import annotations

from typing import Any

from ..request_check import check_form, check_json, is_of_function, refusal_code
from .cloud_state import CloudState
from .dispatch import AwsError


def require_valid_request(cloud: CloudState, request: Any, service: str, _action: str) -> None:
    """Raise AwsError when a function's request breaks the model; tests' requests may break it."""
    if not is_of_function(request.headers.get("User-Agent", "")):
        return
    target = request.headers.get("X-Amz-Target", "")
    if target:
        found = check_json(service, target, request.raw_body)
    else:
        # moto has already read the form, so the body is empty.
        found = check_form(service, request.normalized_request.form.items(multi=True))
    if found:
        cloud.invalid_requests.add(found)
        raise AwsError(refusal_code(service), "; ".join(found))
