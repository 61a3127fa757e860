"""A deployed schedule starts its state machine, when it is due and when a test fires it."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from .cloud import LocalCloud
from .conftest import wait_until

TICK_SECONDS = 10
"""How often MiniStack looks for schedules that are due."""
TEMPLATE = """
AWSTemplateFormatVersion: "2010-09-09"
Resources:
  Machine:
    Type: AWS::StepFunctions::StateMachine
    Properties:
      RoleArn: !GetAtt Role.Arn
      DefinitionString: '{"StartAt": "End", "States": {"End": {"Type": "Succeed"}}}'
  Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument:
        Version: "2012-10-17"
        Statement:
          - Effect: Allow
            Principal: {Service: [scheduler.amazonaws.com, states.amazonaws.com]}
            Action: sts:AssumeRole
      Policies:
        - PolicyName: Start
          PolicyDocument:
            Version: "2012-10-17"
            Statement:
              - {Effect: Allow, Action: states:StartExecution, Resource: "*"}
  Schedule:
    Type: AWS::Scheduler::Schedule
    Properties:
      ScheduleExpression: rate(1 day)
      FlexibleTimeWindow: {Mode: FLEXIBLE, MaximumWindowInMinutes: 60}
      Target:
        Arn: !Ref Machine
        RoleArn: !GetAtt Role.Arn
        Input: '{"reconcile": true}'
        RetryPolicy: {MaximumEventAgeInSeconds: 3600, MaximumRetryAttempts: 10}
  Pause:
    Type: AWS::Scheduler::Schedule
    Properties:
      State: DISABLED
      ScheduleExpression: rate(1 day)
      FlexibleTimeWindow: {Mode: "OFF"}
      Target: {Arn: !Ref Machine, RoleArn: !GetAtt Role.Arn, Input: '{"paused": true}'}
Outputs:
  Machine: {Value: !Ref Machine}
  Schedule: {Value: !Ref Schedule}
  Pause: {Value: !Ref Pause}
"""


@pytest.fixture(scope="module")
def deployed(cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The outputs of a stack with a state machine and its schedules."""
    place: Path = tmp_path_factory.mktemp("schedules")
    (place / "template.yaml").write_text(TEMPLATE)
    cloud.deploy(place, stack="schedules")
    (stack,) = cloud.client("cloudformation").describe_stacks(StackName="schedules")["Stacks"]
    return {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}


def inputs(cloud: LocalCloud, machine: str) -> list[Any]:
    """The inputs of a machine's executions."""
    sfn = cloud.client("stepfunctions")
    found = sfn.list_executions(stateMachineArn=machine)["executions"]
    shown = [sfn.describe_execution(executionArn=one["executionArn"]) for one in found]
    return [json.loads(one["input"]) for one in shown]


def test_cloudformation_makes_the_schedule(cloud: LocalCloud, deployed: dict[str, str]) -> None:
    schedule = cloud.client("scheduler").get_schedule(Name=deployed["Schedule"])
    assert (schedule["State"], schedule["ScheduleExpression"]) == ("ENABLED", "rate(1 day)")
    assert schedule["Target"]["Arn"] == deployed["Machine"]


def test_a_fired_schedule_starts_its_target_with_its_input(
    cloud: LocalCloud, deployed: dict[str, str]
) -> None:
    before = len(inputs(cloud, deployed["Machine"]))
    cloud.run_schedule(deployed["Schedule"])
    wait_until(lambda: len(inputs(cloud, deployed["Machine"])) > before)
    assert inputs(cloud, deployed["Machine"])[before:] == [{"reconcile": True}]


def test_a_disabled_or_unknown_schedule_cannot_be_fired(
    cloud: LocalCloud, deployed: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match="DISABLED"):
        cloud.run_schedule(deployed["Pause"])
    with pytest.raises(ValueError, match="no schedule default/none"):
        cloud.run_schedule("none")
    assert {"paused": True} not in inputs(cloud, deployed["Machine"])


def test_the_scheduler_starts_schedules_that_are_due(
    cloud: LocalCloud, deployed: dict[str, str]
) -> None:
    scheduler = cloud.client("scheduler")
    schedule = scheduler.get_schedule(Name=deployed["Schedule"])
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
    scheduler.create_schedule(
        Name="soon",
        ScheduleExpression=f"at({soon:%Y-%m-%dT%H:%M:%S})",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={**schedule["Target"], "Input": '{"soon": true}'},
        ActionAfterCompletion="DELETE",
    )
    wait_until(lambda: {"soon": True} in inputs(cloud, deployed["Machine"]), TICK_SECONDS + 10)
