"""Routes an AWS action: planted fault, then our handler, else moto's own; all recorded.

moto has one method through which every action goes, `BaseResponse.call_action`. It is wrapped
here once, so a handler of ours needs no subclass of moto's response and backend classes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, BaseResponse
from werkzeug.exceptions import HTTPException

from .calls import CallRecord
from .world import World

Handler = Callable[[World, Any], Any]
Reply = tuple[int, dict[str, str], Any]

HANDLERS: dict[tuple[str, str], Handler] = {}
SERVICES = {"ec2", "ssm", "ecr", "sts"}


def handles(service: str, action: str) -> Callable[[Handler], Handler]:
    """Make a function the handler of an AWS action. It returns the response as a dict or
    object, or raises `AwsError`; it runs with the world's lock held."""

    def register(handler: Handler) -> Handler:
        HANDLERS[(service, action)] = handler
        return handler

    return register


class AwsError(ServiceException):
    """An AWS error answer: code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)


WORLDS: dict[str, tuple[World, CallRecord]] = {}
"""The layers of this process by account; moto keeps accounts apart, too."""

_moto_dispatch = BaseResponse.call_action


def install(world: World, record: CallRecord) -> None:
    """Answer the account's requests from this world. Raises RuntimeError when it has one."""
    if world.account in WORLDS:
        raise RuntimeError(f"account {world.account} has a layer in this process already")
    WORLDS[world.account] = (world, record)
    BaseResponse.call_action = _call_action  # type: ignore[method-assign]


def remove(world: World) -> None:
    """Stop answering the account's requests."""
    WORLDS.pop(world.account, None)


def _call_action(request: BaseResponse) -> Reply:
    world, record = WORLDS[request.current_account]
    return _answer(world, record, request)


def _answer(world: World, record: CallRecord, request: BaseResponse) -> Reply:
    service, action = str(request.service_name), str(request._get_action())
    if service not in SERVICES:
        return _refuse(request, "NotImplemented", f"the layer does not serve {service}", 400)
    call = record.begin(service, action, _parameters(request))
    with world.lock:
        fault = world.faults.for_call(service, action)
        if fault and fault.when == "before":
            reply = _refuse(request, fault.code, fault.message, fault.status)
        else:
            reply = _perform(world, request, service, action)
            if fault:
                reply = _refuse(request, fault.code, fault.message, fault.status)
    call["status"] = int(reply[0])
    call["planted"] = fault.code if fault else None
    call["error"] = _error_text(reply)
    return reply


def _parameters(request: BaseResponse) -> Any:
    if request.automated_parameter_parsing:
        return request.params
    return json.loads(request.body or "{}")


def _perform(world: World, request: BaseResponse, service: str, action: str) -> Reply:
    handler = HANDLERS.get((service, action))
    try:
        if handler is None:
            return _moto_dispatch(request)
        result = handler(world, request)
        return request.serialized(
            result if isinstance(result, ActionResult) else ActionResult(result)
        )
    except HTTPException:
        raise
    except ServiceException as error:
        return request.serialized(ActionResult(error))
    except NotImplementedError as error:
        # A client error: the SDKs would retry a 5xx and hide the gap behind a time-out.
        return _refuse(request, "NotImplemented", str(error), 400)
    except Exception as error:
        world.host_errors.append(f"{service} {action}: {type(error).__name__}: {error}")
        return _refuse(request, "InternalError", f"{type(error).__name__}: {error}", 500)


def _refuse(request: BaseResponse, code: str, message: str, status: int) -> Reply:
    _, headers, body = request.serialized(ActionResult(AwsError(code, message)))
    return status, headers, body


def _error_text(reply: Reply) -> str | None:
    if int(reply[0]) < 400:
        return None
    body = reply[2]
    return (body.decode(errors="replace") if isinstance(body, bytes) else str(body))[:500]
