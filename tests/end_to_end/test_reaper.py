"""What a stopped execution leaves behind, and how the reaper removes it (S4)."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from local_cloud.cloud import LocalCloud

from .inspector import Inspector, State
from .stack import STACK, Cache, Frontload, wait_until

# Every step of a build, in order.
STEPS = (
    "ClaimBuild",
    "Preflight",
    "LaunchBuilder",
    "PullImages",
    "EndBuilder",
    "SnapshotVolume",
    "ReplicateSnapshots",
    "PublishSnapshot",
    "PruneSnapshots",
    "CleanUp",
)
REAPED_SECONDS = 30.0


@pytest.fixture
def stoppable(cache: Cache) -> Cache:
    """A cache that can be built, slowly enough to be stopped anywhere."""
    cache.push()
    cache.put()
    return cache


def stop_in(frontload: Frontload, cloud: LocalCloud, cache: Cache, step: str) -> None:
    """Start a build; stop it and the pipeline when the build has entered a step."""
    known = set(frontload.executions(frontload.build_machine))
    pipeline = frontload.start(cache.name)

    def in_step() -> str | None:
        for arn in set(frontload.executions(frontload.build_machine)) - known:
            entered = [e.get("stateEnteredEventDetails", {}) for e in frontload.history(arn)]
            if step in [one.get("name") for one in entered]:
                return arn
        return None

    build = wait_until(in_step, f"{step} of a build")
    for arn in (build, pipeline):
        stop(cloud, arn)


def stop(cloud: LocalCloud, arn: str) -> None:
    """Stop an execution; no error when it has already ended."""
    client = cloud.client("stepfunctions")
    try:
        client.stop_execution(executionArn=arn)
    except ClientError as refused:
        assert refused.response["Error"]["Message"] == "Execution is not running"


def unpublished(inspector: Inspector, before: State) -> list[str]:
    """The snapshots that are new since `before` and that no parameter names."""
    now = inspector.state()
    values = {one.value for versions in now.published.values() for one in versions}
    return [one for one in now.snapshots if one not in before.snapshots and one not in values]


def left(inspector: Inspector, before: State) -> list[str]:
    """What a build left: instances, volumes, leases, and snapshots that no parameter names."""
    now = inspector.state()
    volumes = [one for one in now.volumes if one not in before.volumes]
    return [*now.builders, *volumes, *now.leases, *unpublished(inspector, before)]


def reap_until_nothing_is_left(frontload: Frontload, inspector: Inspector, before: State) -> None:
    """Reap like the schedule, only faster. Raises TimeoutError when something stays."""

    def is_clean() -> bool:
        assert frontload.invoke("reap", {}).error == ""
        return left(inspector, before) == []

    wait_until(is_clean, "a state without leftovers", REAPED_SECONDS)


@pytest.mark.parametrize("step", STEPS)
def test_a_build_leaves_nothing_when_it_is_stopped_in(
    step: str, cloud: LocalCloud, frontload: Frontload, inspector: Inspector, stoppable: Cache
) -> None:
    before = inspector.state()
    stop_in(frontload, cloud, stoppable, step)
    reap_until_nothing_is_left(frontload, inspector, before)
    published = {name for name in inspector.parameter_names() if name in stoppable.parameters}
    assert published in (set(), set(stoppable.parameters)), "both, or neither"
    assert frontload.run(stoppable.name).status == "SUCCEEDED"
    assert inspector.published(stoppable)[1]["cache"] == stoppable.name


def test_the_event_of_a_stopped_execution_ends_its_builder(
    cloud: LocalCloud, frontload: Frontload, inspector: Inspector, stoppable: Cache
) -> None:
    before = inspector.state()
    stop_in(frontload, cloud, stoppable, "PullImages")
    wait_until(lambda: not inspector.builders_alive(), "the end of the builder")
    reap_until_nothing_is_left(frontload, inspector, before)


def test_the_schedule_reaps_builds_without_an_event(
    cloud: LocalCloud, frontload: Frontload, inspector: Inspector, stoppable: Cache
) -> None:
    before = inspector.state()
    events, rule = cloud.client("events"), frontload.resource("EndedExecutionRule")
    events.disable_rule(Name=rule)
    try:
        stop_in(frontload, cloud, stoppable, "PullImages")
        assert inspector.builders_alive() != []

        def is_clean() -> bool:
            cloud.run_schedule(frontload.resource("ReapSchedule"))
            return left(inspector, before) == []

        wait_until(is_clean, "a state without leftovers", REAPED_SECONDS)
    finally:
        events.enable_rule(Name=rule)


def test_a_reaper_removes_nothing_of_a_running_build(
    frontload: Frontload, inspector: Inspector, stoppable: Cache
) -> None:
    before = inspector.state()
    removed: list[Any] = []

    def reap() -> None:
        answer = frontload.invoke("reap", {})
        assert answer.error == "", answer.message
        removed.extend(answer.result["removed"])

    ended = frontload.wait(frontload.start(stoppable.name), on_poll=reap)
    assert (ended.status, removed) == ("SUCCEEDED", [])
    reap_until_nothing_is_left(frontload, inspector, before)
    assert removed == []


def test_the_reaper_keeps_untagged_resources_and_those_that_others_tagged_as_ours(
    cloud: LocalCloud, frontload: Frontload, inspector: Inspector
) -> None:
    ec2 = cloud.client("ec2")
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1, VolumeType="gp3")
    tags = [{"Key": "frontload:stack", "Value": STACK}, {"Key": "frontload:build", "Value": "b"}]
    forged = [{"ResourceType": "snapshot", "Tags": tags}]
    ids = [
        ec2.create_snapshot(VolumeId=volume["VolumeId"])["SnapshotId"],
        ec2.create_snapshot(VolumeId=volume["VolumeId"], TagSpecifications=forged)["SnapshotId"],
    ]
    ec2.create_tags(Resources=[volume["VolumeId"]], Tags=tags)

    def kept() -> list[str]:
        told = frontload.invoke("reap", {}).result
        assert told["removed"] == []
        assert [one for one in told["later"] if "another reaper is running" not in one] == []
        return told["kept"]

    # EC2 shows the tags a moment later, and another reaper may be running.
    (told,) = wait_until(kept, "the reaper's word about the volume")
    assert told == f"volume {volume['VolumeId']} has Frontload's tags but names no execution"
    assert [one for one in ids if one not in inspector.snapshots()] == []
    ec2.delete_volume(VolumeId=volume["VolumeId"])
    for snapshot in ids:
        ec2.delete_snapshot(SnapshotId=snapshot)
