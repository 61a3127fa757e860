"""Runs the check on the local cloud, and plants answers of AWS."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError
from local_cloud.cloud import LocalCloud

from tools.aws_check import calls, created, dry_runs, forwarding, local, roles, run, template
from tools.aws_check.account import Account, Options
from tools.aws_check.roles import Simulator
from tools.aws_check.run import CheckResult
from tools.aws_check.table import Question

HOME = "us-east-1"
LIMITS = dataclasses.replace(
    local.LIMITS, online=4, answering=1, trusted_end=3, removal=20, forwarding=2, pause=0.05
)
NOBODY_ASKS = Simulator(
    "nobody", lambda role, use: dict.fromkeys(use.actions, "allowed" if use.allowed else "denied")
)
"""For tests that are not about roles."""
EVERY_QUESTION = (
    template.TEMPLATE,
    template.STACK,
    calls.LABELLED,
    calls.RELEASE,
    calls.EVENT,
    calls.AGENTS,
    forwarding.FORWARDED,
    run.RENDERED,
    *roles.QUESTIONS.values(),
    *dry_runs.LAUNCHES,
    *run.OF_BUILDERS,
    *dry_runs.OF_SNAPSHOTS,
    created.NOTHING_LEFT,
)
EVERY_ROW = {question.name for question in EVERY_QUESTION}
FAILED_ONCE: set[str] = set()
"""The rows that a test has seen fail."""


class PlantedAnswers:
    """Plants answers of AWS by hooks in the clients, where the local cloud cannot plant them."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._cloud = cloud
        self._hooks: list[tuple[Any, str, Any]] = []

    def refuse(
        self,
        service: str,
        operation: str,
        code: str = "AccessDenied",
        message: str = "planted by a test",
        when: Callable[[dict[str, Any]], Any] = lambda params: True,
        region: str = HOME,
    ) -> None:
        """Make calls fail if their parameters satisfy `when`."""

        def hook(params: dict[str, Any], **_: Any) -> None:
            if when(params):
                error = {"Error": {"Code": code, "Message": message}}
                raise ClientError(error, operation)  # type: ignore[arg-type]

        self._register(service, f"provide-client-params.*.{operation}", hook, region)

    def answer(self, service: str, operation: str, document: dict[str, Any]) -> None:
        """Answer calls in AWS's place."""

        class Reply:
            status_code = 200

        self._register(service, f"before-call.*.{operation}", lambda **_: (Reply(), document))

    def do(self, service: str, operation: str, what: Callable[[], None]) -> None:
        """Do something before each call of an operation."""

        def hook(**_: Any) -> None:
            what()

        self._register(service, f"provide-client-params.*.{operation}", hook)

    def _register(self, service: str, event: str, hook: Any, region: str = HOME) -> None:
        events = self._cloud.client(service, region).meta.events
        events.register(event, hook)
        self._hooks.append((events, event, hook))

    def clear(self) -> None:
        """Remove everything that was planted."""
        for events, event, hook in self._hooks:
            events.unregister(event, hook)
        self._hooks.clear()


@dataclasses.dataclass
class Checks:
    """Runs the check."""

    cloud: LocalCloud
    options: Options
    account: Account
    planted: PlantedAnswers

    def run(self, simulator: Simulator = NOBODY_ASKS, **changes: Any) -> CheckResult:
        """One run with changed options; it must leave nothing, and use every planted edit."""
        ran = self.run_only(simulator, **changes)
        assert self.leftovers() == []
        edits = self.cloud.control.state()["faults"]["script_edits"]
        assert [edit["find"] for edit in edits if not edit.get("hits")] == []
        return ran

    def run_only(self, simulator: Simulator = NOBODY_ASKS, **changes: Any) -> CheckResult:
        """One run with changed options, which may leave something."""
        return run.run(self.account, dataclasses.replace(self.options, **changes), simulator)

    @property
    def authoriser(self) -> Simulator:
        """The simulator of the local cloud."""
        return local.simulator(self.cloud, self.account)

    def leftovers(self) -> list[str]:
        """Everything that a run could leave, found independently of the check."""
        ec2 = self.cloud.client("ec2")
        reservations = ec2.describe_instances()["Reservations"]
        instances = [one for reservation in reservations for one in reservation["Instances"]]
        found = [one["InstanceId"] for one in instances if one["State"]["Name"] != "terminated"]
        found += [volume["VolumeId"] for volume in ec2.describe_volumes()["Volumes"]]
        for snapshot in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]:
            # All but the planted snapshot of an earlier build.
            if not any(tag["Key"] == "frontload:stack" for tag in snapshot.get("Tags", [])):
                found.append(snapshot["SnapshotId"])
        by_path = self.cloud.client("ssm").get_parameters_by_path(
            Path=created.PARAMETERS, Recursive=True
        )
        found += [parameter["Name"] for parameter in by_path["Parameters"]]
        stacks = self.cloud.client("cloudformation").describe_stacks()["Stacks"]
        found += [one["StackName"] for one in stacks if one["StackName"].startswith(created.STACKS)]
        objects = self.cloud.client("s3").list_objects_v2(Bucket=local.BUCKET)
        return found + [one["Key"] for one in objects.get("Contents", [])]


def said(ran: CheckResult, question: Question) -> str:
    """What a row says."""
    (found,) = (row.said for row in ran.table.rows if row.name == question.name)
    return found


def holds(ran: CheckResult, *failed: Question) -> None:
    """Exactly these rows failed; each says what that means, and the exit code is 1."""
    rows = {row.name: row for row in ran.table.rows}
    told = {row.name: row.said for row in ran.table.failed}
    assert sorted(told) == sorted(one.name for one in failed), told
    for question in failed:
        row = rows[question.name]
        assert row.said and row.meaning.startswith(question.bad), row
        FAILED_ONCE.add(question.name)
    assert ran.exit_code == 1
    # Every row is reported exactly once.
    assert sorted(row.name for row in ran.table.rows) == sorted(EVERY_ROW)
