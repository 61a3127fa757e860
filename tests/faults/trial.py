"""A trial: one thing goes wrong in a run on a local cloud.

Then the reaper runs one cycle, and the rules are checked. If the first run did not succeed, a run
follows in which nothing goes wrong. The last run has nothing to do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from end_to_end.stack import (
    ROOT,
    Cache,
    Execution,
    Frontload,
    deploy_home,
    held_leases,
    wait_until,
)
from local_cloud import ACCOUNT, CONSUMERS, REGION
from local_cloud.cloud import LocalCloud
from local_cloud.fault_proxy import Call
from local_cloud.images import BUSYBOX, Layer, Layout
from statemachine.asl_definitions import ERROR_NAMES_SOURCE, rust_error_names

from .points import STOP, Point
from .rules import Aftermath, Expected, Place, violations

WAIT_SCALE = 0.01
QUICK = {
    "instance_running_seconds": 0.05,
    "agent_online_seconds": 0.1,
    "shutting_down_seconds": 0.05,
    "snapshot_seconds": 0.1,
    "copy_seconds": 0.1,
    "invocation_delay_seconds": 0.05,
}
AWAY = "eu-west-1"
CONSUMER = CONSUMERS[0]
EXTERNAL_ID = "agreed-12345"
TAGS = ("v1", "v2")
LAST_CALL_SECONDS = 90
"""How long the reaper waits after an execution's end for its last calls, in seconds on AWS."""
QUIET_SECONDS = 90.0
"""The longest that a function's last call may take, in real time."""


@dataclass
class Outcome:
    """The outcome of a point."""

    point: str
    hits: int
    """How often it happened; 0 when the run did without the call."""
    ended: str
    """The status of the run, or the name of its error."""
    seconds: float
    violations: list[str] = field(default_factory=list)


class Trials:
    """A local cloud with a stack, a consumer account and one cache that was published before."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._cloud = cloud
        assert cloud.proxy is not None
        self._proxy = cloud.proxy
        self._names = rust_error_names(ERROR_NAMES_SOURCE.read_text())
        deploy_home(cloud, ConsumerExternalId=EXTERNAL_ID)
        consumer = {"FrontloadAccount": ACCOUNT, "ExternalId": EXTERNAL_ID}
        cloud.deploy(
            ROOT / "infra", consumer, "frontload-consumer", REGION, CONSUMER, "consumer.yaml"
        )
        layout = Layout(cloud.state_dir / "layout")
        for tag in TAGS:
            layout.add_image(tag, [BUSYBOX, Layer("random", tag, 1)])
        self._frontload = Frontload(cloud, layout)
        self._cache = Cache(self._frontload, "sweep")
        for tag in TAGS:
            cloud.push(layout, tag, self._cache.repository)
        self._frontload.wait_until_idle()
        self._runs = 0
        self._expected = Expected(
            self._cache,
            tuple(Place(a, r) for a in (ACCOUNT, CONSUMER) for r in (REGION, AWAY)),
            (CONSUMER,),
            self._survivors(),
        )
        # After these runs there is a current, a previous, and one to prune at every run.
        for _ in range(3):
            self._change_document()
            self._run_cleanly()

    def _survivors(self) -> tuple[str, ...]:
        """Make a snapshot without a tag and one of another stack; returns their ids."""
        ec2 = self._cloud.client("ec2")
        volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1, VolumeType="gp3")
        other = [{"Key": "frontload:stack", "Value": "another"}]
        made = [
            ec2.create_snapshot(VolumeId=volume["VolumeId"]),
            ec2.create_snapshot(
                VolumeId=volume["VolumeId"],
                TagSpecifications=[{"ResourceType": "snapshot", "Tags": other}],
            ),
        ]
        ec2.delete_volume(VolumeId=volume["VolumeId"])
        return tuple(one["SnapshotId"] for one in made)

    def reference(self) -> list[Call]:
        """The AWS calls of a run in which nothing goes wrong."""
        self._change_document()
        self._proxy.begin()
        self._run_cleanly()
        return self._proxy.end()[0]

    def attempt(self, point: Point) -> Outcome:
        """Run with the point's fault, and check what holds."""
        begun = time.monotonic()
        self._change_document()
        self._proxy.begin(point.call_fault)
        self._cloud.go_wrong(**point.mishap)
        ended = self._frontload.run(self._cache.name)
        self._wait_until_idle()
        hits = self._proxy.end()[1] + self._cloud.go_wrong()["hits"]
        told = self._named(ended, point)
        told += self._reap()
        told += violations(self._look(), self._expected)
        told += self._converge(ended)
        seconds = time.monotonic() - begun
        return Outcome(str(point), hits, ended.error or ended.status, seconds, told)

    def _change_document(self) -> None:
        self._runs += 1
        tag = TAGS[self._runs % len(TAGS)]
        self._cache.put(
            self._cache.reference(tag),
            regions=[{"region": REGION}, {"region": AWAY}],
            consumers=[{"account": CONSUMER}],
            retain={"count": 1, "minimumAgeDays": 0},
        )

    def _named(self, ended: Execution, point: Point) -> list[str]:
        """Check that a failed run has an error name of Frontload, unless the point stopped it."""
        if ended.status != "FAILED" or ended.error in self._names or point.fault == STOP:
            return []
        return [f"the run ended with {ended.error}, which is no name of ours: {ended.cause}"]

    def _wait_until_idle(self) -> None:
        """Wait until no execution runs, including a build whose pipeline was stopped."""
        executions = self._cloud.client("stepfunctions")
        for machine in (self._frontload.pipeline, self._frontload.build_machine):
            running = partial(
                executions.list_executions, stateMachineArn=machine, statusFilter="RUNNING"
            )
            wait_until(lambda asked=running: not asked()["executions"], f"the end of {machine}")

    def _reap(self) -> list[str]:
        """Run the one cycle of the reaper after the last calls are over, as the schedule does."""
        if told := self._wait_for_functions():
            return told
        self._proxy.wait_until_quiet(0.1, QUIET_SECONDS)
        time.sleep(LAST_CALL_SECONDS * self._cloud.wait_scale)
        self._let_turns_pass()
        answer = self._frontload.invoke("reap", {})
        # A reaper of an event or the schedule may run, too; they leave each other's work alone.
        told = self._wait_for_functions()
        return told + ([f"S4 the reaper fails: {answer.message}"] if answer.error else [])

    def _let_turns_pass(self) -> None:
        """Delete the turn of a reaper that died, as after a minute. No reaper works here."""
        self._cloud.client("dynamodb").delete_item(
            TableName=self._frontload.resource("LeaseTable"),
            Key={"cacheAndArchitecture": {"S": "the reaper"}},
        )

    def _wait_for_functions(self) -> list[str]:
        """Wait until no function works, by any caller; returns a sentence if one works too long."""
        end = time.monotonic() + QUIET_SECONDS
        while self._cloud.go_wrong()["underWay"] > 0:
            if time.monotonic() > end:
                return [f"a function still worked {QUIET_SECONDS:.0f} s after the run"]
            time.sleep(0.05)
        return []

    def _converge(self, ended: Execution) -> list[str]:
        """Check that another run succeeds if this one did not, and the next has nothing to do."""
        told = []
        if ended.status != "SUCCEEDED":
            again = self._frontload.run(self._cache.name)
            if again.status != "SUCCEEDED":
                told.append(f"S5 the next run failed: {again.cause}")
            found = violations(self._look(), self._expected)
            told += [f"after the next run: {one}" for one in found]
        last = self._frontload.run(self._cache.name)
        outcomes = [one["result"]["outcome"] for one in last.output.get("builds", [])]
        if outcomes != ["unchanged"]:
            told.append(f"S9 a run with nothing to do ended with {outcomes or last.cause}")
        return told

    def _run_cleanly(self) -> None:
        ended = self._frontload.run(self._cache.name)
        if ended.status != "SUCCEEDED":
            raise RuntimeError(f"a run in which nothing goes wrong failed: {ended.cause}")

    def _look(self) -> Aftermath:
        control = self._cloud.control
        state, snapshots, parameters = control.state(), control.snapshots(), control.parameters()
        volumes = self._cloud.client("ec2").describe_volumes()["Volumes"]
        return Aftermath(
            parameters=parameters,
            snapshots=snapshots,
            instances=state["instances"],
            volumes=volumes,
            leases=held_leases(self._cloud),
            commands=state["commands"],
            held={one["id"]: self._digests_on(one["id"]) for one in snapshots},
            values={
                (one["account"], one["region"], one["name"], label): value
                for one in parameters
                for label, value in one["labelled"].items()
            },
            secret=self._cloud.layer.cloud.registry_token,
        )

    def _digests_on(self, snapshot: str) -> list[str]:
        return self._cloud.host.digests_on(snapshot)


@contextmanager
def trials(say: Any = None) -> Iterator[Trials]:
    """Start a new local cloud for some trials.

    Its builder host and registry are the scripted stand-ins, which pull nothing.
    """
    with LocalCloud("scripted", WAIT_SCALE, QUICK, say, faulty=True) as cloud:
        yield Trials(cloud)
