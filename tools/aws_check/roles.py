"""Checks that each role of the deployed stack may do what it is used for, and no misuse.

The roles trust only services. If a role also trusts this account, the check assumes it and makes
dry runs in its name. Everything else is simulated (iam:SimulatePrincipalPolicy).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from botocore import xform_name
from botocore.exceptions import ClientError

from .account import DENIED, Account, code_of
from .names import Names
from .table import Answer, CheckError, Question, Table
from .template import Stack
from .uses import ROLES, Use

Decisions = dict[str, str]
"""By action: `allowed`, or how it is denied."""


class Simulator(NamedTuple):
    """Decides what a role, given by its name, may do."""

    name: str
    decide: Callable[[str, Use], Decisions]


DryRun = Callable[[Any], str]
"""Makes a dry run with a client of EC2; returns the code of AWS's answer."""
WHAT_FAILS = {
    "BuilderRole": "The builder does not come online, or pulls nothing.",
    "BuildStateMachineRole": "A build fails at the first function that it may not call.",
    "PipelineStateMachineRole": "No build is started or followed.",
    "ImageActionRuleRole": "A push starts nothing; its event goes to the dead-letter queue.",
    "ReconcileScheduleRole": "No cache is compared with its registries.",
    "ReapScheduleRole": "What a stopped build left behind is not removed.",
}


def _question(role: str) -> Question:
    function = role.removesuffix("Role")
    bad = WHAT_FAILS.get(role, f"Frontload's {function} function fails at this call.")
    return Question(
        f"role {role}",
        "what it may do: every action and resource that it is used for, and some misuses",
        "The role may do what it is used for, and no misuse that was tried.",
        f"{bad} Where a misuse is allowed, the role may do more than it must.",
    )


QUESTIONS = {role: _question(role) for role in ROLES}


def ask_roles(
    account: Account,
    stack: Stack,
    names: Names,
    table: Table,
    simulator: Simulator,
    launch: DryRun,
) -> None:
    """Ask a row for each role."""
    for number, (role, question) in enumerate(QUESTIONS.items(), 1):
        account.progress.show(f"role {number} of {len(QUESTIONS)}: {role}")
        asked = _Role(account, stack, role, names, simulator, launch)
        table.ask(question, asked.judge)


def iam_simulator(account: Account) -> Simulator:
    """IAM's own simulator."""
    iam = account.client("iam")

    def simulate(role: str, use: Use) -> Decisions:
        arn = f"arn:{account.partition}:iam::{account.id}:role/{role}"
        pages = iam.get_paginator("simulate_principal_policy").paginate(
            PolicySourceArn=arn,
            ActionNames=list(use.actions),
            ResourceArns=[use.resource],
            ContextEntries=[context_entry(name, value) for name, value in use.keys.items()],
        )
        results = [one for page in pages for one in page["EvaluationResults"]]
        return {one["EvalActionName"]: _decision(one) for one in results}

    return Simulator("iam:SimulatePrincipalPolicy", simulate)


def context_entry(name: str, value: Any) -> dict[str, Any]:
    """A condition key in the form of IAM's simulator."""
    kinds = {bool: "boolean", int: "numeric", list: "stringList", str: "string"}
    values = value if isinstance(value, list) else [str(value).lower() if value is True else value]
    return {
        "ContextKeyName": name,
        "ContextKeyValues": [str(one) for one in values],
        "ContextKeyType": kinds[type(value)],
    }


def _decision(result: dict[str, Any]) -> str:
    decision = result["EvalDecision"]
    organizations = result.get("OrganizationsDecisionDetail", {})
    boundary = result.get("PermissionsBoundaryDecisionDetail", {})
    if organizations.get("AllowedByOrganizations") is False:
        return f"{decision}, by a service control policy"
    if boundary.get("AllowedByPermissionsBoundary") is False:
        return f"{decision}, by the permissions boundary"
    return decision


class _Role:
    """One role of the stack."""

    def __init__(
        self,
        account: Account,
        stack: Stack,
        role: str,
        names: Names,
        simulator: Simulator,
        launch: DryRun,
    ) -> None:
        self._account = account
        self._role = role
        self._name = stack.ids.get(role)
        self._uses = ROLES[role](names)
        self._simulator = simulator
        self._launch = launch

    def judge(self) -> Answer:
        """Check the role.

        Raises CheckError when it is missing, a use is denied, or a misuse is allowed.
        """
        if self._name is None:
            raise CheckError(
                f"the stack has no {self._role}: it was deployed from another version than this"
            )
        trust = self._account.client("iam").get_role(RoleName=self._name)
        trust = trust["Role"]["AssumeRolePolicyDocument"]
        services = ", ".join(sorted(trusted_services(trust)))
        by = self._simulator.name
        how = f"simulated by {by}, as {services} alone may assume it"
        wrong = list(self._wrong())
        if trusts_accounts(trust):
            count, denied = self._dry_runs()
            how = f"assumed for {count} dry runs, and the rest simulated by {by}"
            wrong += denied
        if wrong:
            raise CheckError(f"{how}: {'; '.join(wrong)}", "\n".join(wrong))
        good = sum(len(use.actions) for use in self._uses if use.allowed)
        bad = sum(len(use.actions) for use in self._uses if not use.allowed)
        return Answer(f"{how}: allowed {counted(good, 'use')}, denied {counted(bad, 'misuse')}")

    def _wrong(self) -> Iterator[str]:
        for use in self._uses:
            decisions = self._simulator.decide(str(self._name), use)
            for action in use.actions:
                decision = decisions.get(action, "not answered")
                if use.allowed and decision != "allowed":
                    yield f"{action} on {use.resource}: {decision}"
                elif not use.allowed and decision == "allowed":
                    keys = ", ".join(f"{name}={value}" for name, value in use.keys.items())
                    yield f"{action} on {use.resource} is allowed and must not be ({keys})"

    def _dry_runs(self) -> tuple[int, list[str]]:
        """Make dry runs as the role: its Describe calls, and the launch if it is LaunchRole.

        Returns how many, and those that were denied.
        """
        ec2 = self._assumed()
        calls = {"ec2:RunInstances": self._launch} if self._role == "LaunchRole" else {}
        for use in self._uses:
            for action in use.actions:
                operation = xform_name(action.partition(":")[2])
                if action.startswith("ec2:Describe") and _needs_nothing(ec2, action):
                    calls[action] = _look(operation)
        codes = {action: call(ec2) for action, call in calls.items()}
        denied = [f"{action} in its name: {code}" for action, code in codes.items()]
        return len(codes), [one for one in denied if one.rpartition(" ")[2] in DENIED]

    def _assumed(self) -> Any:
        arn = f"arn:{self._account.partition}:iam::{self._account.id}:role/{self._name}"
        given = self._account.client("sts").assume_role(
            RoleArn=arn, RoleSessionName="frontload-check", DurationSeconds=900
        )["Credentials"]
        return self._account.assumed(given, "ec2")


def counted(count: int, noun: str) -> str:
    """A number with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def trusts_accounts(trust: dict[str, Any]) -> bool:
    """Whether a trust policy lets anybody but services assume the role."""
    return any(
        one["Principal"] == "*" or "AWS" in one["Principal"]
        for one in trust["Statement"]
        if one["Effect"] == "Allow"
    )


def trusted_services(trust: dict[str, Any]) -> set[str]:
    """The services that a trust policy names."""
    found: set[str] = set()
    for one in trust["Statement"]:
        named = one["Principal"].get("Service", []) if isinstance(one["Principal"], dict) else []
        found.update([named] if isinstance(named, str) else named)
    return found


def _needs_nothing(ec2: Any, action: str) -> bool:
    model = ec2.meta.service_model.operation_model(action.partition(":")[2])
    return not model.input_shape.required_members


def _look(operation: str) -> DryRun:
    def look(ec2: Any) -> str:
        try:
            getattr(ec2, operation)(DryRun=True)
        except ClientError as error:
            return code_of(error)
        return "no answer to a dry run"

    return look
