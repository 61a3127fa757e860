"""Functions see a write a little later when they describe and list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .aws.lags import Lags
from .clients import make_client
from .conftest import ACCOUNT, Aws, wait_until
from .request_check import SDK

LONG, SHORT = 600.0, 0.3
TAG = {"Key": "frontload:state", "Value": "published"}
OLD = {"Key": "frontload:state", "Value": "made"}
OF_INSTANCE = [{"Name": "tag:frontload:build", "Values": ["b1"]}]


@pytest.fixture
def ask(aws: Aws) -> Callable[[str], Any]:
    """Makes clients that the layer treats as a function's."""
    made: dict[str, Any] = {}

    def client(service: str) -> Any:
        if service not in made:
            made[service] = make_client(service, aws.layer.url, ACCOUNT, 1, user_agent_extra=SDK)
        return made[service]

    return client


def test_a_launched_instance_appears_after_a_lag(aws: Aws, ask: Callable[[str], Any]) -> None:
    aws.control.settings(longest_lag_seconds=SHORT)
    instance = aws.launch(ClientToken="b1")
    assert aws.state(instance)
    aws.control.settings(longest_lag_seconds=LONG)
    late = aws.launch(ClientToken="b2")

    def found() -> list[str]:
        listed = ask("ec2").describe_instances(Filters=OF_INSTANCE)["Reservations"]
        return [one["Instances"][0]["InstanceId"] for one in listed]

    wait_until(found)
    assert found() == [instance]
    with pytest.raises(ClientError, match="InvalidInstanceID.NotFound"):
        ask("ec2").describe_instances(InstanceIds=[late])
    # The client token still finds the instance, and it can be terminated.
    assert aws.launch(ClientToken="b2") == late
    ask("ec2").terminate_instances(InstanceIds=[late])


def test_a_sent_command_appears_after_a_lag(aws: Aws, ask: Callable[[str], Any]) -> None:
    instance = aws.launch_online()
    aws.control.settings(longest_lag_seconds=LONG)
    command = aws.send(instance, "true")
    assert ask("ssm").list_commands(CommandId=command)["Commands"] == []
    assert ask("ssm").list_commands(InstanceId=instance)["Commands"] == []
    wait_until(lambda: aws.command_status(command)[0] == "Success")
    shown = ask("ssm").get_command_invocation(CommandId=command, InstanceId=instance)
    assert shown["Status"] == "Success"


def tags_of(snapshot: str, ec2: Any) -> list[dict[str, str]]:
    return ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0].get("Tags", [])


def test_a_written_tag_appears_after_a_lag(aws: Aws, ask: Callable[[str], Any]) -> None:
    snapshot = aws.make_snapshot()
    aws.ec2.create_tags(Resources=[snapshot], Tags=[OLD])
    aws.control.settings(longest_lag_seconds=LONG)
    ask("ec2").create_tags(Resources=[snapshot], Tags=[TAG, {"Key": "more", "Value": "1"}])
    assert tags_of(snapshot, ask("ec2")) == [OLD]
    assert TAG in tags_of(snapshot, aws.ec2)
    wanted = [{"Name": "tag:frontload:state", "Values": ["published"]}]
    assert ask("ec2").describe_snapshots(Filters=wanted)["Snapshots"] == []
    assert len(aws.ec2.describe_snapshots(Filters=wanted)["Snapshots"]) == 1


def test_a_tag_appears_in_the_end(aws: Aws, ask: Callable[[str], Any]) -> None:
    snapshot = aws.make_snapshot()
    aws.control.settings(longest_lag_seconds=SHORT)
    ask("ec2").create_tags(Resources=[snapshot], Tags=[TAG])
    wait_until(lambda: tags_of(snapshot, ask("ec2")) == [TAG])


def test_the_lags_are_the_same_in_every_run() -> None:
    one, other = Lags(), Lags()
    lags = [one.lag(4.0) for _ in range(3)]
    assert lags == [other.lag(4.0) for _ in range(3)]
    assert len(set(lags)) == 3
