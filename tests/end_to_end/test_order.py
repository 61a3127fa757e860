"""S8: of concurrent builds of a cache one runs at a time, and the planned digest wins."""

from __future__ import annotations

from local_cloud.builder_host.node import boot_node
from local_cloud.cloud import LocalCloud

from .inspector import Inspector
from .stack import Cache, Frontload, wait_until


class BuilderCounter:
    """Records the most builders that were alive at any poll."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector
        self.most = 0

    def __call__(self) -> None:
        self.most = max(self.most, len(self._inspector.builders_alive()))


def test_a_tag_that_moves_during_a_build_changes_only_the_next_build(
    cloud: LocalCloud, frontload: Frontload, inspector: Inspector, cache: Cache
) -> None:
    planned = cache.push("app").digest
    cache.put()
    # The builder starts only after the tag has moved.
    cloud.control.settings(instance_running_seconds=2.0)
    mark, watch = inspector.mark(), BuilderCounter(inspector)
    first = frontload.start(cache.name)
    wait_until(lambda: inspector.calls(mark, "RunInstances"), "the launch")
    moved = cache.push("other", on_poll=watch)
    assert frontload.wait(first).status == moved.execution.status == "SUCCEEDED"
    assert planned != moved.digest
    for label, digest in (("previous", planned), ("current", moved.digest)):
        snapshot_id, manifest = inspector.published(cache, label)
        assert [one["digest"] for one in manifest["images"]] == [digest]
        with boot_node(cloud.host, snapshot_id) as node:
            by_name = {cache.reference(): digest, cache.by_digest(digest): digest}
            assert node.images() == by_name
            node.start_container(cache.reference())
    assert watch.most == 1


def test_two_requests_for_a_cache_at_once_build_it_once(
    frontload: Frontload, inspector: Inspector, cache: Cache
) -> None:
    cache.push()
    cache.put()
    mark, watch = inspector.mark(), BuilderCounter(inspector)
    started = [frontload.start(cache.name) for _ in range(2)]
    ended = [frontload.wait(arn, watch) for arn in started]
    results = {result["outcome"]: result for execution in ended for result in execution.results}
    # The outcome depends on whether the first had begun when the second came.
    other = results.get("unchanged") or results["superseded"]
    assert "published" in results
    assert results["published"]["snapshotId"] in other["reason"] or other["successor"]
    assert watch.most == len(inspector.calls(mark, "RunInstances")) == 1
    assert len(inspector.versions(cache.parameters[0])) == 1
