"""One Frontload stack in the local cloud: deployed, inspected from outside, and deleted."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from end_to_end.inspector import Inspector, Version
from end_to_end.stack import Cache, Frontload, deploy_home
from local_cloud import ACCOUNT
from local_cloud.clients import make_client
from local_cloud.cloud import LocalCloud
from local_cloud.images import Layout

DELETE_SECONDS = 60.0
POLL_SECONDS = 0.2
# What carries a stack's name, by kind: service, operation, and the keys of list and name.
NAMED = {
    "alarms": ("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
    "functions": ("lambda", "list_functions", "Functions", "FunctionName"),
    "instance profiles": (
        "iam",
        "list_instance_profiles",
        "InstanceProfiles",
        "InstanceProfileName",
    ),
    "log groups": ("logs", "describe_log_groups", "logGroups", "logGroupName"),
    "queues": ("sqs", "list_queues", "QueueUrls", None),
    "roles": ("iam", "list_roles", "Roles", "RoleName"),
    "rules": ("events", "list_rules", "Rules", "Name"),
    "schedules": ("scheduler", "list_schedules", "Schedules", "Name"),
    "state machines": ("stepfunctions", "list_state_machines", "stateMachines", "name"),
    "tables": ("dynamodb", "list_tables", "TableNames", None),
}


@dataclass(frozen=True)
class Snapshot:
    """What a consumer relies on in a snapshot."""

    state: str
    tags: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class SurvivingState:
    """What must survive an upgrade. All but the leases must survive the stack's deletion, too."""

    configuration: dict[str, str]
    published: dict[str, list[Version]]
    snapshots: dict[str, Snapshot]
    leases: list[dict[str, Any]] = field(default_factory=list)


class Deployment:
    """A stack by name, with its own path in Parameter Store. Every wait has a time limit."""

    def __init__(self, cloud: LocalCloud, layout: Layout, stack: str) -> None:
        self._cloud = cloud
        self._layout = layout
        self._formation = cloud.client("cloudformation")
        self.stack = stack
        self.prefix = f"/{stack}"

    # Life cycle

    def deploy(self, **parameters: str) -> None:
        """Create it from the built template, or upgrade it to that. Raises DeployError."""
        deploy_home(self._cloud, self.stack, **{"ParameterPrefix": self.prefix, **parameters})

    def upgrade_to(self, directory: Path, **parameters: str) -> None:
        """Deploy `template.yaml` of a directory; parameters that are not given keep their values.

        Raises DeployError.
        """
        self._cloud.deploy(directory, parameters, self.stack)

    def delete(self) -> None:
        """Delete the stack; no error when there is none.

        Raises TimeoutError when it is not gone in time, or when something cannot be deleted.
        """
        self._formation.delete_stack(StackName=self.stack)
        end = time.monotonic() + DELETE_SECONDS
        while (status := self.status()) not in ("", "DELETE_COMPLETE"):
            if time.monotonic() > end or status == "DELETE_FAILED":
                raise TimeoutError(f"stack {self.stack} is {status}")
            time.sleep(POLL_SECONDS)

    def status(self) -> str:
        """The stack's status in CloudFormation; empty when there is no such stack."""
        return self._describe().get("StackStatus", "")

    def _describe(self) -> dict[str, Any]:
        listed = self._formation.describe_stacks()["Stacks"]
        return next((one for one in listed if one["StackName"] == self.stack), {})

    def refusals(self) -> dict[str, str]:
        """The reason of every resource that could not be created, by logical id."""
        pages = self._formation.get_paginator("describe_stack_events")
        events = (
            one for page in pages.paginate(StackName=self.stack) for one in page["StackEvents"]
        )
        return {
            one["LogicalResourceId"]: one["ResourceStatusReason"]
            for one in events
            if one["ResourceStatus"] == "CREATE_FAILED"
        }

    # Inspection

    def parameters(self) -> dict[str, str]:
        """The values that the stack was given."""
        given = self._describe().get("Parameters", [])
        return {one["ParameterKey"]: one["ParameterValue"] for one in given}

    def resources(self) -> dict[str, str]:
        """Physical id by logical id."""
        listed = self._formation.describe_stack_resources(StackName=self.stack)["StackResources"]
        return {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in listed}

    def traces(self) -> dict[str, list[str]]:
        """Names that contain the stack's name, by kind, and the path's owner."""
        found = {}
        for kind, (service, operation, many, name) in NAMED.items():
            listed = getattr(self._cloud.client(service), operation)().get(many, [])
            names = [one[name] if name else one for one in listed]
            found[kind] = sorted(one for one in names if f"{self.stack}-" in one.replace("/", "-"))
        found["owner of the path"] = self._owner()
        return found

    def _owner(self) -> list[str]:
        """The path's owner. CloudFormation writes it to MiniStack's Parameter Store."""
        ssm = make_client("ssm", self._cloud.url, ACCOUNT)
        name = f"{self.prefix}/stack"
        return [one["Value"] for one in ssm.get_parameters(Names=[name])["Parameters"]]

    # Use

    def frontload(self) -> Frontload:
        """A driver of the stack as it is deployed now."""
        return Frontload(self._cloud, self._layout, self.stack, self.prefix)

    def cache(self, name: str = "default") -> Cache:
        """A cache of this stack as it is deployed now."""
        return Cache(self.frontload(), name)

    def kept(self) -> SurvivingState:
        """The current state of all that must survive an upgrade."""
        inspector = Inspector(self._cloud)
        ssm = self._cloud.client("ssm")
        pages = ssm.get_paginator("get_parameters_by_path")
        listed = pages.paginate(Path=self.prefix, Recursive=True)
        values = {one["Name"]: one["Value"] for page in listed for one in page["Parameters"]}
        caches = f"{self.prefix}/caches/"
        return SurvivingState(
            {name: value for name, value in values.items() if name.startswith(caches)},
            {name: inspector.versions(name) for name in values if not name.startswith(caches)},
            self.snapshots(),
            self._leases(),
        )

    def snapshots(self) -> dict[str, Snapshot]:
        """The snapshots that carry the stack's tag."""
        found = {}
        for name, one in Inspector(self._cloud).snapshots().items():
            tags = frozenset((tag["Key"], tag["Value"]) for tag in one.get("Tags", []))
            if ("frontload:stack", self.stack) in tags:
                found[name] = Snapshot(one["State"], tags)
        return found

    def _leases(self) -> list[dict[str, Any]]:
        if not self.status():
            return []
        table = self.resources()["LeaseTable"]
        items = self._cloud.client("dynamodb").scan(TableName=table)["Items"]
        return sorted(items, key=json.dumps)
