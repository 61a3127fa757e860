"""S5: calling any step again is harmless."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from local_cloud import ACCOUNT
from local_cloud.cloud import LocalCloud

from .conftest import QUICK, new_cache
from .inspector import Inspector, State
from .stack import Answer, Cache, Execution, Frontload, wait_until

STEPS = [
    "claim", "preflight", "launch", "pull", "end", "snapshot", "replicate", "publish", "clean_up",
]  # fmt: skip

SETTINGS = QUICK | {"longest_lag_seconds": 0.0}
"""No lag: a pull that is repeated before SSM lists the first command would send a second one. The
state machine avoids that, because it knows the first command from the response."""
OF_A_REPORT = ("ready", "waitSeconds", "progress")


@dataclass(frozen=True)
class DoubledBuild:
    """A build that made every call twice in a row."""

    cache: Cache
    plans: list[Answer]
    outcome: str
    builder: str
    snapshot_id: str
    released: list[str]
    before: State
    mark: int


@pytest.fixture(scope="module")
def doubled(cloud: LocalCloud, frontload: Frontload) -> Iterator[DoubledBuild]:
    """Drives the functions as the state machine does, but calls each of them twice."""
    inspector = Inspector(cloud)
    with new_cache(frontload) as cache, running_execution(cloud) as execution:
        cache.push()
        cache.put()
        cloud.control.settings(**SETTINGS)
        before, mark = inspector.state(), inspector.mark()
        request = {"request": {"cache": cache.name}, "executionId": execution}
        plans = [frontload.invoke("plan", request) for _ in range(2)]
        payload: dict[str, Any] = {"executionId": execution, "waitedSeconds": 0}
        (payload["request"],) = plans[0].result["builds"]
        for step in STEPS:
            if step == "pull":
                call_before_ssm_shows_it(cloud, frontload, payload)
            payload |= twice_until_ready(frontload, step, payload)
            if step == "claim":
                (payload["region"],) = payload["build"]["regions"]
            if step == "replicate":
                payload["replicas"] = [payload["replica"]]
    cloud.control.settings(**QUICK)
    keys = ("outcome", "instanceId", "snapshotId", "released")
    yield DoubledBuild(cache, plans, *(payload[key] for key in keys), before, mark)


@contextmanager
def running_execution(cloud: LocalCloud) -> Iterator[str]:
    """The ARN of an execution that only runs: the reaper removes what belongs to no execution."""
    client = cloud.client("stepfunctions")
    wait = {"Type": "Wait", "Seconds": 86400, "End": True}
    definition = {"StartAt": "Wait", "States": {"Wait": wait}}
    role = f"arn:aws:iam::{ACCOUNT}:role/nobody"
    machine = client.create_state_machine(
        name="by-hand", definition=json.dumps(definition), roleArn=role
    )["stateMachineArn"]
    execution = client.start_execution(stateMachineArn=machine)["executionArn"]
    yield execution
    client.stop_execution(executionArn=execution)
    client.delete_state_machine(stateMachineArn=machine)


def call_before_ssm_shows_it(
    cloud: LocalCloud, frontload: Frontload, payload: dict[str, Any]
) -> None:
    """Pull twice while SSM does not show the invocation of the first call's command yet."""
    cloud.control.settings(invocation_delay_seconds=1.0)
    for _ in range(2):
        assert not frontload.invoke("pull", payload).result["ready"]
    cloud.control.settings(**SETTINGS)


def twice_until_ready(frontload: Frontload, step: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Call a step twice per round until it is done; returns its facts."""

    def ready() -> dict[str, Any] | None:
        answers = [frontload.invoke(step, payload) for _ in range(2)]
        assert [answer.error for answer in answers] == ["", ""], answers
        last = answers[1].result
        if last["ready"]:
            return last
        payload.update({key: value for key, value in last.items() if key not in OF_A_REPORT})
        return None

    facts = wait_until(ready, f"the end of {step}")
    again = frontload.invoke(step, payload)
    # Only the call of the clean-up that removed something reports it.
    assert step == "clean_up" or again == Answer(facts), step
    return again.result


def test_a_plan_is_the_same_each_time(doubled: DoubledBuild) -> None:
    assert doubled.plans[0] == doubled.plans[1]
    assert len(doubled.plans[0].result["builds"]) == 1


def test_steps_called_twice_make_everything_once(
    inspector: Inspector, doubled: DoubledBuild
) -> None:
    assert doubled.outcome == "claimed"
    tag = {"Key": "frontload:cache", "Value": doubled.cache.name}
    builders = [one["InstanceId"] for one in inspector.instances() if tag in one.get("Tags", [])]
    assert builders == [doubled.builder]
    copied = [call["parameters"] for call in inspector.calls(doubled.mark, "CreateSnapshot")]
    assert len([one for one in copied if doubled.cache.name in json.dumps(one)]) == 1
    parameters = doubled.cache.parameters
    assert [len(inspector.versions(name)) for name in parameters] == [1, 1]
    assert inspector.published(doubled.cache)[0] == doubled.snapshot_id


def test_a_pull_called_twice_sends_one_command(inspector: Inspector, doubled: DoubledBuild) -> None:
    assert len(inspector.commands("pull", on=doubled.builder)) == 1


def test_a_clean_up_called_twice_leaves_only_the_publication(
    inspector: Inspector, doubled: DoubledBuild
) -> None:
    assert doubled.released == []
    assert doubled.builder not in inspector.builders_alive()
    after = inspector.state()
    assert (after.builders, after.volumes, after.leases) == ([], [], [])
    assert doubled.snapshot_id in set(after.snapshots) - set(doubled.before.snapshots)
    named = [
        id for id, one in inspector.snapshots().items() if doubled.cache.name in str(one["Tags"])
    ]
    assert named == [doubled.snapshot_id]


def payload_of(frontload: Frontload, build: Execution) -> dict[str, Any]:
    """The input that the steps of a finished build got."""
    facts = frontload.facts(build)
    (region,) = facts["build"]["regions"]
    known = ("build", "token", "pulled", "instanceId", "volumeId", "snapshotId")
    return {
        **{name: facts[name] for name in known},
        **{"request": build.input["request"], "executionId": build.arn, "waitedSeconds": 0},
        **{"region": region, "replicas": [facts["replica"]]},
    }


def test_a_late_repeat_of_any_step_of_a_finished_build_changes_nothing(
    frontload: Frontload, inspector: Inspector, cache: Cache
) -> None:
    cache.push()
    cache.put()
    (build,) = frontload.builds_of(frontload.run(cache.name))
    payload = payload_of(frontload, build)
    before, mark = inspector.state(), inspector.mark()
    answers = {step: [frontload.invoke(step, payload) for _ in range(2)] for step in STEPS}
    assert [step for step, (first, second) in answers.items() if first != second] == []
    # Its builder, its volume and its lease are gone for good: four steps must fail with that.
    failed = {step: answer.error for step, (answer, _) in answers.items() if answer.error}
    lost = dict.fromkeys(("launch", "pull", "end"), "BuilderLost")
    assert failed == lost | {"publish": "LeaseLost"}
    assert answers["claim"][0].result["outcome"] == "unchanged"
    assert answers["snapshot"][0].result["snapshotId"] == inspector.published(cache)[0]
    assert answers["clean_up"][0].result["released"] == []
    assert inspector.changes(mark) == []
    assert inspector.state() == before
