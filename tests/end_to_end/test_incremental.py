"""Builds that start from the published snapshot: chains, where they are cut, and damage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from local_cloud.builder_host.blob_source import OciLayout
from local_cloud.builder_host.content_check import check_node
from local_cloud.builder_host.interface import InstanceSpec
from local_cloud.builder_host.inventory import inventory_for, inventory_of
from local_cloud.builder_host.node import boot_node
from local_cloud.cloud import LocalCloud
from local_cloud.images import BUSYBOX, Layer, Layout

from .inspector import Inspector
from .stack import Cache, Execution, Frontload

MIB = 1 << 20
OFTEN = {"incremental": {"maxWastePercent": 1000}}
"""High enough for so small a volume, where the file system itself uses a large share."""
EMPTY_A_LAYER = (
    "layers=/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots; "
    'truncate --size=0 "$(find $layers/*/fs/data -type f | head -n 1)"'
)


@pytest.fixture(scope="module")
def versions(layout: Layout) -> list[str]:
    """Images that follow each other: one base of 8 MiB, and a top of 1 MiB that changes."""
    base = [BUSYBOX, Layer("random", "incremental-base", 8)]
    names = [f"incremental-{number}" for number in range(3)]
    for name in names:
        layout.add_image(name, [*base, Layer("random", name, 1)])
    return names


@dataclass(frozen=True)
class PublishedLink:
    """What a build published, and the snapshot that its builder's volume was created from."""

    snapshot_id: str
    manifest: dict[str, Any]
    volume_from: str | None


class Lineage:
    """A cache whose image is pushed again and again."""

    def __init__(self, cloud: LocalCloud, cache: Cache, layout: Layout) -> None:
        self._cloud = cloud
        self._layout = layout
        self._inspector = Inspector(cloud)
        self._cache = cache
        self._digest = ""

    def push(self, image: str) -> PublishedLink:
        """Push the image and wait until it is published."""
        mark = self._inspector.mark()
        push = self._cache.push(image)
        self._digest = push.digest
        return self.published(push.execution, mark)

    def published(self, execution: Execution, mark: int) -> PublishedLink:
        """What an execution published that began after the mark."""
        assert execution.status == "SUCCEEDED", execution.cause
        (launch,) = self._inspector.calls(mark, "RunInstances")
        (_root, device) = launch["parameters"]["BlockDeviceMappings"]
        snapshot_id, manifest = self._inspector.published(self._cache)
        return PublishedLink(snapshot_id, manifest, device["Ebs"].get("SnapshotId"))

    def require_whole(self, snapshot_id: str) -> None:
        """Fail unless a node from the snapshot has the last pushed image, and nothing else."""
        names = {
            self._cache.reference(): self._digest,
            self._cache.by_digest(self._digest): self._digest,
        }
        source = OciLayout(self._layout.directory)
        with boot_node(self._cloud.host, snapshot_id) as node:
            assert inventory_of(node).differences(inventory_for(names, source)) == []
            report = check_node(node, names, source)
            assert (report.files_wrong, report.examples) == (0, [])
            # busybox, eight files of the base and one of the top.
            assert report.files_checked == 10
            assert node.start_container(self._cache.reference()) < 30

    def damage(self, snapshot_id: str, script: str) -> None:
        """Change the snapshot's content with a script."""
        host, spec = self._cloud.host, InstanceSpec("i-damaging", "x86_64", "vol-damaging", "")
        host.create_volume(spec.data_volume_id, host.snapshot_gib(snapshot_id), snapshot_id)
        try:
            host.start_instance(spec)
            ended = host.run_on_host(spec.instance_id, ["bash", "-euc", script], 30)
            host.stop_instance(spec.instance_id)
            assert ended.exit_code == 0, ended.stderr
            host.delete_snapshot(snapshot_id)
            host.snapshot_volume(spec.data_volume_id, snapshot_id)
        finally:
            host.stop_instance(spec.instance_id)
            host.delete_volume(spec.data_volume_id)


@pytest.fixture
def lineage(cloud: LocalCloud, cache: Cache, layout: Layout) -> Iterator[Lineage]:
    cache.put(**OFTEN)
    yield Lineage(cloud, cache, layout)


def test_each_build_of_a_chain_starts_from_the_one_before_and_is_complete(
    cloud: LocalCloud, lineage: Lineage, versions: list[str]
) -> None:
    before: PublishedLink | None = None
    for number, image in enumerate(versions):
        made = lineage.push(image)
        ancestor = before and before.snapshot_id
        assert (made.volume_from, made.manifest.get("ancestor")) == (ancestor, ancestor)
        assert made.manifest["links"] == number
        lineage.require_whole(made.snapshot_id)
        if before:
            new = cloud.host.snapshot_new_bytes(made.snapshot_id, before.snapshot_id)
            # The changed layer, compressed and unpacked, takes 2 MiB; all layers take 20 MiB.
            assert 2 * MIB <= new.written < 8 * MIB
        before = made


def test_a_chain_is_cut_after_the_caches_maximum_of_links(
    cache: Cache, lineage: Lineage, versions: list[str]
) -> None:
    cache.put(incremental={"maxLinks": 1, "maxWastePercent": 1000})
    links = [lineage.push(image) for image in versions]
    assert [link.manifest["links"] for link in links] == [0, 1, 0]
    assert [link.volume_from for link in links] == [None, links[0].snapshot_id, None]


def test_a_chain_is_cut_on_request(
    frontload: Frontload, inspector: Inspector, cache: Cache, lineage: Lineage, versions: list[str]
) -> None:
    lineage.push(versions[0])
    mark = inspector.mark()
    made = lineage.published(frontload.ask(cache=cache.name, full=True), mark)
    assert (made.volume_from, made.manifest["links"]) == (None, 0)
    lineage.require_whole(made.snapshot_id)


def test_a_chain_is_cut_when_it_wastes_too_much_storage(
    cache: Cache, lineage: Lineage, layout: Layout, versions: list[str]
) -> None:
    cache.put(incremental={"maxWastePercent": 50})
    layout.add_image("wasteful", [BUSYBOX, Layer("random", "wasteful", 200)])
    links = [lineage.push(image) for image in ("wasteful", *versions[:2])]
    # The second still contains the blocks of the first one's images, which it does not use.
    assert [link.manifest["links"] for link in links] == [0, 1, 0]
    assert links[2].volume_from is None
    lineage.require_whole(links[2].snapshot_id)


def test_a_damaged_snapshot_is_not_inherited(lineage: Lineage, versions: list[str]) -> None:
    first = lineage.push(versions[0])
    lineage.damage(first.snapshot_id, EMPTY_A_LAYER)
    made = lineage.push(versions[1])
    assert made.volume_from == first.snapshot_id
    assert ("ancestor" in made.manifest, made.manifest["links"]) == (False, 0)
    lineage.require_whole(made.snapshot_id)


def test_a_snapshot_that_was_never_flushed_is_not_inherited(
    cloud: LocalCloud,
    lineage: Lineage,
    versions: list[str],
    edit_script: Callable[[str, str], None],
) -> None:
    edit_script("on_host sync -f", "true sync -f")
    cloud.control.settings(power_cut_seconds=0.2)
    cloud.control.plant(slow_ends=[0.2])
    first = lineage.push(versions[0])
    cloud.control.clear_faults()
    with pytest.raises(AssertionError, match="empty|missing|instead of"):
        lineage.require_whole(first.snapshot_id)
    made = lineage.push(versions[1])
    assert ("ancestor" in made.manifest, made.manifest["links"]) == (False, 0)
    lineage.require_whole(made.snapshot_id)
