"""The templates for other accounts, deployed there."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError
from end_to_end.stack import STACK
from local_cloud import ACCOUNT, CONSUMERS, REGION
from local_cloud.cloud import LocalCloud

from .conftest import EXTERNAL_ID, SOURCE_ACCOUNT


def outputs(cloud: LocalCloud, stack: str, account: str) -> dict[str, str]:
    """The outputs of a deployed stack of an account."""
    formation = cloud.client("cloudformation", account=account)
    (shown,) = formation.describe_stacks(StackName=stack)["Stacks"]
    assert shown["StackStatus"] == "CREATE_COMPLETE"
    return {one["OutputKey"]: one["OutputValue"] for one in shown["Outputs"]}


@pytest.mark.parametrize("account", CONSUMERS)
def test_the_consumer_template_makes_a_role_that_needs_the_external_id(
    cloud: LocalCloud, account: str
) -> None:
    arn = outputs(cloud, "frontload-consumer", account)["RoleArn"]
    assert arn == f"arn:aws:iam::{account}:role/frontload-consumer"
    request = {"RoleArn": arn, "RoleSessionName": "frontload"}
    sts = cloud.client("sts")
    assert sts.assume_role(**request, ExternalId=EXTERNAL_ID)["Credentials"]
    # The caller here has the name of a role that may publish.
    with pytest.raises(ClientError, match="AccessDenied"):
        sts.assume_role(**request | {"RoleArn": f"{arn}-reader"}, ExternalId=EXTERNAL_ID)
    with pytest.raises(ClientError, match="AccessDenied"):
        sts.assume_role(**request, ExternalId="guessed")
    with pytest.raises(ClientError, match="AccessDenied"):
        other = cloud.client("sts", account="456789012345")
        other.assume_role(**request, ExternalId=EXTERNAL_ID)


def test_the_source_template_makes_a_rule_that_forwards_pushes_to_our_bus(
    cloud: LocalCloud,
) -> None:
    queue = outputs(cloud, "frontload-source", SOURCE_ACCOUNT)["DeadLetterQueueUrl"]
    assert queue
    events = cloud.client("events", account=SOURCE_ACCOUNT)
    (rule,) = [one for one in events.list_rules()["Rules"] if "ForwardPushes" in one["Name"]]
    pattern = json.loads(rule["EventPattern"])
    assert pattern["account"] == [SOURCE_ACCOUNT]
    assert len(pattern["$or"]) == 3
    (target,) = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
    assert target["Arn"] == f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{STACK}-sources"
    assert target["RoleArn"].startswith(f"arn:aws:iam::{SOURCE_ACCOUNT}:role/")
