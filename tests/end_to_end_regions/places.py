"""What each account has in each region, and the documents and keys for many regions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from end_to_end.stack import PREFIX, STACK, Cache, Execution, Frontload, held_leases
from local_cloud import ACCOUNT, REGION
from local_cloud.cloud import LocalCloud

LABELS = ("current", "previous")


@dataclass(frozen=True)
class Parameter:
    """The value that a reader gets without a label, and with each label."""

    value: str
    current: str | None
    previous: str | None


Published = dict[tuple[str, str, str], Parameter]
"""The parameters by account, region and name."""


class Places:
    """Inspects all accounts and regions of one local cloud."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._cloud = cloud

    # Parameters

    def published(self, cache: Cache) -> Published:
        """Every parameter of the cache's publication, in all accounts and regions."""
        return {
            (one["account"], one["region"], one["name"]): self._parameter(one)
            for one in self._cloud.control.parameters()
            if one["name"].startswith(f"{PREFIX}/{cache.name}/")
        }

    def _parameter(self, shown: dict[str, Any]) -> Parameter:
        ssm = self._cloud.client("ssm", shown["region"], shown["account"])

        def labelled(label: str) -> str | None:
            if label not in shown["labels"]:
                return None
            return ssm.get_parameter(Name=f"{shown['name']}:{label}")["Parameter"]["Value"]

        return Parameter(shown["value"], *map(labelled, LABELS))

    def snapshot_ids(self, cache: Cache) -> dict[tuple[str, str], Parameter]:
        """The snapshot-id parameters by account and region."""
        wanted = cache.parameters[0]
        found = self.published(cache).items()
        return {(account, region): value for (account, region, name), value in found
                if name == wanted}  # fmt: skip

    def manifest(self, cache: Cache, account: str, region: str) -> dict[str, Any]:
        """The current manifest that an account reads in a region."""
        return json.loads(self.published(cache)[account, region, cache.parameters[1]].value)

    def leases(self) -> list[str]:
        """The cache and architecture of every lease that a build holds."""
        return held_leases(self._cloud)

    # Snapshots

    def snapshots(self, cache: Cache) -> dict[str, dict[str, Any]]:
        """Every snapshot with the cache's tag, in all regions, by id."""
        found = self._cloud.control.snapshots()
        return {one["id"]: one for one in found if one["tags"].get("frontload:cache") == cache.name}

    def fast_restores(self, snapshot_id: str) -> list[tuple[str, str]]:
        """Zone and state of each fast restore of a snapshot, without disabled ones."""
        (found,) = [one for one in self._cloud.control.snapshots() if one["id"] == snapshot_id]
        restores = [(one["zone"], one["state"]) for one in found["fastRestores"]]
        return [(zone, state) for zone, state in restores if not state.startswith("disabl")]

    # Creation and deletion

    def make_key(self, region: str, *users: str) -> str:
        """Create a customer-managed key that these accounts may use, too; returns its ARN."""
        principals = [f"arn:aws:iam::{account}:root" for account in (ACCOUNT, *users)]
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": principals},
            "Action": "kms:*",
            "Resource": "*",
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        made = self._cloud.client("kms", region).create_key(Policy=policy)
        return made["KeyMetadata"]["Arn"]

    def make_snapshot(self, region: str, tags: dict[str, str], source: str | None = None) -> str:
        """Create a snapshot with these tags, a copy if `source` is one at home; returns its id."""
        ec2 = self._cloud.client("ec2", region)
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        tagged = [{"ResourceType": "snapshot", "Tags": listed}] if listed else []
        if source is not None:
            made = ec2.copy_snapshot(
                SourceRegion=REGION, SourceSnapshotId=source, TagSpecifications=tagged
            )
        else:
            volume = ec2.create_volume(AvailabilityZone=f"{region}a", Size=1, VolumeType="gp3")
            made = ec2.create_snapshot(VolumeId=volume["VolumeId"], TagSpecifications=tagged)
            ec2.delete_volume(VolumeId=volume["VolumeId"])
        self.wait_until_completed(region, made["SnapshotId"])
        return made["SnapshotId"]

    def wait_until_completed(self, region: str, *snapshot_ids: str) -> None:
        """Wait with EC2's own waiter, which has a time limit."""
        ec2 = self._cloud.client("ec2", region)
        waiter = ec2.get_waiter("snapshot_completed")
        config = {"Delay": 0.1, "MaxAttempts": 100}
        waiter.wait(SnapshotIds=list(snapshot_ids), WaiterConfig=config)

    def delete_snapshots(self, region: str, snapshot_ids: list[str]) -> None:
        """Delete snapshots of the home account in a region."""
        ec2 = self._cloud.client("ec2", region)
        for snapshot_id in snapshot_ids:
            ec2.delete_snapshot(SnapshotId=snapshot_id)


class Requests:
    """The requests that a person can send to the pipeline besides builds."""

    def __init__(self, cloud: LocalCloud, frontload: Frontload) -> None:
        self._executions = cloud.client("stepfunctions")
        self._frontload = frontload

    def roll_back(self, cache: Cache) -> Execution:
        """Roll back to the previous publication; waits for the end."""
        return self._ask(rollback={"cache": cache.name, "architecture": cache.architecture})

    def prune(self, cache: Cache, **order: Any) -> Execution:
        """Prune, with `dryRun`, `retire` or `confirm`; waits for the end."""
        return self._ask(prune={"cache": cache.name, **order})

    def _ask(self, **request: Any) -> Execution:
        machine = self._frontload.pipeline
        started = self._executions.start_execution(
            stateMachineArn=machine, input=json.dumps(request)
        )
        return self._frontload.wait(started["executionArn"])


def regions(*names: str, **settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The document's `regions`; settings by region, with underscores for hyphens."""
    return [{"region": name, **settings.get(name.replace("-", "_"), {})} for name in names]


def consumers(*accounts: str) -> list[dict[str, str]]:
    """The document's `consumers`."""
    return [{"account": account} for account in accounts]


def stack_tags(cache: Cache, build: str) -> dict[str, str]:
    """The tags of a snapshot that this stack made for a cache."""
    words = {"stack": STACK, "cache": cache.name, "build": build}
    words["architecture"] = cache.architecture
    return {f"frontload:{key}": value for key, value in words.items()}


def succeeded(execution: Execution) -> Execution:
    """Returns the execution; fails the test unless it succeeded."""
    assert execution.status == "SUCCEEDED", f"{execution.error}: {execution.cause}"
    return execution
