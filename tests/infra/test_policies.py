"""Every policy statement is valid for AWS, and the rules notice planted mistakes."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from local_cloud.aws.authorization import EXTRACT
from local_cloud.aws.extract import extract
from statemachine.asl_definitions import ROOT

from tools.policies.check import check
from tools.policies.iam_data import actions_matching, services
from tools.policies.reference import can_be
from tools.policies.rules import RULES
from tools.policies.statements import read_statements

from .templates import TEMPLATES

POLICY = ROOT / "tools" / "aws_check" / "policy.json"
TEMPLATE = """\
Parameters:
  Name:
    Type: String
    Default: /frontload
  Key:
    Type: String
    AllowedPattern: ^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[a-z0-9-]+$
Resources:
  Queue:
    Type: AWS::SQS::Queue
  Worker:
    Type: AWS::IAM::Role
    Properties:
      Policies:
        - PolicyName: Work
          PolicyDocument:
            Statement:
"""
WHERE = "Worker, Work, statement 1"
SNAPSHOTS = "!Sub arn:${AWS::Partition}:ec2:*::snapshot/*"


def statement(action: str, resource: str, condition: str = "", effect: str = "Allow") -> str:
    text = f"- Effect: {effect}\n  Action: {action}\n  Resource: {resource}\n"
    return text + (f"  Condition: {{{condition}}} # key\n" if condition else "")


def said_of(text: str, directory: Path) -> list[str]:
    """For every complaint about a role with the statements: the line's text, rule and message."""
    path = directory / "planted.yaml"
    path.write_text(TEMPLATE + textwrap.indent(text, " " * 14))
    lines = path.read_text().splitlines()
    told = [line.removeprefix(f"{path}:").partition(": ") for line in check(path)]
    return [f"{lines[int(line) - 1].strip()} | {rest}" for line, _, rest in told]


# Mistake: the statement, the line that is reported, and the rule with its message.
MISTAKES = {
    "an action that does not exist": (
        statement("ec2:CopySnapshots", SNAPSHOTS),
        "Action: ec2:CopySnapshots",
        "action-exists: {}: AWS has no action ec2:CopySnapshots",
    ),
    "a pattern that no action matches": (
        statement("ec2:Copied*", SNAPSHOTS),
        "Action: ec2:Copied*",
        "action-exists: {}: AWS has no action ec2:Copied*",
    ),
    "an action of a service that does not exist": (
        statement("ec3:CopySnapshot", '"*"'),
        "Action: ec3:CopySnapshot",
        "action-exists: {}: AWS has no service ec3:CopySnapshot",
    ),
    "an action of NotAction that does not exist": (
        statement("ec2:CopySnapshots", '"*"').replace("Action", "NotAction"),
        "NotAction: ec2:CopySnapshots",
        "action-exists: {}: AWS has no action ec2:CopySnapshots",
    ),
    "a resource that is no ARN": (
        statement("sqs:SendMessage", "[!GetAtt Queue.Arn, !Ref Queue]"),
        "Resource: [!GetAtt Queue.Arn, !Ref Queue]",
        "resource-is-an-arn: {}: x is no ARN and no asterisk",
    ),
    "an action that is never about the resource": (
        statement("sqs:SendMessage", "!Ref Key"),
        "Action: sqs:SendMessage",
        "action-finds-a-resource: {}: sqs:SendMessage is about queue; "
        "the statement has arn:*:kms:*:*:*",
    ),
    "a resource of another account than it can have": (
        statement("ec2:DeleteSnapshot", "!Sub arn:aws:ec2:*:${AWS::AccountId}:snapshot/*"),
        "Action: ec2:DeleteSnapshot",
        "action-finds-a-resource: {}: ec2:DeleteSnapshot is about snapshot; "
        "the statement has arn:aws:ec2:*:123456789012:snapshot/*",
    ),
    "a resource for an action that knows none": (
        statement("ec2:DescribeSnapshots", SNAPSHOTS),
        "Action: ec2:DescribeSnapshots",
        'action-finds-a-resource: {}: ec2:DescribeSnapshots knows no resources and needs "*"; '
        "the statement has arn:aws:ec2:*::snapshot/*",
    ),
    "a resource that no action of the statement is about": (
        statement("ssm:GetParameter", "[!Sub 'arn:aws:ssm:*:1:parameter${Name}/*', "
                  "!GetAtt Queue.Arn]"),
        "Resource: [!Sub 'arn:aws:ssm:*:1:parameter${Name}/*', !GetAtt Queue.Arn]",
        "resource-has-an-action: {}: no action of the statement is ever about "
        "arn:aws:sqs:us-east-1:123456789012:x",
    ),
    "a key that AWS does not supply for the action": (
        statement("ec2:CopySnapshot", SNAPSHOTS, "StringEquals: {aws:ResourceTag/stack: ours}"),
        "Condition: {StringEquals: {aws:ResourceTag/stack: ours}} # key",
        "key-comes-with-the-action: {}: ec2:CopySnapshot on snapshot never comes with "
        "aws:ResourceTag/stack",
    ),
    "a key that AWS supplies for another resource type of the action": (
        statement("ec2:CreateSnapshot", SNAPSHOTS, "StringEquals: {aws:ResourceTag/stack: ours}"),
        "Condition: {StringEquals: {aws:ResourceTag/stack: ours}} # key",
        "key-comes-with-the-action: {}: ec2:CreateSnapshot on snapshot never comes with "
        "aws:ResourceTag/stack",
    ),
    "a key that AWS supplies for a part of what is allowed": (
        statement("ec2:RunInstances", "['arn:aws:ec2:*:*:volume/*', 'arn:aws:ec2:*:*:subnet/*']",
                  "StringEquals: {aws:RequestTag/stack: ours}"),
        "Condition: {StringEquals: {aws:RequestTag/stack: ours}} # key",
        "key-comes-with-the-action: {}: ec2:RunInstances on subnet never comes with "
        "aws:RequestTag/stack",
    ),
    "a key that must be there and is not supplied": (
        statement("ec2:RunInstances", "['arn:aws:ec2:*:*:volume/*', 'arn:aws:ec2:*:*:subnet/*']",
                  "'Null': {aws:RequestTag/stack: 'false'}"),
        "Condition: {'Null': {aws:RequestTag/stack: 'false'}} # key",
        "key-comes-with-the-action: {}: ec2:RunInstances on subnet never comes with "
        "aws:RequestTag/stack",
    ),
    "a key that does not exist, though it need not be there": (
        statement("ec2:CopySnapshot", SNAPSHOTS, "StringEqualsIfExists: {ec2:Ownr: '1'}"),
        "Condition: {StringEqualsIfExists: {ec2:Ownr: '1'}} # key",
        "key-comes-with-the-action: {}: ec2:CopySnapshot on snapshot never comes with ec2:Ownr",
    ),
    "a key of another service in a denial": (
        statement("sqs:SendMessage", '"*"', "StringEquals: {ec2:Owner: '1'}", "Deny"),
        "Condition: {StringEquals: {ec2:Owner: '1'}} # key",
        "key-comes-with-the-action: {}: sqs:SendMessage on queue never comes with ec2:Owner",
    ),
    "a key for an action that knows no resources": (
        statement("ec2:DescribeSnapshots", '"*"', "StringEquals: {aws:ResourceTag/stack: ours}"),
        "Condition: {StringEquals: {aws:ResourceTag/stack: ours}} # key",
        "key-comes-with-the-action: {}: ec2:DescribeSnapshots never comes with "
        "aws:ResourceTag/stack",
    ),
    "a key of many values that is compared as one": (
        statement("events:PutEvents", '"*"', "StringEquals: {events:source: ours}"),
        "Condition: {StringEquals: {events:source: ours}} # key",
        "many-values-are-compared-as-a-set: {}: events:source has many values, "
        "StringEquals takes one",
    ),
    "a key of any service, likewise": (
        statement("ec2:CreateTags", SNAPSHOTS, "StringLike: {aws:TagKeys: x}", "Deny"),
        "Condition: {StringLike: {aws:TagKeys: x}} # key",
        "many-values-are-compared-as-a-set: {}: aws:TagKeys has many values, StringLike takes one",
    ),
    "a set of which nothing need be there": (
        statement("events:PutEvents", '"*"', "'ForAllValues:StringEquals': {events:source: ours}, "
                  "'Null': {events:detail-type: 'false'}"),
        "Condition: {'ForAllValues:StringEquals': {events:source: ours}, "
        "'Null': {events:detail-type: 'false'}} # key",
        "many-values-are-compared-as-a-set: {}: ForAllValues allows what comes without "
        "events:source, too",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_reported_with_line_and_rule(mistake: str, tmp_path: Path) -> None:
    text, line, said = MISTAKES[mistake]
    assert said_of(text, tmp_path)[0] == f"{line} | {said.format(WHERE)}"


def test_every_rule_has_a_planted_mistake() -> None:
    planted = {said.partition(":")[0] for _, _, said in MISTAKES.values()}
    assert planted == {rule.__name__.replace("_", "-") for rule in RULES}


@pytest.mark.parametrize(
    "right",
    [
        statement("'*'", '"*"'),
        statement("ec2:Describe*", '"*"'),
        statement("[ec2:CopySnapshot, ec2:DeleteSnapshot]", SNAPSHOTS,
                  "StringEquals: {ec2:Owner: !Ref AWS::AccountId, aws:PrincipalOrgID: o-1}"),
        statement("ec2:RunInstances", "['arn:aws:ec2:*:*:volume/*', 'arn:aws:ec2:*:*:subnet/*']",
                  "StringEqualsIfExists: {aws:RequestTag/stack: ours}"),
        statement("ec2:RunInstances", '"*"', "'Null': {aws:RequestTag/stack: 'true'}", "Deny"),
        statement("kms:Decrypt", "!Ref Key", "StringEquals: {KMS:viaservice: sqs}"),
        statement("ssm:SendCommand", "arn:aws:ssm:us-east-1::document/AWS-RunShellScript"),
        statement("ec2:CopySnapshot", "!Sub 'arn:aws:ec2:*::snapshot/${!*}'"),
        statement("sqs:SendMessage", "!If [Has, !GetAtt Queue.Arn, !Ref AWS::NoValue]"),
        statement("sqs:SendMessage", "!Join ['', [!GetAtt Queue.Arn]]"),
        statement("ec2:RunInstances", "!ImportValue Elsewhere",
                  "StringEquals: {aws:RequestTag/stack: ours}"),
        statement("ec2:Run*", "arn:aws:ec2:*:*:instance/*", "StringEquals: {ec2:InstanceType: x}"),
        statement("events:PutEvents", '"*"', "'ForAllValues:StringEquals': {events:source: ours}, "
                  "'Null': {events:source: 'false'}"),
        statement("events:PutEvents", '"*"', "'ForAnyValue:StringEquals': {events:source: ours}"),
        statement("events:PutEvents", '"*"', "'ForAllValues:StringEquals': {events:source: ours}",
                  "Deny"),
    ],
)  # fmt: skip
def test_a_valid_policy_has_no_complaints(right: str, tmp_path: Path) -> None:
    assert said_of(right, tmp_path) == []


@pytest.mark.parametrize("path", [*TEMPLATES.values(), POLICY], ids=lambda path: path.stem)
def test_our_policies_are_valid(path: Path) -> None:
    assert check(path) == []


def test_every_kind_of_policy_is_read(tmp_path: Path) -> None:
    read = {one.where for path in TEMPLATES.values() for one in read_statements(path)}
    assert {
        "ReplicateRole, trust, statement 1",
        "ReplicateRole, Replicate, statement 4",
        "PlanningPolicy, Planning, statement 1",
        "VpcPolicy, statement 3",
        "SourceAccountsBusPolicy, statement 1",
        "DeadLetterQueuePolicy, statement 1",
        "RegistryPolicy, statement 1",
        "EndedExecutionRulePermission",
    } <= read


def test_the_command_names_the_file_and_fails(tmp_path: Path) -> None:
    path = tmp_path / "planted.json"
    path.write_text(
        '{"Statement": [\n{"Effect": "Allow",\n"Action": "s3:GetObjekt", "Resource": "*"}]}'
    )
    command = [sys.executable, "-m", "tools.policies.check"]
    ran = subprocess.run([*command, path], cwd=ROOT, capture_output=True, text=True)
    complaint = "action-exists: planted, statement 1: AWS has no action s3:GetObjekt"
    assert (ran.returncode, ran.stdout.splitlines()[1:]) == (
        1,
        [f"{path}:3: {complaint}", f"{path}: 1 complaints, 1 statements"],
    )
    right = subprocess.run([*command, POLICY], cwd=ROOT, capture_output=True, text=True)
    assert right.returncode == 0


def test_the_local_clouds_extract_of_the_reference_is_current() -> None:
    assert EXTRACT.read_text() == extract(), "run `make authorization`"


def test_the_whole_reference_can_be_read() -> None:
    assert len(services()) > 400
    assert len(actions_matching("*:*")) > 20_000


@pytest.mark.parametrize(
    ("resource", "form", "fits"),
    [
        ("arn:aws:ec2:*::snapshot/*", "arn:${Partition}:ec2:${Region}::snapshot/${Id}", True),
        ("arn:aws:ec2:*:1:snapshot/*", "arn:${Partition}:ec2:${Region}::snapshot/${Id}", False),
        ("arn:aws:ec2:*:*:*/*", "arn:${Partition}:ec2:${Region}::snapshot/${Id}", True),
        ("arn:aws:ec2:*:*:*", "arn:${Partition}:ec2:${Region}:${Account}:volume/${Id}", True),
        ("arn:aws:ec2:*:*:vol*/v", "arn:${Partition}:ec2:${Region}:${Account}:volume/${Id}", True),
        ("arn:aws:ec2:*:*:vol/v", "arn:${Partition}:ec2:${Region}:${Account}:volume/${Id}", False),
        ("arn:aws:ssm:*::document/D", "arn:${Partition}:ssm:${Region}:${Account}:document/${N}",
         True),
        ("arn:aws:s3:::bucket", "arn:${Partition}:s3:::${Bucket}/${Object}", False),
        ("arn:aws:s3:::bucket/*", "arn:${Partition}:s3:::${Bucket}/${Object}", True),
        ("arn:*", "arn:${Partition}:s3:::${Bucket}", True),
        ("arn:aws:sqs:*:*:", "arn:${Partition}:sqs:${Region}:${Account}:${Queue}", False),
    ],
)  # fmt: skip
def test_a_resource_fits_the_form_of_an_arn(resource: str, form: str, fits: bool) -> None:
    assert can_be(resource, form) == fits
