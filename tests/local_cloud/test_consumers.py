"""Consumer accounts of the whole local cloud: a role made by CloudFormation, its events, nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from . import ACCOUNT, CONSUMERS, REGION
from .clients import make_client
from .cloud import LocalCloud
from .conftest import IRELAND, wait_until
from .nodes import NodeRefused, boot_node_from_parameter, snapshot_for_node

CONSUMER = CONSUMERS[0]
NAME = "/frontload/default/x86_64/snapshot-id"
TEMPLATE = """
AWSTemplateFormatVersion: "2010-09-09"
Parameters:
  Publisher: {Type: String}
  ExternalId: {Type: String}
Resources:
  Role:
    Type: AWS::IAM::Role
    Properties:
      RoleName: small-consumer
      AssumeRolePolicyDocument:
        Statement:
          - Effect: Allow
            Principal: {AWS: !Sub "arn:aws:iam::${Publisher}:root"}
            Action: sts:AssumeRole
            Condition: {StringEquals: {sts:ExternalId: !Ref ExternalId}}
      Policies:
        - PolicyName: Parameters
          PolicyDocument:
            Statement:
              - Effect: Allow
                Action: ssm:*
                Resource: !Sub "arn:aws:ssm:*:${AWS::AccountId}:parameter/frontload/*"
              - Effect: Allow
                Action: events:PutEvents
                Resource: "*"
  Rule:
    Type: AWS::Events::Rule
    Properties:
      EventPattern: {source: [frontload]}
      Targets:
        - Id: queue
          Arn: !GetAtt Queue.Arn
  Queue:
    Type: AWS::SQS::Queue
    Properties: {QueueName: published}
"""


@pytest.fixture(scope="module")
def consumer(cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """The local cloud with a stack of the small consumer in the consumer's account."""
    folder = tmp_path_factory.mktemp("consumer")
    (folder / "consumer.yaml").write_text(TEMPLATE)
    overrides = {"Publisher": ACCOUNT, "ExternalId": "agreed"}
    cloud.deploy(folder, overrides, "consumer", IRELAND, CONSUMER, "consumer.yaml")
    yield cloud
    cloud.control.reset()


def assume(cloud: LocalCloud, external_id: str = "agreed", caller: str = ACCOUNT) -> dict[str, str]:
    return cloud.client("sts", account=caller).assume_role(
        RoleArn=f"arn:aws:iam::{CONSUMER}:role/small-consumer",
        RoleSessionName="frontload",
        ExternalId=external_id,
    )["Credentials"]


def by_role(cloud: LocalCloud, service: str, region: str) -> Any:
    """A client with the assumed role's credentials."""
    credentials = assume(cloud)
    url = cloud.url if service in ("events", "sqs") else cloud.layer_url
    return make_client(
        service,
        url,
        credentials["AccessKeyId"],
        region=region,
        session_token=credentials["SessionToken"],
    )


def test_a_deployed_role_is_assumed_only_with_the_agreed_external_id(
    consumer: LocalCloud,
) -> None:
    assert assume(consumer)["AccessKeyId"] == CONSUMER
    with pytest.raises(ClientError, match="AccessDenied"):
        assume(consumer, external_id="guessed")
    with pytest.raises(ClientError, match="AccessDenied"):
        assume(consumer, caller=CONSUMERS[1])


def test_the_role_writes_only_under_its_prefix(consumer: LocalCloud) -> None:
    ssm = by_role(consumer, "ssm", "ap-southeast-2")
    ssm.put_parameter(Name=NAME, Value="snap-1", Type="String")
    with pytest.raises(ClientError, match="AccessDeniedException"):
        ssm.put_parameter(Name="/other/name", Value="1", Type="String")
    (written,) = consumer.control.parameters(account=CONSUMER, region="ap-southeast-2")
    assert (written["name"], written["value"]) == (NAME, "snap-1")


def test_an_event_by_the_assumed_role_is_on_the_consumers_bus_in_that_region(
    consumer: LocalCloud,
) -> None:
    entry = {"Source": "frontload", "DetailType": "Published", "Detail": '{"a": 1}'}
    for region in (REGION, IRELAND):
        by_role(consumer, "events", region).put_events(Entries=[entry])
    sqs = consumer.client("sqs", IRELAND, CONSUMER)
    url = sqs.get_queue_url(QueueName="published")["QueueUrl"]
    received: list[dict[str, Any]] = []

    def arrived() -> bool:
        received.extend(sqs.receive_message(QueueUrl=url).get("Messages", []))
        return bool(received)

    wait_until(arrived)
    (message,) = received
    event = json.loads(message["Body"])
    assert (event["account"], event["region"], event["detail"]) == (CONSUMER, IRELAND, {"a": 1})


@pytest.fixture
def published(consumer: LocalCloud) -> Iterator[str]:
    """The id of a snapshot in Ireland, shared with the consumer and named by its parameter."""
    consumer.control.reset()
    ec2 = consumer.client("ec2", IRELAND)
    volume = ec2.create_volume(Size=1, AvailabilityZone=f"{IRELAND}a")["VolumeId"]
    snapshot_id = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    wait_until(lambda: consumer.control.snapshots(region=IRELAND)[0]["state"] == "completed")
    consumer.client("ssm", IRELAND, CONSUMER).put_parameter(
        Name=NAME, Value=snapshot_id, Type="String"
    )
    yield snapshot_id
    consumer.control.reset()


def share(cloud: LocalCloud, snapshot_id: str) -> None:
    cloud.client("ec2", IRELAND).modify_snapshot_attribute(
        SnapshotId=snapshot_id, OperationType="add", UserIds=[CONSUMER]
    )


def test_a_node_is_refused_an_unshared_snapshot_or_unknown_parameter(
    consumer: LocalCloud, published: str
) -> None:
    with pytest.raises(NodeRefused, match="InvalidSnapshot.NotFound"):
        snapshot_for_node(consumer, CONSUMER, IRELAND, NAME)
    share(consumer, published)
    assert snapshot_for_node(consumer, CONSUMER, IRELAND, NAME) == published
    with pytest.raises(NodeRefused, match="ParameterNotFound"):
        snapshot_for_node(consumer, CONSUMER, REGION, NAME)
    volumes = consumer.client("ec2", IRELAND, CONSUMER).describe_volumes()["Volumes"]
    assert volumes == []


def test_a_node_is_refused_a_snapshot_under_a_key_that_its_account_cannot_use(
    consumer: LocalCloud, published: str
) -> None:
    kms = consumer.client("kms", IRELAND)
    key = kms.create_key()["KeyMetadata"]["Arn"]
    copied = consumer.client("ec2", IRELAND).copy_snapshot(
        SourceRegion=IRELAND, SourceSnapshotId=published, Encrypted=True, KmsKeyId=key
    )["SnapshotId"]
    states = {"pending"}
    share(consumer, copied)
    wait_until(
        lambda: (
            "completed"
            in {s["state"] for s in consumer.control.snapshots() if s["id"] == copied} - states
        )
    )
    consumer.client("ssm", IRELAND, CONSUMER).put_parameter(
        Name=NAME, Value=copied, Type="String", Overwrite=True
    )
    with pytest.raises(NodeRefused, match="ends in state error"):
        snapshot_for_node(consumer, CONSUMER, IRELAND, NAME)


def test_a_consumers_node_boots_from_the_snapshot_in_its_parameter(
    consumer: LocalCloud, published: str
) -> None:
    if consumer.host.kind != "containerd":
        pytest.skip("only the real builder host boots nodes")
    share(consumer, published)
    with boot_node_from_parameter(consumer, CONSUMER, IRELAND, NAME) as node:
        assert node.images() == {}
