"""Who may assume the two roles of a consumer's account, and who does."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from ministack.core.iam_evaluator import fnmatch_iam

from .resolution import resolve, translate
from .templates import load_template

ACCOUNT = "123456789012"
STACK = "frontload"
# CloudFormation adds this many characters to the end of the names that it generates.
ENDINGS = ["X" * length for length in (12, 13)]
STACKS = [STACK, f"{STACK}-PublishRole", f"{STACK}-PublishRole-a", f"{STACK}-a", f"{STACK}s", "a"]


def trust_of(role: str, partition: str = "aws", **given: str) -> dict[str, Any]:
    """The trust policy of a consumer's role."""
    wanted = {"FrontloadAccount": ACCOUNT, "FrontloadStack": STACK, "ExternalId": "agreed", **given}
    made = resolve(translate("consumer"), partition, **wanted)
    return made[role]["Properties"]["AssumeRolePolicyDocument"]


def roles_of(resources: dict[str, Any]) -> list[str]:
    return [name for name, one in resources.items() if one["Type"] == "AWS::IAM::Role"]


@pytest.mark.parametrize(
    ("role", "policy"),
    [("ConsumerRole", "ConsumersPolicy"), ("ReaderRole", "ConsumersReadPolicy")],
)
def test_only_the_roles_of_our_stack_that_need_it_can_assume_a_consumer_role(
    role: str, policy: str
) -> None:
    home = load_template("template")["Resources"]
    askers = {one["!Ref"] for one in home[policy]["Properties"]["Roles"]}
    (statement,) = trust_of(role)["Statement"]
    patterns = statement["Condition"]["ArnLike"]["aws:PrincipalArn"]
    trusted = {
        (stack, name)
        for stack, name, ending in itertools.product(STACKS, [*roles_of(home), "A"], ENDINGS)
        if any(
            fnmatch_iam(f"arn:aws:iam::{ACCOUNT}:role/{stack}-{name}-{ending}", one)
            for one in patterns
        )
    }
    assert trusted == {(STACK, asker) for asker in askers}


@pytest.mark.parametrize("role", ["ConsumerRole", "ReaderRole"])
def test_a_trust_policy_is_short_enough_for_iam_with_the_longest_stack_name_and_id(
    role: str,
) -> None:
    longest = {"FrontloadStack": "s" * 32, "ExternalId": "x" * 512}
    for name, text in longest.items():
        pattern = load_template("consumer")["Parameters"][name]["AllowedPattern"]
        assert (bool(re.fullmatch(pattern, text)), re.fullmatch(pattern, f"{text}x")) == (
            True,
            None,
        )
    trust = trust_of(role, "aws-us-gov", **longest)
    # IAM user guide, "IAM and AWS STS quotas"; white space does not count.
    assert len(json.dumps(trust, separators=(",", ":"))) <= 2048


def test_planning_roles_cannot_write_in_a_consumers_account() -> None:
    home = load_template("template")["Resources"]
    publish, read = (
        {one["!Ref"] for one in home[policy]["Properties"]["Roles"]}
        for policy in ("ConsumersPolicy", "ConsumersReadPolicy")
    )
    assert publish & read == set()
    assert {"PlanRole", "ClaimRole", "PreflightRole"} <= read
    (reads,) = load_template("consumer")["Resources"]["ReaderRole"]["Properties"]["Policies"]
    assert {one["Action"] for one in reads["PolicyDocument"]["Statement"]} == {"ssm:GetParameter"}
