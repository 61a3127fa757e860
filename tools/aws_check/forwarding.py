"""Checks that an event that a rule forwards has the condition keys that Frontload's bus demands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .account import Account
from .calls import put_event
from .created import STACKS, TAG, CreatedResources
from .table import Answer, CheckError, Question, Table

TEMPLATE = Path(__file__).with_name("forwarding.yaml")
FORWARDED = Question(
    "event by a rule",
    "cloudformation:CreateStack of a bus, two rules, a queue, and a role that may put events on the"
    " bus only with events:source and events:detail-type; events:PutEvents, sqs:ReceiveMessage",
    "Frontload's bus takes the pushes that source accounts forward.",
    "Pushes of source accounts are refused: they wait in the dead-letter queues there.",
)


def ask_forwarding(account: Account, table: Table, created: CreatedResources) -> None:
    """Ask the row of the forwarded event."""
    table.ask(FORWARDED, lambda: _forwarded(account, created))


def _forwarded(account: Account, created: CreatedResources) -> Answer:
    name = f"{STACKS}{account.run}"
    limits = account.limits
    created.note("stack", name)
    account.client("cloudformation").create_stack(
        StackName=name,
        TemplateBody=TEMPLATE.read_text(),
        Capabilities=["CAPABILITY_IAM"],
        Tags=[{"Key": TAG, "Value": account.run}],
    )
    queue = account.progress.wait_for(
        "the stack", lambda: _queue(account, name), limits.stack, limits.pause
    )
    # A new role takes a while to be known everywhere, so every look puts the event again.
    account.progress.wait_for(
        "a forwarded event",
        lambda: _arrival(account, name, queue),
        limits.forwarding,
        limits.pause,
    )
    return Answer("a forwarded event came with events:source and events:detail-type")


def _queue(account: Account, name: str) -> tuple[str | None, str]:
    (stack,) = account.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    status = stack["StackStatus"]
    if status == "CREATE_COMPLETE":
        return stack["Outputs"][0]["OutputValue"], status
    if status != "CREATE_IN_PROGRESS":
        raise CheckError(f"the stack is {status}: {stack.get('StackStatusReason', 'no reason')}")
    return None, status


def _arrival(account: Account, name: str, queue: str) -> tuple[Any, str]:
    put_event(account, name)
    found = account.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
    bodies = [json.loads(one["Body"]) for one in found.get("Messages", [])]
    mine = [body for body in bodies if body["detail"]["run"] == name]
    return (mine or None), "the queue is empty"
