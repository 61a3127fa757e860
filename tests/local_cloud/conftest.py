"""Fixtures for the tests of the local cloud's AWS layer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import REGION
from .aws.cloud_state import Role
from .aws.server import Layer as AwsLayer
from .clients import make_client
from .cloud import LocalCloud
from .control_client import Control
from .fake_host import FakeHost
from .images import BUSYBOX, Layer, Layout

ACCOUNT = "999999999999"
"""Not the local cloud's account, because both layers may run in one process."""
CONSUMER = "888888888888"
STRANGER = "777777777777"
IRELAND = "eu-west-1"
CONSUMER_ACTIONS = (
    "kms:DescribeKey",
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:ReEncrypt*",
    "kms:GenerateDataKey*",
)
FAST = {
    "instance_running_seconds": 0.05,
    "agent_online_seconds": 0.05,
    "shutting_down_seconds": 0.05,
    "snapshot_seconds": 0.2,
    "copy_seconds": 0.2,
    "fast_restore_enabling_seconds": 0.05,
    "fast_restore_optimizing_seconds": 0.05,
    "invocation_delay_seconds": 0.05,
}
OFFLINE_SECONDS = 0.3
"""Several times what an agent needs to come online."""


class Aws:
    """A running layer with clients, for one test."""

    def __init__(self, layer: AwsLayer, host: FakeHost) -> None:
        self.layer = layer
        self.host = host
        self.control = Control(layer.url)
        self._clients: dict[tuple[str | None, ...], Any] = {}
        self.roles: dict[tuple[str, str], Role] = {}
        layer.cloud.find_role = lambda account, name: self.roles.get((account, name))
        self.ec2, self.ssm, self.ecr, self.kms, self.sts = map(
            self.client, ("ec2", "ssm", "ecr", "kms", "sts")
        )

    def client(
        self, service: str, region: str = REGION, account: str = ACCOUNT, token: str | None = None
    ) -> Any:
        """A client in any account and region, or of an assumed role by its session token."""
        wanted = (service, region, account, token)
        if wanted not in self._clients:
            self._clients[wanted] = make_client(
                service, self.layer.url, account, attempts=1, region=region, session_token=token
            )
        return self._clients[wanted]

    def make_snapshot(self, region: str = REGION, account: str = ACCOUNT, **volume: Any) -> str:
        """Make a completed snapshot of a new volume; returns its id."""
        ec2 = self.client("ec2", region, account)
        made = ec2.create_volume(**{"Size": 1, "AvailabilityZone": f"{region}a", **volume})
        snapshot_id = ec2.create_snapshot(VolumeId=made["VolumeId"])["SnapshotId"]
        wait_until(lambda: self.snapshot(snapshot_id, region, account)["State"] == "completed")
        return snapshot_id

    def make_key(self, region: str = REGION, users: tuple[str, ...] = ()) -> str:
        """Make a customer-managed key that `users` may use for EBS; returns its ARN."""
        statements = [{"Principal": {"AWS": ACCOUNT}, "Action": "kms:*"}]
        for user in users:
            principal = {"AWS": f"arn:aws:iam::{user}:root"}
            statements.append({"Principal": principal, "Action": list(CONSUMER_ACTIONS)})
        policy = {"Statement": [{"Effect": "Allow", "Resource": "*", **one} for one in statements]}
        made = self.client("kms", region).create_key(Policy=json.dumps(policy))
        return made["KeyMetadata"]["Arn"]

    def share(self, snapshot_id: str, account: str = CONSUMER, region: str = REGION) -> None:
        """Let an account create volumes from the snapshot."""
        self.client("ec2", region).modify_snapshot_attribute(
            SnapshotId=snapshot_id,
            Attribute="createVolumePermission",
            CreateVolumePermission={"Add": [{"UserId": account}]},
        )

    def launch(self, **changes: Any) -> str:
        """Run an instance as Frontload does; returns its id."""
        image = self.ssm.get_parameter(
            Name="/aws/service/bottlerocket/aws-k8s-1.35/x86_64/latest/image_id"
        )["Parameter"]["Value"]
        request: dict[str, Any] = {
            "ImageId": image,
            "InstanceType": "m6i.large",
            "MinCount": 1,
            "MaxCount": 1,
            "NetworkInterfaces": [{"DeviceIndex": 0}],
            "IamInstanceProfile": {"Name": "builder"},
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            "InstanceInitiatedShutdownBehavior": "terminate",
            "UserData": "[settings]",
            "BlockDeviceMappings": [
                {
                    "DeviceName": "/dev/xvdb",
                    "Ebs": {"VolumeSize": 40, "VolumeType": "gp3", "DeleteOnTermination": True},
                }
            ],
            "TagSpecifications": [
                {"ResourceType": kind, "Tags": [{"Key": "frontload:build", "Value": "b1"}]}
                for kind in ("instance", "volume")
            ],
        }
        return self.ec2.run_instances(**{**request, **changes})["Instances"][0]["InstanceId"]

    def instance(self, instance_id: str) -> dict[str, Any]:
        """The instance as DescribeInstances shows it."""
        answer = self.ec2.describe_instances(InstanceIds=[instance_id])
        return answer["Reservations"][0]["Instances"][0]

    def state(self, instance_id: str) -> str:
        """The instance's state name."""
        return self.instance(instance_id)["State"]["Name"]

    def online(self, instance_id: str) -> bool:
        """Whether the SSM agent is Online."""
        listed = self.ssm.describe_instance_information(
            Filters=[{"Key": "InstanceIds", "Values": [instance_id]}]
        )["InstanceInformationList"]
        return [entry["PingStatus"] for entry in listed] == ["Online"]

    def stays_offline(self, instance_id: str) -> None:
        """Fail unless the instance runs on the builder host and its agent stays absent."""
        wait_until(lambda: instance_id in self.host.running)
        time.sleep(OFFLINE_SECONDS)
        agent = self.control.state()["instances"][instance_id]["agent"]
        assert (self.state(instance_id), agent) == ("running", "absent")

    def launch_online(self, **changes: Any) -> str:
        """Run an instance and wait until its agent is online; returns its id."""
        instance_id = self.launch(**changes)
        wait_until(lambda: self.online(instance_id))
        return instance_id

    def data_volume(self, instance_id: str) -> str:
        """The id of the instance's data volume."""
        mappings = self.instance(instance_id)["BlockDeviceMappings"]
        return {m["DeviceName"]: m["Ebs"]["VolumeId"] for m in mappings}["/dev/xvdb"]

    def send(self, instance_id: str, script: str, seconds: int = 60, **changes: Any) -> str:
        """Send a shell command; returns its id."""
        return self.ssm.send_command(
            InstanceIds=[instance_id],
            DocumentName="AWS-RunShellScript",
            Parameters={"commands": [script], "executionTimeout": [str(seconds)]},
            **changes,
        )["Command"]["CommandId"]

    def command_status(self, command_id: str) -> tuple[str, str]:
        """Status and details as ListCommands shows them."""
        command = self.ssm.list_commands(CommandId=command_id)["Commands"][0]
        return command["Status"], command["StatusDetails"]

    def snapshot(
        self, snapshot_id: str, region: str = REGION, account: str = ACCOUNT
    ) -> dict[str, Any]:
        """The snapshot as DescribeSnapshots shows it to an account."""
        ec2 = self.client("ec2", region, account)
        return ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]


def wait_until(condition: Callable[[], Any], seconds: float = 5.0) -> None:
    """Poll until the condition is true; fails the test after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the awaited condition never held"
        time.sleep(0.02)


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[Aws]:
    host = FakeHost(tmp_path)
    layer = AwsLayer(host, ACCOUNT, REGION, registry_token="t" * 100)
    layer.cloud.settings.update(FAST)
    layer.start()
    yield Aws(layer, host)
    layer.stop()


@pytest.fixture(scope="package")
def cloud() -> Iterator[LocalCloud]:
    """One local cloud for this package's tests; they leave it as it was.

    Its scope is not the session: another package may want its own, and a process can run only one.
    """
    with LocalCloud(wait_scale=0.01, settings=FAST) as running:
        yield running


@pytest.fixture(scope="package")
def layout(cloud: LocalCloud) -> Layout:
    """A layout with a small image `app` and a two-platform image `multi`, both on one base."""
    made = Layout(cloud.state_dir / "layout")
    base = [BUSYBOX, Layer("mixed", "base", 2)]
    made.add_image("app", [*base, Layer("random", "app", 1)])
    made.add_image("multi", base, ("x86_64", "arm64"))
    return made
