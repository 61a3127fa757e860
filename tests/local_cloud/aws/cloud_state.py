"""The layer's own state: settings, planted faults, the builder host, and the clock."""

from __future__ import annotations

import dataclasses
import datetime
import json
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from ministack.core.iam_evaluator import ParsedStatement, parse_policy_document

from .. import error_codes
from ..request_check import InvalidRequests
from .grants import Grants
from .lags import Lags
from .token_buckets import TokenBuckets


class Place(NamedTuple):
    """An account in a region: the target of a call, and where its resources are."""

    account: str
    region: str


@dataclass
class Settings:
    """Durations in seconds, limits, and the choice where AWS's behavior is ambiguous."""

    instance_running_seconds: float = 0.5
    agent_online_seconds: float = 1.0
    """From running and booted until the SSM agent is online."""
    shutting_down_seconds: float = 0.3
    stopping_seconds: float = 0.3
    """From StopInstances until the instance is stopped."""
    power_cut_seconds: float = 30.0
    """How long EC2 waits for an operating system to shut down before it cuts the power. AWS waits
    some minutes; this is that time with waits scaled by a tenth."""
    terminated_visible_seconds: float = 3600.0
    snapshot_seconds: float = 2.0
    invocation_delay_seconds: float = 0.2
    """How long after SendCommand an invocation does not exist yet."""
    undelivered_seconds: float = 2.0
    """When a command planted as undeliverable ends, unless its own limit is earlier."""
    copy_seconds: float = 2.0
    """How long CopySnapshot takes, for every size."""
    copy_seconds_to: dict[str, float] = field(default_factory=dict)
    """The same, for destination regions with another duration."""
    call_seconds: float = 0.0
    """The network round trip of every call, in addition to its work."""
    stray: float = 0.0
    """The largest deviation of a boot, a snapshot and a copy from its duration, as a share of it.
    Their order determines how much each deviates."""
    longest_lag_seconds: float = 0.0
    """The longest delay until functions' Describe and List calls show an instance, a command or a
    tag; a few seconds on AWS."""
    rates_are_kept: bool = False
    """Whether functions' calls are throttled at AWS's default rates."""
    share_of_rates: float = 1.0
    """The share of the rates that functions get; other callers in the account use the rest."""
    deleted_parameter_rest_seconds: float = 0.0
    """How long functions may not write a parameter after its deletion; 30 s on AWS."""
    copies_per_region: int = 20
    """Copies that an account may have under way in one destination region."""
    fast_restore_enabling_seconds: float = 0.5
    fast_restore_optimizing_seconds: float = 1.0
    fast_restores_per_region: int = 5
    """Snapshots for which an account may have fast restores in one region."""
    regions_not_opted_in: list[str] = field(
        default_factory=lambda: ["af-south-1", "ap-east-1", "me-south-1"]
    )
    """Regions that are not enabled: a region's name for all accounts, or `<account>/<region>`."""
    caller_role: str = "frontload-PublishRole-0123456789ABC"
    """The role of every caller without a session: a Lambda's credentials name only its account,
    but a trust policy may check the role (`aws:PrincipalArn`)."""
    metadata_default: str = "enabled"
    """`HttpEndpoint` of an instance when neither its launch nor a call that changes the account's
    default sets it: `enabled` or `disabled`."""
    deny_unencrypted_volumes: bool = False
    """Whether a service control policy denies launches with an unencrypted volume."""
    largest_page: int = 1000
    """The limit of entries per page of EC2 and ECR; a low one shows whether a caller pages."""
    terminated_token: str = "same_instance"
    """The answer of RunInstances to the token of a terminated instance: `same_instance`, or the
    error `IdempotentInstanceTerminated`. Users reported both for AWS (boto3 issue 4406)."""

    def update(self, changes: dict[str, Any]) -> None:
        """Set the named fields. Raises ValueError when a name is unknown or a list is required."""
        known = {f.name: type(getattr(self, f.name)) for f in dataclasses.fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"no setting {name!r}; known: {', '.join(sorted(known))}")
            if known[name] is list and not isinstance(value, list):
                raise ValueError(f"setting {name!r} is a list")
            setattr(self, name, known[name](value))


@dataclass
class CallFault:
    """An AWS call that fails.

    `when` is `before` (nothing happened) or `after` (the effect happened and the answer is lost).
    The fault skips the first `skip` calls and then hits `count` calls. With `account` or `region`
    it hits and counts only calls there. The default `code` is the service's internal error. The
    default `status` is AWS's HTTP status for the code.
    """

    service: str
    action: str
    code: str = ""
    message: str = "planted by the local cloud"
    status: int = 0
    when: str = "before"
    count: int = 1
    skip: int = 0
    account: str | None = None
    region: str | None = None

    def __post_init__(self) -> None:
        self.code = self.code or error_codes.broken(self.service)
        self.status = self.status or error_codes.status_of(self.service, self.code)

    def concerns(self, service: str, action: str, place: Place) -> bool:
        """Whether the fault applies to this call."""
        return (
            (self.service, self.action) == (service, action)
            and self.account in (None, place.account)
            and self.region in (None, place.region)
        )

    def take(self) -> bool:
        """Count this call; return whether the fault hits it."""
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.count <= 0:
            return False
        self.count -= 1
        return True


@dataclass
class Faults:
    """The planted faults; each fault that happens lowers its counter."""

    snapshots_to_fail: int = 0
    copies_to_fail: list[dict[str, str]] = field(default_factory=list)
    snapshot_message: str = "planted by the local cloud"
    instances_never_online: int = 0
    slow_ends: list[float] = field(default_factory=list)
    commands_undelivered: list[dict[str, str]] = field(default_factory=list)
    lost_commands_to_run_again: int = 0
    script_edits: list[dict[str, Any]] = field(default_factory=list)
    calls: list[CallFault] = field(default_factory=list)

    def plant(self, changes: dict[str, Any]) -> None:
        """Set counters and texts, or add to the lists.

        A script edit is {"find": text, "replace": text}; it also reaches into base64. An
        undelivered command is its end without a run: {"status", "details"}, such as TimedOut and
        DeliveryTimedOut, or Failed and Undeliverable. A copy to fail is {"message"}; with "region"
        only a copy into that region fails. A slow end is the number of seconds by which one
        instance's operating system takes longer than usual to shut down.

        Raises ValueError when a name is unknown.
        """
        known = {f.name for f in dataclasses.fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"no fault {name!r}; known: {', '.join(sorted(known))}")
            if name == "calls":
                self.calls.extend(CallFault(**call) for call in value)
            elif isinstance(value, list):
                getattr(self, name).extend(value)
            else:
                setattr(self, name, value)

    def take(self, counter: str) -> bool:
        """Lower the counter of a planted fault; return False when none is left."""
        left = getattr(self, counter)
        if left <= 0:
            return False
        setattr(self, counter, left - 1)
        return True

    def for_call(self, service: str, action: str, place: Place) -> CallFault | None:
        """Return the planted fault that hits this call, if any."""
        for fault in self.calls:
            if fault.concerns(service, action, place) and fault.take():
                return fault
        return None

    def for_copy(self, region: str) -> str | None:
        """Return the state message with which this copy fails, if a fault is planted for it."""
        for fault in self.copies_to_fail:
            if fault.get("region", region) == region:
                self.copies_to_fail.remove(fault)
                return fault["message"]
        return None


FindRole = Callable[[str, str], "Role | None"]


@dataclass(frozen=True)
class Role:
    """An IAM role: its trust policy and its permission policies."""

    trust: dict[str, Any]
    policies: list[dict[str, Any]] = field(default_factory=list)

    @cached_property
    def statements(self) -> list[tuple[dict[str, Any], list[ParsedStatement]]]:
        """Each statement of the policies, as written and as the evaluator parses it."""
        found = []
        for policy in self.policies:
            written = policy["Statement"]
            for one in written if isinstance(written, list) else [written]:
                # `${*}` is a literal star; the evaluator does not support it.
                read = json.loads(json.dumps(one).replace("${*}", "?"))
                found.append((one, parse_policy_document({"Statement": [read]})))
        return found


@dataclass(frozen=True)
class Session:
    """A session of an assumed role, identified by its session token."""

    account: str
    role_name: str
    name: str
    role: Role
    expires: datetime.datetime

    @property
    def arn(self) -> str:
        """The caller's ARN, as GetCallerIdentity and policies show it."""
        return f"arn:aws:sts::{self.account}:assumed-role/{self.role_name}/{self.name}"


class CloudState:
    """The state of one running layer. `lock` is held during every AWS action and every change.

    `account` and `region` are home: where the ECR registry is. A call without a 12-digit access
    key id is treated as home's.
    """

    def __init__(self, host: Any, account: str, region: str) -> None:
        self.host = host
        self.account = account
        self.region = region
        self.home = Place(account, region)
        self.registry_token = ""
        self.find_role: FindRole = lambda account, name: None
        self.role_of_profile: Callable[[str, str], str] = lambda account, profile: profile
        """The name of the role in an instance profile, by account and the profile's name."""
        self.sessions: dict[str, Session] = {}
        """By token. `renew` keeps them: a warm Lambda keeps its credentials."""
        self.function_roles: dict[tuple[str, str], Role] = {}
        """The roles of functions, by account and name; a deployment clears them."""
        self.grants = Grants()
        self.invalid_requests = InvalidRequests()
        """Functions' requests that AWS would refuse; a reset keeps them for a test to check."""
        self.lock = threading.RLock()
        self.settings = Settings()
        self.stopping = threading.Event()
        self._of_thread = threading.local()
        self.renew()

    def renew(self) -> None:
        """Forget everything but the settings; earlier threads see `stopping` set."""
        self.stopping.set()
        self.stopping = threading.Event()
        self.faults = Faults()
        self._random = random.Random(1)
        self.lags = Lags()
        self.buckets = TokenBuckets()
        self.deleted_parameters: dict[tuple[Place, str], float] = {}
        self.instances: dict[str, Any] = {}
        self.client_tokens: dict[str, Any] = {}
        self.commands: dict[str, Any] = {}
        self.host_errors: list[str] = []
        self.host_volumes: set[str] = set()
        self.host_snapshots: set[str] = set()
        self.fast_restores: list[Any] = []
        self.metadata_defaults: dict[Place, dict[str, Any]] = {}
        self.newest_bottlerocket: str | None = None
        """The version that a test released; None for the initial one."""
        self.places: set[Place] = {self.home}
        self.seeded: set[Place] = set()

    def create_volume(self, volume: Any) -> None:
        """Create an EBS volume's bytes on the builder host."""
        self.host.create_volume(volume.id, int(volume.size), volume.snapshot_id)
        self.host_volumes.add(volume.id)

    def delete_volume(self, volume_id: str) -> None:
        """Delete a volume's bytes, if it has any."""
        if volume_id in self.host_volumes:
            self.host_volumes.discard(volume_id)
            self.host.delete_volume(volume_id)

    def create_snapshot(self, volume_id: str, snapshot_id: str) -> None:
        """Copy a volume's bytes as they are on disk now, unflushed."""
        self.host.snapshot_volume(volume_id, snapshot_id)
        self.host_snapshots.add(snapshot_id)

    def copy_snapshot(self, source_id: str, snapshot_id: str) -> None:
        """Copy a snapshot's bytes by reference."""
        self.host.copy_snapshot(source_id, snapshot_id)
        self.host_snapshots.add(snapshot_id)

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Delete a snapshot's bytes, if it has any."""
        if snapshot_id in self.host_snapshots:
            self.host_snapshots.discard(snapshot_id)
            self.host.delete_snapshot(snapshot_id)

    def lasting(self, seconds: float) -> float:
        """Return a duration of `seconds` with this time's deviation by `stray`."""
        stray = self.settings.stray
        return seconds * self._random.uniform(1 - stray, 1 + stray)

    def in_background(self, work: Callable[[], None], name: str) -> None:
        """Run `work` on a thread; an exception goes into `host_errors` for a test to read."""
        stopping = self.stopping

        def run() -> None:
            self._of_thread.stopping = stopping
            try:
                work()
            except Exception as error:
                if not stopping.is_set():
                    self.host_errors.append(f"{name}: {type(error).__name__}: {error}")

        threading.Thread(target=run, name=name, daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Wait real time, in background work; return False after a reset or stop of the cloud."""
        return not self._of_thread.stopping.wait(seconds)
