"""Refuses a function's calls to MiniStack itself that its role does not allow.

The role is the function's own, or a consumer's role that it assumed. The AWS layer does the same
for its services (`aws/permissions.py`). Here the calls are about the lease table, executions and
events.

POST /_local/grants     the used grants of functions' roles
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ministack.core import iam_evaluator

from .aws.authorization import supplied
from .aws.grants import Grant, grants_of
from .ministack import ASSUMED_TOKEN, FUNCTION_TOKEN

PREFIXES = "|".join(map(re.escape, (FUNCTION_TOKEN, ASSUMED_TOKEN)))
TOKEN = re.compile(rf"(?:{PREFIXES})(?P<role>[^/]+)")
SIGNED = re.compile(r"Credential=(?P<account>\d{12})/\d+/(?P<region>[^/]+)/")
SERVICES = {"DynamoDB_20120810": "dynamodb", "AWSStepFunctions": "states", "AWSEvents": "events"}
USED: set[Grant] = set()

Need = tuple[str, dict[str, Any]]


def refuse(headers: Mapping[str, str], body: bytes) -> dict[str, str] | None:
    """The error of a function's call that its role does not allow; None for all other calls."""
    token = TOKEN.match(headers.get("x-amz-security-token", ""))
    signed = SIGNED.search(headers.get("authorization", ""))
    prefix, _, name = headers.get("x-amz-target", "").rpartition(".")
    if not token or not signed or prefix not in SERVICES:
        return None
    role, account, region = token["role"], signed["account"], signed["region"]
    action = f"{SERVICES[prefix]}:{name}"
    policies = iam_evaluator._gather_role_policies(role, account)
    for resource, keys in _needs(SERVICES[prefix], json.loads(body), account, region):
        context = iam_evaluator.EvalContext(
            principal_arn=f"arn:aws:sts::{account}:assumed-role/{role}/function",
            principal_type="AssumedRole",
            principal_account=account,
            action=action,
            resource_arn=resource,
            region=region,
            secure_transport=True,
            service_context=supplied(action, resource, keys),
        )
        allowing = [
            one
            for policy in policies
            for one in policy
            if iam_evaluator.evaluate(context, [[one]]).decision == "Allow"
        ]
        if not allowing or iam_evaluator.evaluate(context, policies).decision != "Allow":
            message = f"{role} is not authorized to perform: {action} on resource: {resource}"
            return {"__type": "AccessDeniedException", "message": message}
        for one in allowing:
            written = {
                "Action": one.actions,
                "Resource": one.resources,
                "Condition": one.conditions,
            }
            found = grants_of(role, written)
            USED.update(grant for grant in found if grant.action == action)
    return None


def _needs(service: str, asked: dict[str, Any], account: str, region: str) -> Iterator[Need]:
    if service == "dynamodb":
        name = asked["TableName"].rpartition("/")[2]
        yield f"arn:aws:dynamodb:{region}:{account}:table/{name}", {}
    elif service == "states":
        yield asked.get("executionArn") or asked["stateMachineArn"], {}
    else:
        for entry in asked["Entries"]:
            bus = entry.get("EventBusName", "default")
            arn = (
                bus
                if bus.startswith("arn:")
                else f"arn:aws:events:{region}:{account}:event-bus/{bus}"
            )
            # Multivalued condition keys (Service Authorization Reference, ArrayOfString).
            yield (
                arn,
                {"events:source": [entry["Source"]], "events:detail-type": [entry["DetailType"]]},
            )


def take_used(_: dict[str, Any]) -> dict[str, Any]:
    """The grants that were used so far."""
    return {"used": sorted(USED)}
