"""Calls of EC2 that change something, made with DryRun and the caller's own permissions.

AWS answers with the error DryRunOperation when it would have done such a call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from .account import Account, Options, code_of
from .created import tags
from .launches import DATA_DEVICE, Launch
from .table import Answer, CheckError, Question, Skipped, Table
from .template import Stack

ALLOWED = "DryRunOperation"
REFUSED = "Frontload's own call of this form would be refused in this account, too."


def _question(name: str, asked: str, bad: str = REFUSED) -> Question:
    return Question(f"dry run: {name}", asked, "EC2 takes a call of this form.", bad)


FULL = _question("launch in full", "ec2:RunInstances as Frontload makes it, in a named subnet")
DEFAULT = _question(
    "launch in the default network",
    "ec2:RunInstances with a network interface that names no subnet",
    "A cache without builder.subnetIds cannot be built in this account: name subnets.",
)
SPOT = _question(
    "launch on Spot",
    "ec2:RunInstances as one-time Spot",
    "Caches with builder.spot are refused on Spot. See `builder.spot` in docs/configuration.md.",
)
INCREMENTAL = _question(
    "launch incremental",
    "ec2:RunInstances with the data volume from a snapshot of the stack",
    "Builds that start from an earlier snapshot fail; incremental.maxLinks 0 avoids them.",
)
KEEP = _question(
    "keep the data volume",
    "ec2:ModifyInstanceAttribute, DeleteOnTermination of /dev/xvdb of the small builder",
    "Every build fails in the step End: the data volume would go with its builder.",
)
SNAPSHOT = _question(
    "snapshot",
    "ec2:CreateSnapshot of the small builder's data volume",
    "Every build fails in the step SnapshotVolume.",
)
COPY = _question(
    "copy to another region",
    "ec2:CopySnapshot, called in the other region",
    "Caches with several regions fail in the step ReplicateSnapshot.",
)
SHARE = _question(
    "share",
    "ec2:ModifySnapshotAttribute, createVolumePermission for one account",
    "Caches with consumers fail in the step ReplicateSnapshot.",
)
FAST = _question(
    "fast restore",
    "ec2:EnableFastSnapshotRestores in one zone",
    "Caches with fsrZones fail in the step ReplicateSnapshot.",
)
LAUNCHES = (FULL, DEFAULT, SPOT, INCREMENTAL)
OF_SNAPSHOTS = (COPY, SHARE, FAST)


def dry(call: Callable[..., Any], **parameters: Any) -> Answer:
    """Make a call as a dry run.

    Raises ClientError when AWS would not do it, and CheckError when AWS ignored DryRun.
    """
    try:
        call(DryRun=True, **parameters)
    except ClientError as error:
        if code_of(error) == ALLOWED:
            return Answer(f"{ALLOWED}: it would have been done")
        raise
    raise CheckError("AWS did not take it for a dry run")


@dataclass(frozen=True)
class DryRuns:
    """The dry runs of a run."""

    account: Account
    options: Options
    stack: Stack
    table: Table

    def launches(self, launch: Launch) -> None:
        """Ask the rows of RunInstances."""
        ask = self.table.ask
        ask(FULL, lambda: self._launch(launch, "full", self._subnet()))
        ask(DEFAULT, lambda: self._launch(launch, "default network", None))
        ask(SPOT, lambda: self._launch(launch, "spot", self.options.subnet, spot=True))
        ask(INCREMENTAL, lambda: self._incremental(launch))

    def _launch(self, launch: Launch, name: str, subnet: str | None, spot: bool = False) -> Answer:
        asked = launch.request(name, subnet, spot=spot, more_tags=self.tags())
        return dry(self.account.ec2.run_instances, **asked)

    def code_of_launch(self, launch: Launch, ec2: Any) -> str:
        """AWS's code for a dry run of the launch by another caller, whose client is `ec2`."""
        request = launch.request("as the role", self.options.subnet, more_tags=self.tags())
        try:
            ec2.run_instances(DryRun=True, **request)
        except ClientError as error:
            return code_of(error)
        return "no answer to a dry run"

    def tags(self) -> dict[str, str]:
        """Frontload's own tags, for launches that are only dry runs."""
        told = {"stack": self.stack.name, "build": f"check-{self.account.run}", "cache": "check"}
        return {f"frontload:{name}": value for name, value in told.items()}

    def _subnet(self) -> str:
        if self.options.subnet:
            return self.options.subnet
        default = {"Name": "default-for-az", "Values": ["true"]}
        found = self.account.ec2.describe_subnets(Filters=[default])["Subnets"]
        if not found:
            raise Skipped("there is no default subnet", "Name one with --subnet.")
        return min(subnet["SubnetId"] for subnet in found)

    def _incremental(self, launch: Launch) -> Answer:
        snapshot = snapshot_of_stack(self.account, self.stack)
        asked = launch.request("incremental", self.options.subnet, snapshot, more_tags=self.tags())
        # A volume cannot be smaller than its snapshot, and its size does not matter here.
        asked["BlockDeviceMappings"][1]["Ebs"].pop("VolumeSize")
        return dry(self.account.ec2.run_instances, **asked)

    def keep(self, instance: str) -> None:
        """Ask the row of ModifyInstanceAttribute."""
        self.table.ask(
            KEEP,
            lambda: dry(
                self.account.ec2.modify_instance_attribute,
                InstanceId=instance,
                BlockDeviceMappings=[kept()],
            ),
        )

    def create_snapshot(self, volume: str) -> None:
        """Ask the row of CreateSnapshot."""
        self.table.ask(
            SNAPSHOT,
            lambda: dry(
                self.account.ec2.create_snapshot,
                VolumeId=volume,
                TagSpecifications=tags(self.account, "dry run", "snapshot"),
            ),
        )

    def of_snapshots(self, own: str | None) -> None:
        """Ask the rows about a snapshot: this run's own, else one of the stack."""

        def asked(of: Callable[[str], Answer]) -> Callable[[], Answer]:
            return lambda: of(own or snapshot_of_stack(self.account, self.stack))

        self.table.ask(COPY, asked(self._copy))
        self.table.ask(SHARE, asked(self._share))
        self.table.ask(FAST, asked(self._fast_restore))

    def _copy(self, snapshot: str) -> Answer:
        region = self.account.other_region(self.options.copy_region)
        answer = dry(
            self.account.client("ec2", region).copy_snapshot,
            SourceRegion=self.account.region,
            SourceSnapshotId=snapshot,
            TagSpecifications=tags(self.account, "dry run", "snapshot"),
        )
        return answer._replace(said=f"{answer.said}, from {self.account.region} to {region}")

    def _share(self, snapshot: str) -> Answer:
        consumer = self.options.consumer_account or self.account.id
        added = [{"UserId": consumer}]
        answer = dry(
            self.account.ec2.modify_snapshot_attribute,
            SnapshotId=snapshot,
            Attribute="createVolumePermission",
            CreateVolumePermission={"Add": added},
        )
        return answer._replace(said=f"{answer.said}, for account {consumer}")

    def _fast_restore(self, snapshot: str) -> Answer:
        zones = self.account.ec2.describe_availability_zones()["AvailabilityZones"]
        zone = zones[0]["ZoneName"]
        return dry(
            self.account.ec2.enable_fast_snapshot_restores,
            AvailabilityZones=[zone],
            SourceSnapshotIds=[snapshot],
        )


def kept() -> dict[str, Any]:
    """The block device as End requests it (`shared/aws/src/instances.rs`, `keep_data_volume`)."""
    return {"DeviceName": DATA_DEVICE, "Ebs": {"DeleteOnTermination": False}}


def snapshot_of_stack(account: Account, stack: Stack) -> str:
    """The newest completed snapshot of a deployed stack. Raises Skipped when it has none."""
    wanted = [
        {"Name": "tag:frontload:stack", "Values": [stack.name]},
        {"Name": "status", "Values": ["completed"]},
    ]
    found = account.ec2.describe_snapshots(OwnerIds=["self"], Filters=wanted)["Snapshots"]
    if not found:
        raise Skipped(
            f"stack {stack.name} has no completed snapshot in {account.region}",
            "Build a cache first, or leave out --no-builder.",
        )
    return max(found, key=lambda one: one["StartTime"])["SnapshotId"]
