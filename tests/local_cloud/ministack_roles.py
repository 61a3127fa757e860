"""Refuses what the roles of machines, rules and schedules or the policies of buses do not allow.

Step Functions runs a task with its machine's role. EventBridge and Scheduler call a target with the
target's role. A task that is not allowed fails. An event that is not allowed goes to its target's
dead-letter queue, if the target has one. A role that IAM does not know is not checked: tests of
definitions alone make no roles.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.arn import parse_arn
from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import eventbridge, iam, lambda_svc, stepfunctions

from .aws.authorization import supplied

# Step Functions uses this rule to wait for the end of an execution that a task started (Step
# Functions developer guide, "IAM policies for calling AWS Step Functions").
RULE_OF_SYNC = "rule/StepFunctionsGetEventsForStepFunctionsExecutionRule"
CALLS = {
    "states": "states:StartExecution",
    "lambda": "lambda:InvokeFunction",
    "events": "events:PutEvents",
}
"""The action that calls a target of a service."""
logger = logging.getLogger("ministack")
MACHINE: ContextVar[dict[str, Any]] = ContextVar("machine")
"""The machine of the running execution; the threads of its tasks and Maps inherit it."""
Need = tuple[str, str]
"""An action and its resource."""


def install() -> None:
    """Check roles and policies from now on."""
    stepfunctions._run_execution = _knowing_its_machine(stepfunctions._run_execution)
    stepfunctions._invoke_resource = _judged_task(stepfunctions._invoke_resource)
    eventbridge._invoke_target = _judged_target(eventbridge._invoke_target)
    eventbridge._dispatch_to_event_bus = _to_any_account(eventbridge._dispatch_to_event_bus)


# Tasks


def _knowing_its_machine(run: Callable[[str], None]) -> Callable[[str], None]:
    def run_with_machine(execution: str) -> None:
        machine = stepfunctions._executions[execution]["stateMachineArn"]
        before = MACHINE.set(stepfunctions._state_machines[machine])
        try:
            run(execution)
        finally:
            # An execution that a task started may have run in the task's own thread.
            MACHINE.reset(before)

    return run_with_machine


def _judged_task(invoke: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    def invoked(resource: str, given: Any) -> Any:
        machine = MACHINE.get()
        role = Role(machine["roleArn"], "states.amazonaws.com", machine["stateMachineArn"])
        for action, about in needs_of_task(resource, given):
            refused = role.refusal(action, about)
            if refused:
                raise stepfunctions._ExecutionError("States.Permissions", refused)
        return invoke(resource, given)

    return invoked


def needs_of_task(resource: str, given: dict[str, Any]) -> Iterator[Need]:
    """What a task's role must allow. Raises NotImplementedError for an unknown kind of task."""
    kind = resource.partition(":states:::")[2]
    if kind == "lambda:invoke":
        yield "lambda:InvokeFunction", given["FunctionName"]
    elif kind == "states:startExecution.sync:2":
        machine = given["StateMachineArn"]
        started = machine.replace(":stateMachine:", ":execution:") + ":any"
        rule = f"arn:aws:events:{get_region()}:{get_account_id()}:{RULE_OF_SYNC}"
        yield "states:StartExecution", machine
        yield "states:DescribeExecution", started
        yield "states:StopExecution", started
        for action in ("PutTargets", "PutRule", "DescribeRule"):
            yield f"events:{action}", rule
    elif kind:
        raise NotImplementedError(f"what a role needs for {resource} is not known here")


# Targets


def _judged_target(invoke: Callable[..., None]) -> Callable[..., None]:
    def invoked(target: Any, event: Any, rule: Any, view: Any = None) -> None:
        refused = refusal_of_target(target, event, rule)
        if not refused:
            invoke(target, event, rule, view)
            return
        logger.warning("EventBridge: %s is not called: %s", target["Arn"], refused)
        queue = target.get("DeadLetterConfig", {}).get("Arn")
        if queue:
            shown = view or eventbridge._pattern_event_view(event)
            eventbridge._dispatch_to_sqs(parse_arn(queue), json.dumps(shown.event_with_detail()))

    return invoked


def refusal_of_target(target: Any, event: Any, rule: Any) -> str:
    """Why a target may not be called with an event; empty when it may."""
    arn, source = target["Arn"], rule["Arn"]
    service = parse_arn(arn).service
    is_schedule = ":schedule/" in source
    caller = "scheduler.amazonaws.com" if is_schedule else "events.amazonaws.com"
    if service == "lambda" and not is_schedule:
        return _refusal_of_function(arn, caller, source)
    if service not in CALLS:
        return ""
    if "RoleArn" not in target:
        return f"its rule or schedule {source} names no role for {arn}"
    role = Role(target["RoleArn"], caller, source)
    keys = _keys_of_event(event) if service == "events" else {}
    refused = role.refusal(CALLS[service], arn, keys)
    return refused or (_refusal_of_bus(role, arn, keys) if service == "events" else "")


def _keys_of_event(event: dict[str, Any]) -> dict[str, Any]:
    """The multivalued condition keys of an event.

    The documentation of bus policies says that they come with an event that a rule puts on a bus.
    We have not seen it.
    """
    return {"events:source": [event["Source"]], "events:detail-type": [event["DetailType"]]}


def _refusal_of_function(arn: str, caller: str, source: str) -> str:
    """Check the function's own policy: EventBridge calls a function without a role."""
    function, _, _ = lambda_svc._get_func_record_for_ref(arn)
    context = _context("", "lambda:InvokeFunction", arn, {"aws:sourcearn": source})
    policy = (function or {}).get("policy")
    if iam_evaluator.evaluate_resource_policy(policy, context, caller).decision == "Allow":
        return ""
    return f"the function's policy does not let {caller} call it for {source}"


def _refusal_of_bus(role: Role, bus: str, keys: dict[str, Any]) -> str:
    """A bus of another account also checks its own policy."""
    place = parse_arn(bus)
    if place.account_id == role.account:
        return ""
    context = _context(role.session, "events:PutEvents", bus, keys)
    with request_scope(place.account_id, place.region):
        policy = eventbridge._event_bus_policies.get(place.resource.partition("/")[2])
    if iam_evaluator.evaluate_resource_policy(policy, context).decision == "Allow":
        return ""
    return f"the policy of {bus} does not let {role.session} put this event on it"


def _to_any_account(dispatch: Callable[..., None]) -> Callable[..., None]:
    """MiniStack itself looks for a bus only in the rule's own account and region."""

    def dispatched(place: Any, event: Any, rule: Any, path: Any, text: str | None = None) -> None:
        if (place.account_id, place.region) == (get_account_id(), get_region()):
            dispatch(place, event, rule, path, text)
            return
        forwarded = {**event, "EventBusName": place.resource.partition("/")[2]}
        if text is not None:
            forwarded["Detail"] = text
        with request_scope(place.account_id, place.region):
            eventbridge._dispatch_event(forwarded)

    return dispatched


# Roles


class Role:
    """A role that a service assumes for a deployed resource."""

    def __init__(self, arn: str, service: str, source: str) -> None:
        spec = parse_arn(arn)
        self.account = spec.account_id
        self._name = spec.resource.rpartition("/")[2]
        self._service = service
        self._source = source
        self.session = f"arn:aws:sts::{self.account}:assumed-role/{self._name}/service"

    def refusal(self, action: str, resource: str, keys: dict[str, Any] | None = None) -> str:
        """Why an action is not allowed; empty when it is."""
        known = iam._roles.get_scoped(self.account, None, self._name)
        if known is None:
            return ""
        origin = {"aws:sourceaccount": self.account, "aws:sourcearn": self._source}
        taken = _context("", "sts:AssumeRole", "*", origin)
        trust = known["AssumeRolePolicyDocument"]
        if iam_evaluator.evaluate_resource_policy(trust, taken, self._service).decision != "Allow":
            return f"{self._service} may not take on {self._name} for {self._source}"
        context = _context(self.session, action, resource, keys or {})
        policies = iam_evaluator._gather_role_policies(self._name, self.account)
        if iam_evaluator.evaluate(context, policies).decision == "Allow":
            return ""
        return f"{self._name} is not authorized to perform: {action} on resource: {resource}"


def _context(
    principal: str, action: str, resource: str, keys: dict[str, Any]
) -> iam_evaluator.EvalContext:
    known = keys if action == "sts:AssumeRole" else supplied(action, resource, keys)
    return iam_evaluator.EvalContext(
        principal_arn=principal,
        principal_type="AssumedRole",
        principal_account=principal.split(":")[4] if principal else "",
        action=action,
        resource_arn=resource,
        region=get_region(),
        secure_transport=True,
        service_context=known,
    )
