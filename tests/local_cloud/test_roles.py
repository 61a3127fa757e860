"""Roles of other accounts allow only trusted callers, and only what their policies allow."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from . import REGION
from .aws.cloud_state import Role
from .conftest import ACCOUNT, CONSUMER, IRELAND, STRANGER, Aws

ARN = f"arn:aws:iam::{CONSUMER}:role/frontload-consumer"


def trust(**condition: str) -> dict[str, Any]:
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": "agreed", **condition}},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def policy(action: str, resource: str) -> dict[str, Any]:
    return {"Statement": [{"Effect": "Allow", "Action": action, "Resource": resource}]}


@pytest.fixture
def role(aws: Aws) -> Role:
    own = f"arn:aws:ssm:*:{CONSUMER}:parameter/frontload/*"
    made = Role(trust(), [policy("ssm:*", own), policy("ec2:DescribeImages", "*")])
    aws.roles[CONSUMER, "frontload-consumer"] = made
    return made


def assume(aws: Aws, caller: str = ACCOUNT, **changes: str) -> dict[str, str]:
    request = {"RoleArn": ARN, "RoleSessionName": "frontload", "ExternalId": "agreed", **changes}
    return aws.client("sts", account=caller).assume_role(**request)["Credentials"]


def client_of(aws: Aws, credentials: dict[str, str], service: str, region: str = REGION) -> Any:
    token = credentials["SessionToken"]
    return aws.client(service, region, credentials["AccessKeyId"], token)


def test_assumed_credentials_act_in_the_roles_account_and_any_region(aws: Aws, role: Role) -> None:
    credentials = assume(aws)
    caller = client_of(aws, credentials, "sts").get_caller_identity()
    assert caller["Arn"] == f"arn:aws:sts::{CONSUMER}:assumed-role/frontload-consumer/frontload"
    ssm = client_of(aws, credentials, "ssm", IRELAND)
    ssm.put_parameter(Name="/frontload/a", Value="1", Type="String")
    (written,) = aws.control.parameters()
    assert (written["account"], written["region"]) == (CONSUMER, IRELAND)


@pytest.mark.parametrize("changes", [{"ExternalId": "guessed"}, {"RoleArn": ARN + "-other"}])
def test_a_wrong_external_id_or_unknown_role_is_denied(
    aws: Aws, role: Role, changes: dict[str, str]
) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        assume(aws, **changes)


def test_a_role_is_denied_without_external_id(aws: Aws, role: Role) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        aws.sts.assume_role(RoleArn=ARN, RoleSessionName="frontload")


def test_a_role_that_trusts_another_account_is_denied(aws: Aws, role: Role) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        assume(aws, caller=STRANGER)


def test_a_role_can_do_only_what_its_policies_say(aws: Aws, role: Role) -> None:
    credentials = assume(aws)
    ssm, ec2 = client_of(aws, credentials, "ssm"), client_of(aws, credentials, "ec2")
    with pytest.raises(ClientError, match="AccessDeniedException"):
        ssm.put_parameter(Name="/elsewhere/a", Value="1", Type="String")
    ec2.describe_images(Owners=["self"])
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        ec2.describe_snapshots(OwnerIds=["self"])
    assert aws.control.parameters() == []


def test_a_role_with_an_unmet_trust_condition_is_denied(aws: Aws, role: Role) -> None:
    aws.roles[CONSUMER, "frontload-consumer"] = Role(trust(**{"aws:PrincipalOrgID": "o-1"}))
    with pytest.raises(ClientError, match="AccessDenied"):
        assume(aws)


def test_a_trust_policy_may_require_the_callers_role(aws: Aws) -> None:
    wanted = trust()
    condition = {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/frontload-*"}
    wanted["Statement"][0]["Condition"]["ArnLike"] = condition
    aws.roles[CONSUMER, "frontload-consumer"] = Role(wanted)
    assert assume(aws)["AccessKeyId"] == CONSUMER
    aws.control.settings(caller_role="somebody-else")
    with pytest.raises(ClientError, match="AccessDenied"):
        assume(aws)


def test_invented_credentials_are_refused_and_real_ones_survive_a_reset(
    aws: Aws, role: Role
) -> None:
    credentials = assume(aws)
    for changes in ({"SessionToken": "made up"}, {"AccessKeyId": STRANGER}):
        false = {**credentials, **changes}
        with pytest.raises(ClientError, match="UnrecognizedClientException"):
            client_of(aws, false, "ssm").get_parameter(Name="/frontload/a")
        with pytest.raises(ClientError, match="AuthFailure"):
            client_of(aws, false, "ec2").describe_images(Owners=["self"])
    aws.control.reset()
    assert client_of(aws, credentials, "ec2").describe_images(Owners=["self"])


def test_credentials_expire(aws: Aws, role: Role) -> None:
    credentials = assume(aws)
    session = aws.layer.cloud.sessions[credentials["SessionToken"]]
    assert session.expires == credentials["Expiration"].replace(
        microsecond=session.expires.microsecond
    )
    past = session.expires - datetime.timedelta(hours=2)
    aws.layer.cloud.sessions[credentials["SessionToken"]] = replace(session, expires=past)
    with pytest.raises(ClientError, match="ExpiredTokenException"):
        client_of(aws, credentials, "ssm").get_parameter(Name="/frontload/a")
