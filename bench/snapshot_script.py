"""aws-samples/bottlerocket-images-cache's snapshot.sh, call by call, with boto3.

The calls, their order and the waits between them are those of the script (commit 3370ea0). Its
waiters are the AWS CLI's, which are botocore's. Two things favour the script here: CloudFormation,
which first makes a role and an instance profile, is left out except for the polling interval of its
CLI, and the script never fails. Its users add what it does not do: copies, one region after the
other, sharing, and a parameter in each region.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import WaiterError

STACK_LOOK_SECONDS = 30.0
"""How often `aws cloudformation deploy` polls until the stack is made."""
LOOK_SECONDS = 5.0
IMAGE = "/aws/service/bottlerocket/aws-k8s-1.35/x86_64/latest/image_id"
PROFILE = "snapshot-script"
"""Instance profile of the script's stack; the local cloud does not look up its role."""
CTR = "apiclient exec admin sheltie ctr -a /run/containerd/containerd.sock -n k8s.io"
Client = Callable[..., Any]


@dataclass
class Times:
    """Unix times of a run's milestones, and the resources that its physical waits depend on."""

    begun: float = 0.0
    home: float = 0.0
    """The home region's parameter is written; here the script ends."""
    everywhere: float = 0.0
    instance: str = ""
    snapshots: tuple[str, ...] = ()


class SnapshotScript:
    """One run of snapshot.sh. `client` returns a boto3 client for a service and region.

    `scale` shortens the waits between two polls, as for the state machines.
    """

    def __init__(self, client: Client, home: str, scale: float = 1.0) -> None:
        self._client = client
        self._home = home
        self._scale = scale
        self._ec2 = client("ec2", home)
        self._ssm = client("ssm", home)

    def run(
        self, images: Sequence[str], regions: Sequence[str], accounts: Sequence[str], name: str
    ) -> Times:
        """Make, copy, share and publish a snapshot of the images; `name` is the parameter's."""
        times = Times(begun=time.time())
        times.instance = self._deploy()
        self._wait_for_agent(times.instance)
        self._command(times.instance, "apiclient exec admin sheltie systemctl stop kubelet")
        self._command(times.instance, f"{CTR} images rm $({CTR} images ls -q)")
        for image in images:
            self._pull(times.instance, image)
        self._stop(times.instance)
        snapshot = self._snapshot(times.instance)
        self._ec2.terminate_instances(InstanceIds=[times.instance])
        self._publish(self._home, name, snapshot)
        times.home = time.time()
        self._share(self._home, snapshot, accounts)
        copies = [self._copy(region, snapshot, accounts, name) for region in regions]
        times.everywhere = time.time()
        times.snapshots = (snapshot, *copies)
        return times

    def _sleep(self, seconds: float) -> None:
        time.sleep(seconds * self._scale)

    def _deploy(self) -> str:
        image = self._ssm.get_parameter(Name=IMAGE)["Parameter"]["Value"]
        volume = {"VolumeSize": 50, "VolumeType": "gp3", "DeleteOnTermination": True}
        launched = self._ec2.run_instances(
            ImageId=image,
            InstanceType="m5.large",
            MinCount=1,
            MaxCount=1,
            IamInstanceProfile={"Name": PROFILE},
            BlockDeviceMappings=[{"DeviceName": "/dev/xvdb", "Ebs": volume}],
        )
        instance = launched["Instances"][0]["InstanceId"]
        while self._describe(instance)["State"]["Name"] != "running":
            self._sleep(STACK_LOOK_SECONDS)
        return instance

    def _describe(self, instance: str) -> dict[str, Any]:
        shown = self._ec2.describe_instances(InstanceIds=[instance])
        return shown["Reservations"][0]["Instances"][0]

    def _wait_for_agent(self, instance: str) -> None:
        wanted = [{"Key": "InstanceIds", "Values": [instance]}]
        while True:
            shown = self._ssm.describe_instance_information(Filters=wanted)
            if [one["PingStatus"] for one in shown["InstanceInformationList"]] == ["Online"]:
                return
            self._sleep(LOOK_SECONDS)

    def _command(self, instance: str, line: str) -> None:
        sent = self._ssm.send_command(
            InstanceIds=[instance],
            DocumentName="AWS-RunShellScript",
            Parameters={"commands": [line]},
        )
        self._wait("ssm", "command_executed", CommandId=sent["Command"]["CommandId"],
                   InstanceId=instance)  # fmt: skip

    def _pull(self, instance: str, image: str) -> None:
        token = "0" * 1600
        self._command(
            instance,
            f"{CTR} images pull --label io.cri-containerd.image=managed --platform amd64"
            f" {image} --u AWS:{token}",
        )

    def _wait(self, service: str, waiter: str, region: str = "", **of: Any) -> None:
        # The script restarts a waiter after five seconds, without a limit.
        made = self._client(service, region or self._home).get_waiter(waiter)
        delay = made.config.delay * self._scale
        while True:
            try:
                made.wait(**of, WaiterConfig={"Delay": delay})
                return
            except WaiterError as error:
                if error.last_response.get("Status") == "Failed":
                    raise
                self._sleep(LOOK_SECONDS)

    def _stop(self, instance: str) -> None:
        self._ec2.stop_instances(InstanceIds=[instance])
        self._wait("ec2", "instance_stopped", InstanceIds=[instance])

    def _snapshot(self, instance: str) -> str:
        devices = self._describe(instance)["BlockDeviceMappings"]
        (volume,) = [one["Ebs"]["VolumeId"] for one in devices if one["DeviceName"] == "/dev/xvdb"]
        snapshot = self._ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
        self._wait("ec2", "snapshot_completed", SnapshotIds=[snapshot])
        return snapshot

    def _copy(self, region: str, snapshot: str, accounts: Sequence[str], name: str) -> str:
        copied = self._client("ec2", region).copy_snapshot(
            SourceRegion=self._home, SourceSnapshotId=snapshot
        )["SnapshotId"]
        self._wait("ec2", "snapshot_completed", region, SnapshotIds=[copied])
        self._share(region, copied, accounts)
        self._publish(region, name, copied)
        return copied

    def _share(self, region: str, snapshot: str, accounts: Sequence[str]) -> None:
        self._client("ec2", region).modify_snapshot_attribute(
            SnapshotId=snapshot,
            Attribute="createVolumePermission",
            CreateVolumePermission={"Add": [{"UserId": account} for account in accounts]},
        )

    def _publish(self, region: str, name: str, snapshot: str) -> None:
        self._client("ssm", region).put_parameter(
            Name=name, Value=snapshot, Type="String", Overwrite=True
        )
