"""On a node, an image's directories have the modes and owners that a pull there would give."""

from __future__ import annotations

from local_cloud.builder_host.node import Node, boot_node
from local_cloud.cloud import LocalCloud
from local_cloud.images import OWNED

from .conftest import new_cache
from .inspector import Inspector
from .stack import Frontload

EXPECTED = [f"{mode:o} {owner}:{owner} /{name}" for name, (mode, owner) in OWNED.items()]


def modes(node: Node, reference: str) -> list[str]:
    """Mode, owner and name of each of the directories, as a container sees them."""
    show = ("/bin/busybox", "stat", "-c", "%a %u:%g %n", *(f"/{name}" for name in OWNED))
    return node.run_container(reference, *show).splitlines()


def test_directories_without_an_entry_in_a_layer_equal_those_of_a_cold_pull(
    cloud: LocalCloud, frontload: Frontload, inspector: Inspector
) -> None:
    with new_cache(frontload) as cache:
        pushed = cache.push("bare")
        cache.put()
        ended = frontload.wait(frontload.start(cache.name))
        assert ended.status == "SUCCEEDED", ended.cause
        assert pushed.digest
        snapshot_id, _ = inspector.published(cache)
        with boot_node(cloud.host, snapshot_id) as node:
            cached = modes(node, cache.reference())
        with boot_node(cloud.host, None, registry_on=True) as node:
            node.cold_pull(cache.reference())
            assert modes(node, cache.reference()) == cached == EXPECTED
