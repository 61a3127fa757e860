"""Route an AWS action: planted fault, checks, our handler or else moto's; record each call.

Every action in moto goes through `BaseResponse.call_action`. This module wraps that method once,
so our handlers need no subclass of moto's response and backend classes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from contextvars import ContextVar
from typing import Any

from moto.core import errors
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, BaseResponse
from werkzeug.exceptions import HTTPException

from .. import error_codes
from .calls import CallRecord
from .cloud_state import CallFault, CloudState, Place

_CREDENTIAL = re.compile(r"Credential=(?P<account>\d{12})/")
Handler = Callable[[CloudState, Any], Any]
Check = Callable[[CloudState, Any, str, str], None]
View = Callable[[CloudState, Any, str, str], AbstractContextManager[None]]
Reply = tuple[int, dict[str, str], Any]

HANDLERS: dict[tuple[str, str], Handler] = {}
CHECKS: list[Check] = []
"""The checks that run before the handler, in this order; each raises `AwsError` to refuse."""
VIEWS: list[View] = []
"""The context managers in which every handler runs."""
SERVICES = {"ec2", "ssm", "ecr", "sts", "kms"}


def handles(service: str, action: str) -> Callable[[Handler], Handler]:
    """Make a function the handler of an AWS action.

    The handler returns the response as a dict or object, or raises `AwsError`. It runs with the
    cloud's lock held.
    """

    def register(handler: Handler) -> Handler:
        HANDLERS[(service, action)] = handler
        return handler

    return register


class AwsError(ServiceException):
    """An AWS error response: code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)


def unknown_credentials(service: str, message: str) -> AwsError:
    """Return the error with which a service rejects unknown credentials."""
    if service == "ec2":
        return AwsError(
            "AuthFailure", "AWS was not able to validate the provided access credentials"
        )
    code = "InvalidClientTokenId" if service == "sts" else "UnrecognizedClientException"
    return AwsError(code, message)


def account_of_key(authorization: str) -> str | None:
    """Return the account of a signature; the access key id is the account's number.

    The key id of an assumed role is the number of its account, too. None for a key id of another
    format: the call is treated as home's.
    """
    found = _CREDENTIAL.search(authorization)
    return found["account"] if found else None


def place_of(request: BaseResponse) -> Place:
    """Return the account and region of a call."""
    return Place(request.current_account, request.region)


LAYER: ContextVar[tuple[CloudState, CallRecord]] = ContextVar("layer")
"""The layer (state and call record) whose server received the request."""
OWNERS: dict[str, CloudState] = {}
"""The layer of each account: moto separates accounts, but not the layers of a process."""

_moto_dispatch = BaseResponse.call_action


def install() -> None:
    """Route every request to moto through this module."""
    BaseResponse.call_action = _call_action  # type: ignore[method-assign]
    # moto would warn about each error code that botocore's model of the service does not list.
    # AWS returns such codes, too.
    errors.warn = _say_nothing  # type: ignore[attr-defined]


def _say_nothing(*_: Any, **__: Any) -> None:
    pass


def claim_account(cloud: CloudState, account: str) -> None:
    """Assign the account to this layer. Raises AccountTakenError when another layer has it."""
    if OWNERS.setdefault(account, cloud) is not cloud:
        raise AccountTakenError(f"account {account} belongs to another layer in this process")


class AccountTakenError(RuntimeError):
    """Two layers of a process cannot share an account."""


def accounts_of(cloud: CloudState) -> list[str]:
    """Return the accounts that called this layer, and home."""
    return [account for account, owner in list(OWNERS.items()) if owner is cloud]


def remove(cloud: CloudState) -> None:
    """Release the layer's accounts."""
    for account in accounts_of(cloud):
        OWNERS.pop(account)


def _call_action(request: BaseResponse) -> Reply:
    cloud, record = LAYER.get()
    service, action = str(request.service_name), str(request._get_action())
    try:
        claim_account(cloud, request.current_account)
    except AccountTakenError as error:
        return _refuse(request, AwsError("NotImplemented", str(error)), 400)
    if service not in SERVICES:
        missing = AwsError("NotImplemented", f"the layer does not serve {service}")
        return _refuse(request, missing, 400)
    place = place_of(request)
    call = record.begin(place, service, action, _parameters(request))
    with cloud.lock:
        fault = cloud.faults.for_call(service, action, place)
        if fault and fault.when == "before":
            reply = _refuse_as_planted(request, fault)
        else:
            reply = _perform(cloud, request, service, action)
            if fault:
                reply = _refuse_as_planted(request, fault)
    call["status"] = int(reply[0])
    call["planted"] = fault.code if fault else None
    call["error"] = _error_text(reply)
    return reply


def _parameters(request: BaseResponse) -> Any:
    if request.automated_parameter_parsing:
        return request.params
    return json.loads(request.body or "{}")


def _perform(cloud: CloudState, request: BaseResponse, service: str, action: str) -> Reply:
    handler = HANDLERS.get((service, action))
    try:
        for check in CHECKS:
            check(cloud, request, service, action)
        cloud.places.add(place_of(request))
        with ExitStack() as views:
            for view in VIEWS:
                views.enter_context(view(cloud, request, service, action))
            return _handle(cloud, request, handler)
    except HTTPException:
        raise
    except ServiceException as error:
        return _refuse(request, error, error_codes.status_of(service, error.code))
    except NotImplementedError as error:
        # A 4xx, because the SDKs retry a 5xx: a timeout would then hide the missing feature.
        return _refuse(request, AwsError("NotImplemented", str(error)), 400)
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        cloud.host_errors.append(f"{service} {action}: {told}")
        return _refuse(request, AwsError(error_codes.broken(service), told), 500)


def _handle(cloud: CloudState, request: BaseResponse, handler: Handler | None) -> Reply:
    if handler is None:
        return _moto_dispatch(request)
    result = handler(cloud, request)
    return request.serialized(result if isinstance(result, ActionResult) else ActionResult(result))


def _refuse_as_planted(request: BaseResponse, fault: CallFault) -> Reply:
    return _refuse(request, AwsError(fault.code, fault.message), fault.status)


def _refuse(request: BaseResponse, error: ServiceException, status: int) -> Reply:
    _, headers, body = request.serialized(ActionResult(error))
    return status, headers, body


def _error_text(reply: Reply) -> str | None:
    if int(reply[0]) < 400:
        return None
    body = reply[2]
    return (body.decode(errors="replace") if isinstance(body, bytes) else str(body))[:500]
