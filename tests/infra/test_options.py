"""What each option changes in the template that CloudFormation gets, and nothing without it."""

from __future__ import annotations

from typing import Any

import pytest

from .resolution import resolve, translate
from .templates import TEMPLATES

Resources = dict[str, Any]
KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd"
BOUNDARY = "arn:aws:iam::123456789012:policy/bound"


def of_type(resources: Resources, kind: str) -> dict[str, dict[str, Any]]:
    """The properties of all resources of a type, by logical id."""
    return {name: one["Properties"] for name, one in resources.items() if one["Type"] == kind}


def with_options(**given: str) -> Resources:
    return resolve(translate("template"), **given)


@pytest.fixture
def plain() -> Resources:
    """The resources with every default."""
    return with_options()


def changed(plain: Resources, other: Resources) -> set[str]:
    """The types of the resources that are new, removed or different."""
    names = {name for name in plain.keys() | other.keys() if plain.get(name) != other.get(name)}
    return {(other.get(name) or plain[name])["Type"] for name in names}


def test_every_option_is_off_by_default(plain: Resources) -> None:
    options = ("PermissionsBoundary", "ManagedPolicyArns", "VpcConfig", "KmsKeyArn", "KmsKeyId")
    options += ("KmsMasterKeyId", "SSESpecification")
    assert [
        (name, option)
        for name, one in plain.items()
        for option in options
        if option in one.get("Properties", {})
    ] == []
    assert plain["DeadLetterQueue"]["Properties"]["SqsManagedSseEnabled"] is True
    absent = {"VpcPolicy", "LeaseKeyPolicy", "QueueKeyPolicy"}
    absent |= {"ConsumersPolicy", "ConsumersReadPolicy"}
    assert absent & plain.keys() == set()


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_boundary_applies_to_every_role_and_changes_nothing_else(name: str) -> None:
    template = translate(name)
    bounded = resolve(template, PermissionsBoundaryArn=BOUNDARY)
    roles = of_type(bounded, "AWS::IAM::Role")
    assert {role.pop("PermissionsBoundary", None) for role in roles.values()} == {BOUNDARY}
    assert bounded == resolve(template)


def test_subnets_apply_to_every_function_and_let_lambda_connect_it(plain: Resources) -> None:
    inside = with_options(SubnetIds="subnet-a,subnet-b", SecurityGroupIds="sg-a")
    functions = of_type(inside, "AWS::Lambda::Function")
    place = {"SubnetIds": ["subnet-a", "subnet-b"], "SecurityGroupIds": ["sg-a"]}
    assert [one["VpcConfig"] for one in functions.values()] == [place] * len(functions)
    roles = {one["Role"].strip("<>").removesuffix(".Arn") for one in functions.values()}
    connected = {
        name
        for name, role in of_type(inside, "AWS::IAM::Role").items()
        if role.get("ManagedPolicyArns") == ["<VpcPolicy>"]
    }
    assert connected == roles
    assert changed(plain, inside) == {
        "AWS::Lambda::Function",
        "AWS::IAM::Role",
        "AWS::IAM::ManagedPolicy",
    }


def test_lambda_can_create_network_interfaces_and_the_functions_code_cannot() -> None:
    inside = with_options(SubnetIds="subnet-a", SecurityGroupIds="sg-a")
    *allowed, denied = inside["VpcPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    # All that AWSLambdaVPCAccessExecutionRole allows, except for logs.
    assert sorted(action for one in allowed for action in one["Action"]) == [
        "ec2:AssignPrivateIpAddresses",
        "ec2:CreateNetworkInterface",
        "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:UnassignPrivateIpAddresses",
    ]
    assert (denied["Effect"], denied["Action"]) == ("Deny", allowed[1]["Action"])
    assert denied["Condition"] == {"Null": {"lambda:SourceFunctionArn": "false"}}


def test_a_key_encrypts_everything_that_the_stack_stores(plain: Resources) -> None:
    keyed = with_options(KmsKeyArn=KEY)
    functions = of_type(keyed, "AWS::Lambda::Function").values()
    groups = of_type(keyed, "AWS::Logs::LogGroup").values()
    assert {one["KmsKeyArn"] for one in functions} == {KEY}
    assert {one["KmsKeyId"] for one in groups} == {KEY}
    queue = keyed["DeadLetterQueue"]["Properties"]
    assert (queue["KmsMasterKeyId"], queue["SqsManagedSseEnabled"]) == (KEY, False)
    table = keyed["LeaseTable"]["Properties"]["SSESpecification"]
    assert table == {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": KEY}
    assert changed(plain, keyed) == {
        "AWS::Lambda::Function",
        "AWS::Logs::LogGroup",
        "AWS::SQS::Queue",
        "AWS::DynamoDB::Table",
        "AWS::IAM::Policy",
    }


def test_only_the_users_of_encrypted_resources_can_use_the_key() -> None:
    keyed = with_options(KmsKeyArn=KEY)
    users: dict[str, set[str]] = {}
    for name in ("LeaseKeyPolicy", "QueueKeyPolicy"):
        policy = keyed[name]["Properties"]
        (statement,) = policy["PolicyDocument"]["Statement"]
        assert statement["Resource"] == KEY
        service = statement["Condition"]["StringEquals"]["kms:ViaService"]
        users[service] = set(policy["Roles"])
    table = "<LeaseTable.Arn>"
    assert users["dynamodb.us-east-1.amazonaws.com"] == roles_that_reach(keyed, table)
    queue = "<DeadLetterQueue.Arn>"
    assert users["sqs.us-east-1.amazonaws.com"] == roles_that_reach(keyed, queue)


def roles_that_reach(resources: Resources, arn: str) -> set[str]:
    """References to the roles with a statement about the resource."""

    def reaches(policy: dict[str, Any]) -> bool:
        return any(one["Resource"] == arn for one in policy["PolicyDocument"]["Statement"])

    found = {
        f"<{name}>"
        for name, role in of_type(resources, "AWS::IAM::Role").items()
        if any(map(reaches, role.get("Policies", [])))
    }
    for policy in of_type(resources, "AWS::IAM::Policy").values():
        if reaches(policy):
            found |= set(policy["Roles"])
    return found


def test_sources_add_policies_and_a_bus_of_their_own(plain: Resources) -> None:
    added = {
        "AWS::IAM::Policy",
        "AWS::Events::EventBus",
        "AWS::Events::EventBusPolicy",
        "AWS::Events::Rule",
        # Events that the new rule cannot deliver wait in the same queue.
        "AWS::SQS::QueuePolicy",
    }
    assert changed(plain, with_options(SourceAccountIds="210987654321")) == added
    assert changed(plain, with_options(OrganizationId="o-a1b2c3d4e5")) == added


def test_consumers_add_policies_and_nothing_else(plain: Resources) -> None:
    with_consumers = with_options(ConsumerExternalId="agreed")
    assert {"ConsumersPolicy", "ConsumersReadPolicy"} <= with_consumers.keys()
    assert changed(plain, with_consumers) == {"AWS::IAM::Policy", "AWS::Lambda::Function"}
