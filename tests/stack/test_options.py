"""The template's options, deployed to a stack without them and removed again.

MiniStack accepts them and stores those of queue, table and logs. It enforces none: not the VPC, the
boundary or a key. `infra/test_options.py` checks what the template sets for these.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from end_to_end.stack import BUILD_DIR, ROOT, wait_until
from local_cloud import REGION
from local_cloud.cloud import LocalCloud
from local_cloud.deploy import DeployError
from local_cloud.ecr_events import Image, pushed

from .conftest import NewStack

KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
SOURCE, STRANGER = "567890123456", "999999999999"
OPTIONS = {
    "PermissionsBoundaryArn": "arn:aws:iam::123456789012:policy/bound",
    "KmsKeyArn": KEY,
    "SubnetIds": "subnet-0123abcd,subnet-0123abce",
    "SecurityGroupIds": "sg-0123abcd",
}


def test_options_are_switched_on_and_off_and_the_stack_works(
    cloud: LocalCloud, new_stack: NewStack
) -> None:
    stack = new_stack("optional")
    stack.deploy(**OPTIONS)
    assert stack.status() == "CREATE_COMPLETE"
    ids = stack.resources()
    assert encryption(cloud, ids) == [KEY, KEY]
    attached = cloud.client("iam").list_attached_role_policies(RoleName=ids["PlanRole"])
    assert [one["PolicyArn"] for one in attached["AttachedPolicies"]] == [ids["VpcPolicy"]]
    cache = stack.cache()
    cache.push()
    cache.put()
    planned = cache.frontload.ask(cache=cache.name, dryRun=True)
    assert planned.status == "SUCCEEDED", planned.cause
    assert [one["cache"] for one in planned.output["dryRun"]] == [cache.name]

    stack.upgrade_to(BUILD_DIR, **dict.fromkeys(OPTIONS, ""))
    plain = stack.resources()
    assert ids.keys() - plain.keys() == {"VpcPolicy", "LeaseKeyPolicy", "QueueKeyPolicy"}
    assert encryption(cloud, plain) == [None, None]
    assert plain["LeaseTable"] == ids["LeaseTable"]


def test_only_the_push_of_a_source_account_starts_the_pipeline_over_our_bus(
    cloud: LocalCloud, new_stack: NewStack
) -> None:
    """S10, as far as events go: another account starts builds only where the owner lets it in."""
    stack = new_stack("sourced")
    stack.deploy(SourceAccountIds=SOURCE)
    frontload = stack.frontload()
    bus = cloud.client("events").describe_event_bus(Name=stack.resources()["SourceBus"])["Arn"]
    # MiniStack has no registry policies.
    source = {"FrontloadBusArn": bus, "RegistryAccess": "none"}
    sent = {}
    for account in (STRANGER, SOURCE):
        cloud.deploy(ROOT / "infra", source, "forwards", REGION, account, "source-account.yaml")
        push = pushed(Image("team/app", "v1", f"sha256:{'a' * 64}", {}), account, REGION)
        sent[account] = cloud.send_event(push, account)
    (arn,) = wait_until(lambda: frontload.executions(frontload.pipeline), "an execution")
    started = frontload.wait(arn)
    assert (started.status, started.input) == ("SUCCEEDED", sent[SOURCE])
    assert f"team/app:v1 in account {SOURCE}" in started.output["reason"]
    assert [waiting_pushes(cloud, account) for account in (STRANGER, SOURCE)] == [
        [sent[STRANGER]],
        [],
    ]
    # On home's default bus the account's other rules would see it, and ours does not match it.
    cloud.send_event(sent[SOURCE])
    assert frontload.executions(frontload.pipeline) == [arn]

    stack.upgrade_to(BUILD_DIR, SourceAccountIds="")
    sources = {"SourceBus", "SourceImageActionRule", "SourceAccountsBusPolicy"}
    assert sources & stack.resources().keys() == set()


def waiting_pushes(cloud: LocalCloud, account: str) -> list[Any]:
    """The pushes that an account could not forward."""
    formation, queues = (cloud.client(of, account=account) for of in ("cloudformation", "sqs"))
    (shown,) = formation.describe_stacks(StackName="forwards")["Stacks"]
    queue = {one["OutputKey"]: one["OutputValue"] for one in shown["Outputs"]}["DeadLetterQueueUrl"]
    messages = queues.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(one["Body"]) for one in messages]


def encryption(cloud: LocalCloud, ids: dict[str, str]) -> list[str | None]:
    """The keys of the queue and of a log group."""
    queue = cloud.client("sqs").get_queue_attributes(
        QueueUrl=ids["DeadLetterQueue"], AttributeNames=["All"]
    )
    groups = cloud.client("logs").describe_log_groups(logGroupNamePrefix=ids["PlanLogGroup"])
    (group,) = groups["logGroups"]
    return [queue["Attributes"].get("KmsMasterKeyId"), group.get("kmsKeyId")]


def test_a_vpc_without_security_groups_is_refused_before_anything_is_made(
    new_stack: NewStack,
) -> None:
    stack = new_stack("refused")
    with pytest.raises(DeployError) as refused:
        stack.deploy(SubnetIds="subnet-0123abcd")
    told = " ".join(str(refused.value).split())
    assert "SubnetIds are given without SecurityGroupIds" in told
    assert [names for names in stack.traces().values() if names] == []
