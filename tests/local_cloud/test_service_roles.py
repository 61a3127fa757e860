"""State machines, rules, schedules and buses do what their roles and policies allow, no more."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import ACCOUNT, REGION
from .cloud import LocalCloud
from .conftest import CONSUMER, wait_until

_numbers = itertools.count(1)
Deploy = Callable[..., dict[str, str]]
END = {"StartAt": "End", "States": {"End": {"Type": "Succeed"}}}
RULE_OF_SYNC = (
    f"arn:aws:events:{REGION}:{ACCOUNT}:rule/StepFunctionsGetEventsForStepFunctionsExecutionRule"
)
FOLLOW = [
    {
        "Effect": "Allow",
        "Action": ["states:DescribeExecution", "states:StopExecution"],
        "Resource": f"arn:aws:states:{REGION}:{ACCOUNT}:execution:*",
    },
    {
        "Effect": "Allow",
        "Action": ["events:PutTargets", "events:PutRule", "events:DescribeRule"],
        "Resource": RULE_OF_SYNC,
    },
]


def role(service: str, *statements: dict[str, Any], **condition: Any) -> dict[str, Any]:
    """A role that a service may assume, with these statements."""
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sts:AssumeRole",
        **({"Condition": condition} if condition else {}),
    }
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
            "Policies": [{"PolicyName": "own", "PolicyDocument": document}] if statements else [],
        },
    }


def machine(definition: dict[str, Any], of: str) -> dict[str, Any]:
    """A state machine with a role of the template."""
    return {
        "Type": "AWS::StepFunctions::StateMachine",
        "Properties": {
            "RoleArn": {"Fn::GetAtt": [of, "Arn"]},
            "DefinitionString": {"Fn::Sub": json.dumps(definition)},
        },
    }


def may(action: str, resource: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource}


@pytest.fixture
def deploy(cloud: LocalCloud, tmp_path: Path) -> Deploy:
    """Deploys resources as a stack in an account; returns the `Ref` of each by name."""

    def deployed(resources: dict[str, Any], account: str = ACCOUNT) -> dict[str, str]:
        outputs = {name: {"Value": {"Ref": name}} for name in resources}
        template = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}
        (tmp_path / "template.yaml").write_text(json.dumps({**template, "Outputs": outputs}))
        stack = f"service-roles-{next(_numbers)}"
        cloud.deploy(tmp_path, stack=stack, account=account)
        formation = cloud.client("cloudformation", account=account)
        (shown,) = formation.describe_stacks(StackName=stack)["Stacks"]
        return {one["OutputKey"]: one["OutputValue"] for one in shown["Outputs"]}

    return deployed


# Tasks


@pytest.mark.parametrize(
    ("statements", "error"),
    [
        ([may("states:StartExecution", {"Ref": "Inner"}), *FOLLOW], None),
        ([may("states:StartExecution", {"Ref": "Inner"}), FOLLOW[0]], "events:PutTargets"),
        (FOLLOW, "states:StartExecution"),
    ],
    ids=["all", "without the rule", "without the start"],
)
def test_a_task_runs_only_if_the_state_machines_role_allows_it(
    cloud: LocalCloud, deploy: Deploy, statements: list[dict[str, Any]], error: str | None
) -> None:
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::states:startExecution.sync:2",
        "Parameters": {"StateMachineArn": "${Inner}", "Input": {}},
        "End": True,
    }
    made = deploy(
        {
            "Nothing": role("states.amazonaws.com"),
            "Inner": machine(END, "Nothing"),
            "Starter": role("states.amazonaws.com", *statements),
            "Outer": machine({"StartAt": "Start", "States": {"Start": task}}, "Starter"),
        }
    )
    sfn = cloud.client("stepfunctions")
    arn = sfn.start_execution(stateMachineArn=made["Outer"], input="{}")["executionArn"]
    wait_until(lambda: sfn.describe_execution(executionArn=arn)["status"] != "RUNNING")
    ended = sfn.describe_execution(executionArn=arn)
    if error is None:
        assert ended["status"] == "SUCCEEDED", ended.get("cause")
    else:
        assert (ended["status"], ended["error"]) == ("FAILED", "States.Permissions")
        assert error in ended["cause"]


def test_a_state_machine_with_a_role_for_another_service_can_do_nothing(
    cloud: LocalCloud, deploy: Deploy
) -> None:
    invoke = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"},
        "End": True,
    }
    made = deploy(
        {
            "Wrong": role("lambda.amazonaws.com", may("lambda:InvokeFunction", "*")),
            "Machine": machine({"StartAt": "Call", "States": {"Call": invoke}}, "Wrong"),
        }
    )
    sfn = cloud.client("stepfunctions")
    arn = sfn.start_execution(stateMachineArn=made["Machine"], input="{}")["executionArn"]
    wait_until(lambda: sfn.describe_execution(executionArn=arn)["status"] != "RUNNING")
    assert "may not take on" in sfn.describe_execution(executionArn=arn)["cause"]


# Rules and schedules


def queued(cloud: LocalCloud, queue: str) -> list[dict[str, Any]]:
    """The messages of a queue in the home account."""
    found = cloud.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
    return [json.loads(one["Body"]) for one in found.get("Messages", [])]


def put(cloud: LocalCloud, source: str, account: str = ACCOUNT) -> None:
    """Put an event on an account's default bus."""
    event = {
        "version": "0",
        "id": "1",
        "detail-type": "Tried",
        "source": source,
        "account": account,
        "time": "2026-01-01T00:00:00Z",
        "region": REGION,
        "resources": [],
        "detail": {"n": 1},
    }
    cloud.send_event(event, account)


@pytest.mark.parametrize("allowed", [True, False])
def test_an_event_without_permission_for_its_target_goes_to_the_dead_letter_queue(
    cloud: LocalCloud, deploy: Deploy, allowed: bool
) -> None:
    source = f"roles.{next(_numbers)}"
    own = may("states:StartExecution", {"Ref": "Machine"} if allowed else "arn:aws:states:::other")
    target = {
        "Id": "machine",
        "Arn": {"Ref": "Machine"},
        "RoleArn": {"Fn::GetAtt": ["Caller", "Arn"]},
        "DeadLetterConfig": {"Arn": {"Fn::GetAtt": ["Queue", "Arn"]}},
    }
    made = deploy(
        {
            "Nothing": role("states.amazonaws.com"),
            "Machine": machine(END, "Nothing"),
            "Queue": {"Type": "AWS::SQS::Queue"},
            "Caller": role("events.amazonaws.com", own),
            "Rule": {
                "Type": "AWS::Events::Rule",
                "Properties": {"EventPattern": {"source": [source]}, "Targets": [target]},
            },
        }
    )
    put(cloud, source)
    sfn = cloud.client("stepfunctions")
    started = sfn.list_executions(stateMachineArn=made["Machine"])["executions"]
    waiting = [one["source"] for one in queued(cloud, made["Queue"])]
    assert (len(started), waiting) == ((1, []) if allowed else (0, [source]))


@pytest.mark.parametrize("account", [ACCOUNT, CONSUMER])
def test_a_schedule_starts_only_targets_that_its_role_allows(
    cloud: LocalCloud, deploy: Deploy, account: str
) -> None:
    of_account = {"StringEquals": {"aws:SourceAccount": account}}
    start = may("states:StartExecution", {"Ref": "Machine"})
    made = deploy(
        {
            "Nothing": role("states.amazonaws.com"),
            "Machine": machine(END, "Nothing"),
            "Caller": role("scheduler.amazonaws.com", start, **of_account),
            "Schedule": {
                "Type": "AWS::Scheduler::Schedule",
                "Properties": {
                    "ScheduleExpression": "rate(1 day)",
                    "FlexibleTimeWindow": {"Mode": "OFF"},
                    "Target": {
                        "Arn": {"Ref": "Machine"},
                        "RoleArn": {"Fn::GetAtt": ["Caller", "Arn"]},
                        "Input": "{}",
                    },
                },
            },
        }
    )
    cloud.run_schedule(made["Schedule"])
    sfn = cloud.client("stepfunctions")
    started = sfn.list_executions(stateMachineArn=made["Machine"])["executions"]
    assert len(started) == (1 if account == ACCOUNT else 0)


# Buses


@pytest.mark.parametrize(
    ("role_allows", "bus_allows", "arrives"),
    [(True, "tried.source", True), (False, "tried.source", False), (True, "other", False)],
    ids=["both", "not the role", "not the bus"],
)
def test_another_accounts_bus_accepts_an_event_if_the_rules_role_and_its_policy_allow_it(
    cloud: LocalCloud, deploy: Deploy, role_allows: bool, bus_allows: str, arrives: bool
) -> None:
    number = next(_numbers)
    bus = f"bus-{number}"
    arn = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{bus}"
    into_queue = {"Id": "queue", "Arn": {"Fn::GetAtt": ["Queue", "Arn"]}}
    made = deploy(
        {
            "Bus": {"Type": "AWS::Events::EventBus", "Properties": {"Name": bus}},
            "Policy": {
                "Type": "AWS::Events::EventBusPolicy",
                "Properties": {
                    "EventBusName": {"Ref": "Bus"},
                    "StatementId": f"let-in-{number}",
                    "Statement": {
                        **may("events:PutEvents", arn),
                        "Principal": {"AWS": CONSUMER},
                        "Condition": {
                            "ForAllValues:StringEquals": {"events:source": bus_allows},
                            "Null": {"events:source": "false"},
                        },
                    },
                },
            },
            "Queue": {"Type": "AWS::SQS::Queue"},
            "Rule": {
                "Type": "AWS::Events::Rule",
                "Properties": {
                    "EventBusName": {"Ref": "Bus"},
                    "EventPattern": {"source": ["tried.source"]},
                    "Targets": [into_queue],
                },
            },
        }
    )
    own = may("events:PutEvents", arn if role_allows else f"{arn}-other")
    forward = {
        "Id": "bus",
        "Arn": arn,
        "RoleArn": {"Fn::GetAtt": ["Caller", "Arn"]},
    }
    deploy(
        {
            "Caller": role("events.amazonaws.com", own),
            "Rule": {
                "Type": "AWS::Events::Rule",
                "Properties": {
                    "EventPattern": {"source": ["tried.source"], "account": [CONSUMER]},
                    "Targets": [forward],
                },
            },
        },
        CONSUMER,
    )
    try:
        put(cloud, "tried.source", CONSUMER)
        got = [(one["source"], one["account"]) for one in queued(cloud, made["Queue"])]
        assert got == ([("tried.source", CONSUMER)] if arrives else [])
    finally:
        events = cloud.client("events", account=CONSUMER)
        for rule in events.list_rules()["Rules"]:
            events.remove_targets(Rule=rule["Name"], Ids=["bus"])
            events.delete_rule(Name=rule["Name"])
