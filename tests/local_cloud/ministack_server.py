"""MiniStack with our own calls for what AWS does by itself, without an API to request it.

It also has our own clock for state machines, because their waits are scaled.

POST /_local/events     {"account", "region", "event"}: a whole event on an account's default bus
POST /_local/schedules  {"account", "region", "group", "name"}: make a schedule of Scheduler due now
POST /_local/record     {"account", "region"}: what was done since the last call, see
                        `ministack_record.Record`
POST /_local/go-wrong   see `ministack_faults`
POST /_local/invalid-requests  requests that AWS would refuse, since the last call

PutEvents sets an event's id, account and time itself, and refuses the sources of AWS. And no test
can wait a day for a schedule. MiniStack's own delivery handles both: rules, patterns, inputs and
targets are those of the deployed templates.

Run as a module, with MiniStack's environment. It patches modules of MiniStack 1.5.33.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import socketserver
import time
import uuid
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from ministack import app as ministack
from ministack.core import lambda_runtime
from ministack.core.responses import json_response, request_scope
from ministack.services import eventbridge, lambda_svc, scheduler, stepfunctions

from . import (
    ministack_faults,
    ministack_limits,
    ministack_permissions,
    ministack_record,
    ministack_resources,
    ministack_roles,
)
from .execution_clock import ExecutionClock
from .ministack import FUNCTION_TOKEN
from .request_check import InvalidRequests, check_json, refusal_code

PREFIX = "/_local/"
FUNCTION_ASKS: ContextVar[bool] = ContextVar("function_asks", default=False)
"""Whether a function sent the current request."""
INVALID_REQUESTS = InvalidRequests()
SIGNED_FOR = re.compile(r"Credential=[^/]+/\d+/[^/]+/(?P<service>[^/]+)/aws4_request")
# MiniStack's names for the envelope's fields. Other fields pass through unchanged.
FIELDS = {
    "version": "Version",
    "id": "EventId",
    "source": "Source",
    "account": "Account",
    "time": "Time",
    "region": "Region",
    "resources": "Resources",
    "detail-type": "DetailType",
    "detail": "Detail",
}


def deliver_event(order: dict[str, Any]) -> None:
    """Match an event against the rules of the bus and start their targets."""
    event = order["event"]
    record = {FIELDS[name]: value for name, value in event.items() if name in FIELDS}
    record["Detail"] = json.dumps(record["Detail"])
    record["_ExtraEnvelope"] = {n: value for n, value in event.items() if n not in FIELDS}
    record["EventBusName"] = "default"
    eventbridge._dispatch_event(record)


def run_schedule(order: dict[str, Any]) -> None:
    """Start a schedule's target as if it were due. Raises LookupError when AWS would not."""
    name = f"{order.get('group', 'default')}/{order['name']}"
    schedule = scheduler._schedules.get(name)
    if schedule is None:
        raise LookupError(f"no schedule {name}")
    if schedule["State"] != "ENABLED":
        raise LookupError(f"schedule {name} is {schedule['State']}")
    event = {
        "EventId": str(uuid.uuid4()),
        "Source": "aws.scheduler",
        "DetailType": "Scheduled Event",
        "Resources": [schedule["Arn"]],
    }
    eventbridge._invoke_target(schedule["Target"], event, schedule)


CLOCK: ContextVar[ExecutionClock] = ContextVar("clock")


def let_clock_follow_the_waits() -> None:
    """Make JSONata's `$millis` count each wait in full, not scaled."""
    register = stepfunctions._register_sfn_jsonata_functions
    run, wait = stepfunctions._run_execution, stepfunctions._scaled_sleep

    # The threads of an execution's Maps inherit its context.
    def run_with_clock(execution: str) -> None:
        CLOCK.set(ExecutionClock())
        run(execution)

    def wait_by_clock(seconds: float) -> None:
        CLOCK.get().wait(seconds, wait)

    def register_with_clock(expression: Any) -> None:
        register(expression)
        expression.register_lambda("millis", lambda: int(CLOCK.get().seconds() * 1000))

    stepfunctions._run_execution = run_with_clock
    stepfunctions._scaled_sleep = wait_by_clock
    stepfunctions._register_sfn_jsonata_functions = register_with_clock


def let_ends_follow_the_waits(wait_scale: float) -> None:
    """Move an execution's `stopDate` back for functions, as far as the waits are scaled.

    A function that waits after the end of an execution counts in the seconds of AWS.
    """
    describe = stepfunctions._describe_execution

    def describe_to_function(order: dict[str, Any]) -> Any:
        status, headers, body = describe(order)
        answer = json.loads(body)
        if not FUNCTION_ASKS.get() or not answer.get("stopDate"):
            return status, headers, body
        ended = datetime.datetime.fromisoformat(answer["stopDate"]).timestamp()
        answer["stopDate"] = time.time() - (time.time() - ended) / wait_scale
        return json_response(answer, status)

    stepfunctions._describe_execution = describe_to_function


def let_functions_have_their_roles() -> None:
    """Give a function credentials that name its role, so that the AWS layer can apply it."""

    def credentials(config: dict[str, Any]) -> dict[str, str]:
        account, _ = lambda_runtime._account_region_from_function_config(config)
        role = config.get("Role", "").rpartition("/")[2]
        return {
            "AWS_ACCESS_KEY_ID": account,
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_SESSION_TOKEN": f"{FUNCTION_TOKEN}{role}",
        }

    lambda_runtime.execution_credentials = credentials
    lambda_svc.execution_credentials = credentials


def take_record(order: dict[str, Any]) -> dict[str, Any]:
    """What was done since the last call."""
    return ministack_record.RECORD.take()


CALLS: dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]] = {
    "events": deliver_event,
    "schedules": run_schedule,
    "record": take_record,
    "go-wrong": ministack_faults.go_wrong,
    "grants": ministack_permissions.take_used,
    "invalid-requests": lambda order: {"found": INVALID_REQUESTS.take()},
}
served_by_ministack = ministack.app


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve our own calls, and pass everything else to MiniStack."""
    if scope["type"] != "http":
        await served_by_ministack(scope, receive, send)
    elif scope["path"].startswith(PREFIX):
        name = scope["path"].removeprefix(PREFIX)
        await answer(send, *perform(name, await read_body(receive)))
    else:
        await serve(scope, receive, send)


async def serve(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve MiniStack's calls; a function's only if AWS's models and its role allow it."""
    is_of_function = ministack_record.RECORD.request(scope["headers"])
    FUNCTION_ASKS.set(is_of_function)
    if is_of_function:
        body = await read_body(receive)
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        refused = refuse_invalid(headers, body) or ministack_permissions.refuse(headers, body)
        if refused is not None:
            await answer(send, 400, refused)
            return
        receive = replay(body, receive)
    await served_by_ministack(scope, receive, send)


def refuse_invalid(headers: Mapping[str, str], body: bytes) -> dict[str, str] | None:
    """The error of a request that breaks AWS's model of the call; None for a valid one."""
    service = SIGNED_FOR.search(headers.get("authorization", ""))
    if service is None:
        return None
    found = check_json(service["service"], headers.get("x-amz-target", ""), body)
    if not found:
        return None
    INVALID_REQUESTS.add(found)
    return {"__type": refusal_code(service["service"]), "message": "; ".join(found)}


def replay(body: bytes, receive: Any) -> Any:
    """A `receive` that returns the body already read, and then what follows it."""
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_part() -> Any:
        return parts.pop() if parts else await receive()

    return next_part


async def answer(send: Any, status: int, document: dict[str, Any]) -> None:
    """Send a document as JSON."""
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(document).encode()})


async def read_body(receive: Any) -> bytes:
    """The request's whole body."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def perform(name: str, body: bytes) -> tuple[int, dict[str, Any]]:
    """Status and answer of one of our calls."""
    try:
        order = json.loads(body)
        with request_scope(order["account"], order["region"]):
            return 200, CALLS[name](order) or {}
    except (LookupError, TypeError, ValueError) as error:
        return 400, {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    # The Runtime API answers in two writes. With Nagle's algorithm the second write waits 40 ms for
    # the first one's acknowledgement, at every call of a Lambda.
    socketserver.StreamRequestHandler.disable_nagle_algorithm = True
    let_clock_follow_the_waits()
    let_ends_follow_the_waits(float(os.environ["SFN_WAIT_SCALE"]))
    let_functions_have_their_roles()
    ministack_record.install(ministack_record.Latencies.of_environment())
    ministack_resources.install()
    ministack_limits.install()
    ministack_roles.install()
    ministack_faults.install()
    ministack.app = application
    ministack.main()
