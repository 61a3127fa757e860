"""`make aws-check` on the local cloud: all is well, and then each row fails in turn."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from end_to_end.conftest import new_cache
from end_to_end.stack import STACK, Frontload
from local_cloud import ACCOUNT
from local_cloud.cloud import LocalCloud
from local_cloud.images import BUSYBOX, Layout
from local_cloud.ministack import LAYER_SERVICES

from tools.aws_check import __main__ as command_line
from tools.aws_check import (
    builder,
    calls,
    created,
    dry_runs,
    forwarding,
    restored,
    roles,
    run,
    template,
)
from tools.aws_check.account import Account
from tools.aws_check.created import CreatedResources
from tools.aws_check.table import OK, SKIPPED
from tools.aws_check.uses import use

from .planting import EVERY_ROW, FAILED_ONCE, LIMITS, Checks, PlantedAnswers, holds, said

LAUNCHES_BEFORE = 4
"""Dry runs of RunInstances before the first real launch."""
POLICY = Path(command_line.__file__).with_name("policy.json")
PULL_END = "\nflush\nused_bytes="
"""Part of the real command, after all its checks."""


def policy(effect: str) -> str:
    """A policy that allows or denies everything."""
    statement = {"Effect": effect, "Action": "*", "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def is_real(params: dict[str, Any]) -> bool:
    """Whether a call is not a dry run."""
    return not params.get("DryRun")


@pytest.fixture
def as_documented(checks: Checks, cloud: LocalCloud) -> Iterator[Checks]:
    """Checks by a caller who may do only what the documented policy allows."""
    iam, name = cloud.client("iam"), "checker"
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)
    iam.put_role_policy(RoleName=name, PolicyName="Check", PolicyDocument=POLICY.read_text())
    arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
    given = cloud.client("sts").assume_role(RoleArn=arn, RoleSessionName="check")["Credentials"]
    mine = dataclasses.replace(checks)

    def client(service: str, region: str) -> Any:
        if service.upper() in LAYER_SERVICES:
            return checks.account.assumed(given, service, region)
        return cloud.client(service, region)

    account = checks.account
    mine.account = Account(client, account.region, account.run, account.progress, None, LIMITS)
    yield mine
    iam.delete_role_policy(RoleName=name, PolicyName="Check")
    iam.delete_role(RoleName=name)


def test_all_is_well_for_a_caller_with_the_documented_policy(
    as_documented: Checks, checks: Checks
) -> None:
    ran = as_documented.run(checks.authoriser)
    assert [(row.name, row.said) for row in ran.table.rows if row.outcome != OK] == []
    assert {row.name for row in ran.table.rows} == EVERY_ROW
    assert ran.exit_code == 0


# Calls that need no builder


def test_refused_calls_and_dry_runs_fail_their_rows(
    checks: Checks, planted: PlantedAnswers
) -> None:
    planted.refuse("cloudformation", "ValidateTemplate", "ValidationError", "Template format error")
    planted.refuse("events", "PutEvents")
    planted.refuse("ec2", "CopySnapshot", "UnauthorizedOperation", region="us-west-2")
    planted.refuse("ec2", "ModifySnapshotAttribute", "OperationNotPermitted")
    planted.refuse("ec2", "EnableFastSnapshotRestores", "UnauthorizedOperation")
    planted.refuse("ec2", "RunInstances", "UnauthorizedOperation")
    planted.refuse("ssm", "DescribeInstanceInformation")
    planted.refuse("ssm", "LabelParameterVersion")
    ran = checks.run(builder=False)
    holds(
        ran,
        template.TEMPLATE,
        calls.LABELLED,
        calls.EVENT,
        calls.AGENTS,
        forwarding.FORWARDED,
        *dry_runs.LAUNCHES,
        *dry_runs.OF_SNAPSHOTS,
    )
    assert "Template format error" in said(ran, template.TEMPLATE)


def test_a_throttled_call_asks_to_run_the_check_again(checks: Checks, cloud: LocalCloud) -> None:
    cloud.control.plant_call(
        "ssm", "DescribeInstanceInformation", code="ThrottlingException", status=400, count=9
    )
    ran = checks.run(builder=False)
    (row,) = ran.table.failed
    assert (row.name, ran.exit_code) == (calls.AGENTS.name, 1)
    assert "run it again" in row.meaning and "ThrottlingException" in row.said


def test_unexpected_answers_fail_their_rows(checks: Checks, planted: PlantedAnswers) -> None:
    wrong = {"Parameter": {"Value": "of version 2", "Version": 2}}
    planted.answer("ssm", "GetParameter", wrong)
    failed = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "NotAuthorizedForSource"}]}
    planted.answer("events", "PutEvents", failed)
    # EC2 does it, although it should be a dry run.
    planted.answer("ec2", "EnableFastSnapshotRestores", {})
    ran = checks.run(builder=False, image="registry.example.com/Capitals:v1")
    assert "names version 2" in said(ran, calls.LABELLED)
    assert "NotAuthorizedForSource" in said(ran, calls.EVENT)
    assert "did not take it for a dry run" in said(ran, dry_runs.FAST)
    holds(ran, calls.LABELLED, calls.EVENT, forwarding.FORWARDED, dry_runs.FAST, run.RENDERED)


def test_a_missing_forwarded_event_or_stack_fails_its_row(
    checks: Checks, planted: PlantedAnswers
) -> None:
    def edit(params: dict[str, Any]) -> bool:
        asked = params["TemplateBody"]
        params["TemplateBody"] = asked.replace("events:source: frontload.check", "events:source: x")
        assert params["TemplateBody"] != asked
        return False

    planted.refuse("cloudformation", "CreateStack", when=edit)
    ran = checks.run(builder=False)
    holds(ran, forwarding.FORWARDED)
    assert "did not come within 2 s; the last look: the queue is empty" in said(
        ran, forwarding.FORWARDED
    )
    planted.clear()
    planted.refuse("cloudformation", "CreateStack", "InsufficientCapabilitiesException", "no")
    holds(checks.run(builder=False), forwarding.FORWARDED)


def test_no_bottlerocket_and_no_stack(checks: Checks) -> None:
    holds(checks.run(variant="aws-k8s-0.1"), calls.RELEASE)
    holds(checks.run(stack="another"), template.STACK)


def test_a_large_template_without_a_bucket_is_skipped_with_the_remedy(checks: Checks) -> None:
    ran = checks.run(builder=False, template_bucket=None)
    (row,) = (row for row in ran.table.rows if row.name == template.TEMPLATE.name)
    assert (row.outcome, ran.exit_code) == (SKIPPED, 0)
    assert "must come from S3" in row.said and "--template-bucket" in row.meaning
    ran = checks.run(builder=False, template_bucket=None, template=Path("/nowhere"))
    assert "make build" in next(iter(ran.table.rows)).meaning


def test_an_authorization_failure_is_decoded_where_that_is_allowed(
    checks: Checks, planted: PlantedAnswers
) -> None:
    message = "You are not authorized. Encoded authorization failure message: 0a1b2c"
    planted.refuse("ec2", "RunInstances", "UnauthorizedOperation", message)
    context = {"action": "ec2:RunInstances", "resource": "arn:aws:ec2:::subnet/subnet-1"}
    told = json.dumps({"explicitDeny": True, "context": context})
    planted.refuse("sts", "DecodeAuthorizationMessage")
    ran = checks.run(builder=False)
    assert "DecodeAuthorizationMessage is not allowed" in said(ran, dry_runs.FULL)
    planted.clear()
    planted.refuse("ec2", "RunInstances", "UnauthorizedOperation", message)
    planted.answer("sts", "DecodeAuthorizationMessage", {"DecodedMessage": told})
    ran = checks.run(builder=False)
    assert "ec2:RunInstances on arn:aws:ec2:::subnet/subnet-1 is explicitly denied" in said(
        ran, dry_runs.FULL
    )
    assert "0a1b2c" not in said(ran, dry_runs.FULL)


# Roles


@pytest.fixture
def role_names(cloud: LocalCloud) -> dict[str, str]:
    """The names of the stack's roles, by their logical id."""
    found = cloud.client("cloudformation").list_stack_resources(StackName=STACK)
    ids = {one["LogicalResourceId"]: one for one in found["StackResourceSummaries"]}
    return {role: ids[role]["PhysicalResourceId"] for role in roles.QUESTIONS}


def test_every_role_without_its_permissions_fails_its_row(
    checks: Checks, cloud: LocalCloud, role_names: dict[str, str]
) -> None:
    iam = cloud.client("iam")
    for name in role_names.values():
        iam.put_role_policy(RoleName=name, PolicyName="Planted", PolicyDocument=policy("Deny"))
    try:
        ran = checks.run(checks.authoriser, builder=False)
    finally:
        for name in role_names.values():
            iam.delete_role_policy(RoleName=name, PolicyName="Planted")
    holds(ran, *roles.QUESTIONS.values())
    assert "ec2:TerminateInstances on " in said(ran, roles.QUESTIONS["EndRole"])


def test_an_overprivileged_or_missing_role_fails_its_row(
    checks: Checks, cloud: LocalCloud, planted: PlantedAnswers, role_names: dict[str, str]
) -> None:
    iam, name = cloud.client("iam"), role_names["ReplicateRole"]
    iam.put_role_policy(RoleName=name, PolicyName="Planted", PolicyDocument=policy("Allow"))
    pages = cloud.client("cloudformation").list_stack_resources(StackName=STACK)
    left = [
        one for one in pages["StackResourceSummaries"] if one["LogicalResourceId"] != "PullRole"
    ]
    planted.answer("cloudformation", "ListStackResources", {"StackResourceSummaries": left})
    try:
        ran = checks.run(checks.authoriser, builder=False)
    finally:
        iam.delete_role_policy(RoleName=name, PolicyName="Planted")
    holds(ran, roles.QUESTIONS["ReplicateRole"], roles.QUESTIONS["PullRole"])
    assert "is allowed and must not be" in said(ran, roles.QUESTIONS["ReplicateRole"])
    assert "the stack has no PullRole" in said(ran, roles.QUESTIONS["PullRole"])


def test_a_role_that_trusts_this_account_is_assumed(
    checks: Checks, cloud: LocalCloud, role_names: dict[str, str]
) -> None:
    iam, name = cloud.client("iam"), role_names["LaunchRole"]
    before = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    us = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    trust = {"Version": "2012-10-17", "Statement": [us]}
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(trust))
    question = roles.QUESTIONS["LaunchRole"]
    try:
        assert "assumed for 2 dry runs" in said(checks.run(builder=False), question)
        iam.put_role_policy(RoleName=name, PolicyName="Planted", PolicyDocument=policy("Deny"))
        ran = checks.run(builder=False)
    finally:
        iam.delete_role_policy(RoleName=name, PolicyName="Planted")
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(before))
    holds(ran, question)
    assert "ec2:RunInstances in its name: UnauthorizedOperation" in said(ran, question)


def test_iam_simulates_the_roles_with_their_context_keys(
    checks: Checks, planted: PlantedAnswers, role_names: dict[str, str]
) -> None:
    decide = roles.iam_simulator(checks.account).decide
    pull = role_names["PullRole"]
    assert decide(pull, use("ec2:DescribeInstances ec2:RunInstances")) == {
        "ec2:DescribeInstances": "allowed",
        "ec2:RunInstances": "implicitDeny",
    }
    assert [
        roles.context_entry(name, value)["ContextKeyType"]
        for name, value in {"a": "b", "c": True, "d": 1, "e": ["f"]}.items()
    ] == ["string", "boolean", "numeric", "stringList"]
    organization = {"OrganizationsDecisionDetail": {"AllowedByOrganizations": False}}
    result = {"EvalActionName": "a:B", "EvalDecision": "explicitDeny", **organization}
    planted.answer("iam", "SimulatePrincipalPolicy", {"EvaluationResults": [result]})
    assert decide(pull, use("a:B")) == {"a:B": "explicitDeny, by a service control policy"}


# The small builders


def test_the_launch_request_equals_frontloads(
    checks: Checks, cloud: LocalCloud, tmp_path: Path
) -> None:
    layout = Layout(tmp_path)
    layout.add_image("app", [BUSYBOX])
    frontload = Frontload(cloud, layout)
    with new_cache(frontload) as cache:
        cache.push()
        cache.put(builder={"volumeGib": checks.options.volume_gib, "publicIp": True})
        execution = frontload.run(cache.name)
    asked = [call["parameters"] for call in cloud.control.calls(action="RunInstances")]
    own = next(one for one in asked if not one["ClientToken"].startswith("frontload-check"))
    checks.run(builder=False)
    asked = [call["parameters"] for call in cloud.control.calls(action="RunInstances")]
    ours = next(one for one in asked if one["ClientToken"].endswith("-default-network"))
    assert execution.status == "SUCCEEDED", execution.cause
    assert comparable(ours) == comparable(own)


def comparable(request: dict[str, Any]) -> dict[str, Any]:
    """A request without what differs in each: token, tags' values, and the dry run."""
    kinds = [one["ResourceType"] for one in request["TagSpecifications"]]
    others = {"ClientToken": "", "DryRun": None, "TagSpecifications": kinds}
    return {name: value for name, value in {**request, **others}.items() if value is not None}


def test_a_launch_with_a_lost_answer_leaves_nothing(checks: Checks, cloud: LocalCloud) -> None:
    cloud.control.plant_call("ec2", "RunInstances", when="after", skip=LAUNCHES_BEFORE, count=9)
    ran = checks.run()
    holds(ran, builder.LAUNCHED)
    lives = cloud.control.state()["instances"].values()
    mine = [one["state"] for one in lives if one["tags"].get(created.TAG) == checks.account.run]
    assert mine == ["terminated"]


def test_a_builder_that_never_comes_online(checks: Checks, cloud: LocalCloud) -> None:
    cloud.control.plant(instances_never_online=1)
    ran = checks.run()
    holds(ran, builder.ONLINE)
    assert "did not come within" in said(ran, builder.ONLINE)


def test_an_admin_container_that_does_not_answer(checks: Checks, cloud: LocalCloud) -> None:
    edit = {"find": "apiclient exec admin true", "replace": "echo not running; exit 1"}
    cloud.control.plant(script_edits=[edit])
    ran = checks.run()
    holds(ran, builder.ANSWERS, restored.LAUNCHED)
    assert "not running" in said(ran, builder.ANSWERS)


def test_a_program_that_is_missing_and_a_command_that_fails(
    checks: Checks, cloud: LocalCloud, planted: PlantedAnswers
) -> None:
    edits = [
        {"find": "\nprograms='", "replace": "\nprograms='no-such-program "},
        {"find": "\nrequire_store\n", "replace": "\nfail store '' planted\n"},
    ]
    cloud.control.plant(script_edits=edits)
    planted.refuse("ec2", "ModifyInstanceAttribute", when=lambda params: not is_real(params))
    planted.refuse("ec2", "CreateSnapshot", when=lambda params: not is_real(params))
    ran = checks.run()
    holds(ran, builder.LISTED, builder.PULLED, dry_runs.KEEP, dry_runs.SNAPSHOT)
    assert "no-such-program" in said(ran, builder.LISTED)
    assert "store: planted" in said(ran, builder.PULLED)


def test_a_builder_that_leaves_traces_and_no_image(checks: Checks, cloud: LocalCloud) -> None:
    edits = [
        {"find": "\nset_last_scrub\n", "replace": "\n"},
        {
            "find": PULL_END,
            "replace": f"\nctr images rm {checks.options.image} >/dev/null{PULL_END}",
        },
    ]
    cloud.control.plant(script_edits=edits)
    ran = checks.run()
    holds(ran, restored.HELD, restored.IMAGE, restored.STARTS)
    assert "/local/host-containers/" in said(ran, restored.HELD)


def test_a_volume_that_goes_with_its_instance(checks: Checks, planted: PlantedAnswers) -> None:
    planted.refuse("ec2", "ModifyInstanceAttribute", when=is_real)
    holds(checks.run(), builder.STAYS)


def test_an_end_that_takes_too_long(checks: Checks, cloud: LocalCloud) -> None:
    cloud.control.plant(slow_ends=[2.5])
    checks.account.limits = dataclasses.replace(LIMITS, trusted_end=2)
    ran = checks.run()
    holds(ran, builder.ENDS)
    assert "only after" in said(ran, builder.ENDS)


def test_a_failed_snapshot_that_cannot_be_deleted(
    checks: Checks, cloud: LocalCloud, planted: PlantedAnswers, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.control.plant(snapshots_to_fail=1)
    planted.refuse("ec2", "DeleteSnapshot", "UnauthorizedOperation")
    ran = checks.run_only()
    holds(ran, builder.SNAPSHOTTED, created.NOTHING_LEFT)
    (left,) = checks.leftovers()
    assert left in said(ran, created.NOTHING_LEFT)
    planted.clear()
    found = CreatedResources(checks.account).find()
    assert [(thing.kind, thing.id, thing.run) for thing in found] == [
        ("snapshot", left, checks.account.run)
    ]
    agreed(command_line.clean_up, checks)
    assert checks.leftovers() == []
    assert left in capsys.readouterr().err


def agreed(work: Callable[..., int], checks: Checks, *more: Any) -> None:
    """Call `work` as a user who types the account's id."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", Terminal(f"{checks.account.id}\n"))
        assert work(checks.account, checks.options, *more) == 0


class Terminal(io.StringIO):
    """Standard input of a user at a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_signal_ends_the_check_and_everything_is_removed(
    checks: Checks, planted: PlantedAnswers
) -> None:
    planted.do("ec2", "TerminateInstances", lambda: os.kill(os.getpid(), signal.SIGTERM))
    ran = checks.run()
    assert (ran.interrupted, ran.exit_code) == (True, 130)
    assert ran.table.outcome(builder.ENDS.name) == ""
    assert ran.table.outcome(created.NOTHING_LEFT.name) == OK


def test_a_crash_of_the_check_keeps_the_answers(
    checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "ask_roles", lambda *arguments: 1 / 0)
    ran = checks.run()
    assert [row.name for row in ran.table.failed] == [run.MISTAKE.name]
    assert ran.table.outcome(calls.LABELLED.name) == OK
    assert (ran.table.outcome(created.NOTHING_LEFT.name), ran.exit_code) == (OK, 1)


# The question before the run


def test_nothing_is_asked_without_a_terminal_or_with_another_account(
    checks: Checks, cloud: LocalCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    given = command_line.parsed(["--no-builder"])
    before = len(cloud.control.calls())
    for stdin in (io.StringIO(f"{checks.account.id}\n"), Terminal("999999999999\n")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdin", stdin)
            assert command_line.check(checks.account, checks.options, given) == 2
    told = capsys.readouterr()
    assert told.out == "" and checks.account.id in told.err and "cents" in told.err
    done = {call["action"] for call in cloud.control.calls()[before:]}
    assert {one for one in done if not one.startswith(("Describe", "Get"))} == set()


def test_the_table_is_printed_as_markdown_and_as_json(
    checks: Checks, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = checks.run(builder=False)
    monkeypatch.setattr(command_line, "run", lambda account, options: ran)
    agreed(command_line.check, checks, command_line.parsed(["--output", "json"]))
    document = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in document["rows"]} == EVERY_ROW
    assert (document["account"], document["run"]) == (checks.account.id, checks.account.run)
    agreed(command_line.check, checks, command_line.parsed([]))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| row | outcome | what was asked | what AWS said |")
    rows = [line.removeprefix("| ").split(" | ")[0] for line in lines[2:] if line[:1] == "|"]
    assert set(rows) == EVERY_ROW
    assert lines[-1].endswith(" skipped.") and " 0 failed, " in lines[-1]


def test_every_row_failed_in_some_test() -> None:
    if not FAILED_ONCE:
        pytest.skip("only when all of this file runs")
    assert sorted(EVERY_ROW - FAILED_ONCE) == []
