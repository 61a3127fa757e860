"""Two stacks in one account and region: each works only on its own resources."""

from __future__ import annotations

import pytest
from end_to_end.inspector import Inspector
from end_to_end.stack import Execution, Frontload, wait_until
from local_cloud.cloud import LocalCloud
from local_cloud.deploy import DeployError

from .conftest import NewStack
from .deployment import Deployment


@pytest.fixture(scope="module")
def pair(new_stack: NewStack) -> tuple[Deployment, Deployment]:
    """Two stacks, each with its own path."""
    one, two = new_stack("first"), new_stack("second")
    one.deploy()
    two.deploy()
    return one, two


def test_two_stacks_have_nothing_in_common(pair: tuple[Deployment, Deployment]) -> None:
    one, two = pair
    assert [one.status(), two.status()] == ["CREATE_COMPLETE"] * 2
    assert set(one.resources().values()) & set(two.resources().values()) == set()


def test_two_stacks_build_from_one_push_and_touch_only_their_own_resources(
    cloud: LocalCloud, pair: tuple[Deployment, Deployment]
) -> None:
    one, two = pair
    caches = [one.cache(), two.cache()]
    for cache in caches:
        cache.put(retain={"count": 1, "minimumAgeDays": 0})
    push = caches[0].push("app")
    assert push.execution.status == "SUCCEEDED", push.execution.cause
    other = only_execution(caches[1].frontload)
    assert other.status == "SUCCEEDED", other.cause

    inspector = Inspector(cloud)
    published = [inspector.published(cache)[0] for cache in caches]
    assert [[name] for name in published] == [list(one.snapshots()), list(two.snapshots())]
    assert inspector.builders_alive() == []

    # The first retires its cache; the second has one with the same name and architecture.
    before = two.kept()
    request = {"cache": caches[0].name, "retire": True, "confirm": caches[0].name}
    retired = caches[0].frontload.ask(prune=request)
    assert retired.status == "SUCCEEDED", retired.cause
    assert (one.snapshots(), one.kept().published) == ({}, {})
    assert two.kept() == before


def only_execution(frontload: Frontload) -> Execution:
    """Wait for the only execution of the pipeline, which its rule started; returns it."""
    pipeline = frontload.pipeline
    (arn,) = wait_until(lambda: frontload.executions(pipeline), f"an execution of {pipeline}")
    return frontload.wait(arn)


def test_a_third_stack_under_the_path_of_one_is_refused_and_leaves_nothing(
    pair: tuple[Deployment, Deployment], new_stack: NewStack
) -> None:
    owner, _ = pair
    intruder = new_stack("intruder")
    before = owner.traces()
    assert before["owner of the path"] != []
    with pytest.raises(DeployError):
        intruder.deploy(ParameterPrefix=owner.prefix)
    (refused, why), *others = intruder.refusals().items()
    assert (refused, others) == ("PrefixOwner", [])
    assert "ParameterAlreadyExists" in why
    intruder.delete()
    assert [names for names in intruder.traces().values() if names] == []
    assert owner.traces() == before
