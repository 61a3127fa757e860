"""Whether a policy document allows a caller an action, by MiniStack's evaluator.

For a resource's policy, `arn:aws:iam::<account>:root` stands for all principals of the account.
A policy sees only the condition keys that AWS supplies to the action for the resource.
"""

from __future__ import annotations

from typing import Any

from ministack.core.iam_evaluator import (
    EvalContext,
    evaluate,
    evaluate_resource_policy,
    evaluate_trust_policy,
)

from .authorization import supplied
from .cloud_state import Role


def resource_allows(
    policy: str | dict[str, Any],
    account: str,
    action: str,
    resource: str,
    region: str,
    keys: dict[str, Any],
) -> bool:
    """Whether a resource's policy allows the account the action. `keys` are condition keys."""
    context = _context(_root(account), account, action, resource, region, keys)
    return evaluate_resource_policy(policy, context).decision == "Allow"


def trust_allows(
    policy: dict[str, Any], caller: str, role_arn: str, region: str, keys: dict[str, str]
) -> bool:
    """Whether a role's trust policy allows the caller, given by ARN, to assume it."""
    account = caller.split(":")[4]
    context = _context(caller, account, "sts:AssumeRole", role_arn, region, keys)
    return evaluate_trust_policy(policy, caller, context)


def statements_allowing(
    role: Role, caller_arn: str, action: str, resource: str, region: str, keys: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the statements of a role's policies that allow the action; [] when one denies it."""
    account = caller_arn.split(":")[4]
    context = _context(caller_arn, account, action, resource, region, keys)
    if evaluate(context, [parsed for _, parsed in role.statements]).decision != "Allow":
        return []
    return [
        statement
        for statement, parsed in role.statements
        if evaluate(context, [parsed]).decision == "Allow"
    ]


def _root(account: str) -> str:
    return f"arn:aws:iam::{account}:root"


def _context(
    caller: str, account: str, action: str, resource: str, region: str, keys: dict[str, Any]
) -> EvalContext:
    return EvalContext(
        principal_arn=caller,
        principal_type="AssumedRole" if ":assumed-role/" in caller else "Root",
        principal_account=account,
        action=action,
        resource_arn=resource,
        region=region,
        secure_transport=True,
        service_context={
            name.lower(): value for name, value in supplied(action, resource, keys).items()
        },
    )
