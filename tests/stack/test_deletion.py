"""What a stack's deletion removes, what it leaves, and that the next stack continues from it."""

from __future__ import annotations

from dataclasses import replace

from end_to_end.inspector import Inspector
from local_cloud import ACCOUNT, REGION
from local_cloud.cloud import LocalCloud
from local_cloud.nodes import boot_node_from_parameter

from .conftest import NewStack


def test_a_deleted_stack_leaves_its_publications_and_the_next_stack_continues(
    cloud: LocalCloud, new_stack: NewStack
) -> None:
    stack, inspector = new_stack("leaving"), Inspector(cloud)
    stack.deploy()
    cache = stack.cache()
    cache.put()
    rollback = {"cache": cache.name, "architecture": cache.architecture}
    for _ in range(2):
        # Takes the lease and changes nothing: the next publication has a later token than the
        # first one of the next stack's table.
        assert cache.frontload.ask(rollback=rollback).error == "NothingToRollBack"
    first = cache.push("app")
    assert first.execution.status == "SUCCEEDED", first.execution.cause
    assert [kind for kind, names in stack.traces().items() if not names] == []
    before = stack.kept()
    assert len(before.configuration) == 1
    assert len(before.published) == 2
    assert [one.state for one in before.snapshots.values()] == ["completed"]

    stack.delete()
    assert [names for names in stack.traces().values() if names] == []
    assert stack.kept() == replace(before, leases=[])
    assert (inspector.builders_alive(), inspector.state().volumes) == ([], [])
    name, _ = cache.parameters
    with boot_node_from_parameter(cloud, ACCOUNT, REGION, name) as node:
        assert node.images()[cache.reference()] == first.digest
        node.start_container(cache.reference())

    stack.deploy()
    cache = stack.cache()
    second = cache.push("other")
    assert second.execution.status == "SUCCEEDED", second.execution.cause
    old, _ = inspector.published(cache, "previous")
    assert [old] == list(before.snapshots)
    rolled_back = cache.frontload.ask(rollback=rollback)
    assert rolled_back.status == "SUCCEEDED", rolled_back.cause
    assert inspector.published(cache)[0] == old
