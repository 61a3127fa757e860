"""What exists: instances, volumes, snapshots, publications and leases, as AWS shows them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from local_cloud.cloud import LocalCloud

from .stack import PREFIX, STACK, Cache, held_leases

READING = ("Get", "Describe", "List", "BatchGet")


@dataclass(frozen=True)
class Version:
    """One version of a parameter."""

    number: int
    value: str
    labels: frozenset[str]


@dataclass(frozen=True)
class State:
    """All that a build could leave behind."""

    builders: list[str]
    """Instances that are not terminated."""
    volumes: list[str]
    snapshots: list[str]
    leases: list[str]
    published: dict[str, list[Version]]
    """Every version of every parameter."""


class Inspector:
    """Inspects one local cloud from outside."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._cloud = cloud
        self._control = cloud.control
        self._ec2 = cloud.client("ec2")
        self._ssm = cloud.client("ssm")

    # The account

    def state(self) -> State:
        """The current state, to compare with the state at another time."""
        names = self.parameter_names()
        return State(
            self.builders_alive(),
            [volume["VolumeId"] for volume in self._ec2.describe_volumes()["Volumes"]],
            sorted(self.snapshots()),
            held_leases(self._cloud),
            {name: self.versions(name) for name in names},
        )

    def instances(self) -> list[dict[str, Any]]:
        """Every instance as EC2 shows it."""
        pages = self._ec2.get_paginator("describe_instances").paginate()
        reservations = [one for page in pages for one in page["Reservations"]]
        return [instance for one in reservations for instance in one["Instances"]]

    def builders_alive(self) -> list[str]:
        """Ids of the instances that are not terminated."""
        return [i["InstanceId"] for i in self.instances() if i["State"]["Name"] != "terminated"]

    def snapshots(self) -> dict[str, dict[str, Any]]:
        """Every snapshot of the account by its id."""
        found = self._ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
        return {snapshot["SnapshotId"]: snapshot for snapshot in found}

    def parameter_names(self) -> list[str]:
        """Names of all parameters below our prefix, sorted."""
        pages = self._ssm.get_paginator("get_parameters_by_path")
        found = pages.paginate(Path=PREFIX, Recursive=True)
        return sorted(one["Name"] for page in found for one in page["Parameters"])

    def versions(self, parameter: str) -> list[Version]:
        """The parameter's versions, oldest first; none when it does not exist."""
        try:
            answer = self._ssm.get_parameter_history(Name=parameter)
        except self._ssm.exceptions.ParameterNotFound:
            return []
        return [
            Version(one["Version"], one["Value"], frozenset(one.get("Labels", [])))
            for one in answer["Parameters"]
        ]

    # Publications

    def published(self, cache: Cache, label: str = "current") -> tuple[str, dict[str, Any]]:
        """Snapshot id and manifest of a publication, read by label as a consumer can."""
        snapshot_id, manifest = (
            self._ssm.get_parameter(Name=f"{name}:{label}")["Parameter"]["Value"]
            for name in cache.parameters
        )
        return snapshot_id, json.loads(manifest)

    def plant_publication(self, cache: Cache) -> None:
        """Plant an earlier publication of the cache, by a build that has no execution."""
        volume = self._ec2.create_volume(AvailabilityZone="us-east-1a", Size=1, VolumeType="gp3")
        tags = {"stack": STACK, "build": f"{cache.name}-earlier", "cache": cache.name}
        snapshot = self._ec2.create_snapshot(
            VolumeId=volume["VolumeId"],
            TagSpecifications=[
                {
                    "ResourceType": "snapshot",
                    "Tags": [{"Key": f"frontload:{k}", "Value": v} for k, v in tags.items()],
                }
            ],
        )
        self._ec2.delete_volume(VolumeId=volume["VolumeId"])
        manifest = json.dumps({"snapshotId": snapshot["SnapshotId"], "build": tags["build"]})
        values = (snapshot["SnapshotId"], manifest)
        for name, value in zip(cache.parameters, values, strict=True):
            self._ssm.put_parameter(Name=name, Value=value, Type="String")
            self._ssm.label_parameter_version(Name=name, Labels=["current"])

    # What was done

    def mark(self) -> int:
        """A point in the record of AWS calls, for `calls`."""
        return max((call["number"] for call in self._control.calls()), default=0)

    def calls(self, since: int, action: str | None = None) -> list[dict[str, Any]]:
        """The AWS calls after a mark, including the tests' own."""
        return [call for call in self._control.calls(action=action) if call["number"] > since]

    def changes(self, since: int) -> list[str]:
        """The actions after a mark that do not only read."""
        actions = [call["action"] for call in self.calls(since)]
        return [action for action in actions if not action.startswith(READING)]

    def commands(self, purpose: str, on: str) -> list[dict[str, Any]]:
        """The SSM commands on an instance, by purpose: `probe` or `pull`."""
        sent = [c for c in self._control.state()["commands"] if c["instanceId"] == on]
        return [c for c in sent if c["comment"].startswith(f"frontload {purpose} ")]
