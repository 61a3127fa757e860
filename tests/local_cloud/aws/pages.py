"""Pages of lists: MaxResults, NextToken and limits, as in EC2 and ECR."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, TypeVar

from moto.ec2.responses._base_response import EC2BaseResponse

from .cloud_state import CloudState
from .dispatch import AwsError

Item = TypeVar("Item")
_MARK = "page-from-"


def cut_page(
    cloud: CloudState, request: EC2BaseResponse, items: Sequence[Item], smallest: int, largest: int
) -> tuple[Sequence[Item], str | None]:
    """Return the requested page, and the token of the next page.

    `smallest` and `largest` are the limits of MaxResults. A larger value is reduced to `largest`,
    as on AWS. Raises AwsError when the value is too small or the token is invalid.
    """
    asked = request._get_param("MaxResults")
    if asked is not None and int(asked) < smallest:
        raise AwsError(
            "InvalidParameterValue",
            f"Value ( {asked} ) for parameter maxResults is invalid. Expecting a value greater "
            f"than or equal to {smallest}.",
        )
    size = min(int(asked or largest), largest, cloud.settings.largest_page)
    return page_after(request._get_param("NextToken"), items, size)


def page_after(
    token: str | None, items: Sequence[Item], size: int
) -> tuple[Sequence[Item], str | None]:
    """Return the page of a token, or the first page, and the token of the next page.

    Raises AwsError when the token is invalid.
    """
    start = _start(token)
    end = start + size
    return items[start:end], _token(end) if end < len(items) else None


def _token(start: int) -> str:
    return base64.b64encode(f"{_MARK}{start}".encode()).decode()


def _start(token: Any) -> int:
    if not token:
        return 0
    try:
        return int(base64.b64decode(token, validate=True).decode().removeprefix(_MARK))
    except (binascii.Error, ValueError) as error:
        raise AwsError("InvalidNextToken", "The token provided is invalid.") from error
