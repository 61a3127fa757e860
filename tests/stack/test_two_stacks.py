"""Two stacks in one account and region: each does its own work on its own things."""

from __future__ import annotations

from end_to_end.stack import Execution, Frontload, wait_until
from end_to_end.world import World
from local_cloud.cloud import LocalCloud

from .conftest import NewStack
from .deployment import Deployment


def test_two_stacks_side_by_side_build_from_one_push_and_touch_only_their_own(
    cloud: LocalCloud, new_stack: NewStack
) -> None:
    one, two = new_stack("first"), new_stack("second")
    one.deploy()
    two.deploy()
    assert shared_ids(one, two) == set()
    caches = [one.cache(), two.cache()]
    for cache in caches:
        cache.put()
    push = caches[0].push("app")
    assert push.execution.status == "SUCCEEDED", push.execution.cause
    other = only_execution(caches[1].frontload)
    assert other.status == "SUCCEEDED", other.cause

    world = World(cloud)
    published = [world.published(cache)[0] for cache in caches]
    assert [[name] for name in published] == [list(one.snapshots()), list(two.snapshots())]
    assert world.builders_alive() == []

    # The first gives its cache of the same name up: snapshots and parameters.
    before = two.kept()
    request = {"cache": caches[0].name, "retire": True, "confirm": caches[0].name}
    retired = caches[0].frontload.ask(prune=request)
    assert retired.status == "SUCCEEDED", retired.cause
    assert (one.snapshots(), one.kept().published) == ({}, {})
    assert two.kept() == before


def shared_ids(one: Deployment, two: Deployment) -> set[str]:
    """Physical ids that both have."""
    return set(one.resources().values()) & set(two.resources().values())


def only_execution(frontload: Frontload) -> Execution:
    """The one execution of the pipeline that its rule started, when it is over."""
    pipeline = frontload.pipeline
    (arn,) = wait_until(lambda: frontload.executions(pipeline), f"an execution of {pipeline}")
    return frontload.wait(arn)
