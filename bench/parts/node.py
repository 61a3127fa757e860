"""Part `node`: a node's first container from a booted snapshot, against a cold pull.

Both nodes are the same host with the same containerd. One has a volume made from a builder's
snapshot, and its registry is off. The other has an empty volume and the shaped link.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from local_cloud.builder_host import InstanceOptions
from local_cloud.builder_host.node import Node, boot_node

from ..documents import Document, document, figure, table
from ..frame import Bench
from ..image_sets import SIZES_MB, PushedImage, pushed_sets
from ..pulling import SHAPED, PullHost, our_way, settle

VERSION = "2.1"
HEADLINE_MB = 300
WANTED = 30.0
_numbers = itertools.count(1)
NOTES = (
    "Cold: `ctr images pull` on an empty node, then the first container. Cached: the first"
    " container on a node that booted from a snapshot of a builder that Frontload's command had"
    " filled, with the registry switched off. `speedup` counts from when containerd answers;"
    " `speedupWithBoot` from the making of the volume.",
    "Node and volume are namespaces and a file of this machine: a volume made from a snapshot has"
    " all its blocks here, while EBS fetches them from S3 as they are first read, unless fast"
    " snapshot restore or an initialization rate is paid for. The pull and what it takes are real.",
    "Shaped link for the cold pull: 20 ms and 60 MB/s a connection. No kubelet, no CNI.",
)


@dataclass(frozen=True)
class Start:
    """The durations of one node, from making its volume to the end of a container."""

    boot: float
    """Seconds from making the volume until containerd answers."""
    pull: float
    container: float

    @property
    def after_boot(self) -> float:
        """Seconds from the moment containerd answers."""
        return self.pull + self.container


def measure(bench: Bench) -> Document:
    """The part's document."""
    cold: dict[int, list[Start]] = {size: [] for size in SIZES_MB}
    cached: dict[int, list[Start]] = {size: [] for size in SIZES_MB}
    with (
        pushed_sets(bench) as (registry, sets),
        PullHost(bench.directory / "node", registry, VERSION) as host,
    ):
        images = dict(zip(SIZES_MB, sets["sizes"], strict=True))
        snapshots = {size: take_snapshot(host, image) for size, image in images.items()}
        for number in range(bench.runs):
            for size, image in images.items():
                cold[size].append(start_cold(host, image))
                cached[size].append(start_cached(host, snapshots[size], image))
            bench.say(
                f"round {number + 1} of {bench.runs}, {HEADLINE_MB} MB: cold"
                f" {cold[HEADLINE_MB][-1].after_boot:.1f} s, cached"
                f" {cached[HEADLINE_MB][-1].after_boot:.2f} s"
            )
    return as_document(cold, cached, images)


def take_snapshot(host: PullHost, image: PushedImage) -> str:
    """Make a snapshot with the image by our command, and check it; returns its id."""
    way = our_way([image])
    snapshot_id = f"snap-node-{next(_numbers)}"
    with host.builder(way.user_data, None) as builder:
        builder.run(way.command)
        host.check(builder, [image])
        host.host.stop_instance(builder.instance_id)
        host.host.snapshot_volume(builder.volume_id, snapshot_id)
    return snapshot_id


def start_cold(host: PullHost, image: PushedImage) -> Start:
    """Pull the image over the shaped link on an empty node, and run it."""
    settle()
    options = InstanceOptions(role_name="node", link=SHAPED)
    with boot_node(host.host, None, options=options) as node:
        pull = node.cold_pull(image.reference)
        return Start(node.boot_seconds, pull, run(node, image))


def start_cached(host: PullHost, snapshot_id: str, image: PushedImage) -> Start:
    """Run the image on a node that booted from the snapshot."""
    settle()
    with boot_node(host.host, snapshot_id) as node:
        return Start(node.boot_seconds, 0.0, run(node, image))


def run(node: Node, image: PushedImage) -> float:
    """Seconds from the request for the container to the end of the image's own entry point."""
    return node.start_container(image.reference)


def as_document(
    cold: dict[int, list[Start]], cached: dict[int, list[Start]], images: dict[int, PushedImage]
) -> Document:
    """The part's document: the speedup for `HEADLINE_MB`, and seconds by size."""
    pairs = list(zip(cold[HEADLINE_MB], cached[HEADLINE_MB], strict=True))
    with_boot = [
        (slow.boot + slow.after_boot) / (fast.boot + fast.after_boot) for slow, fast in pairs
    ]
    figures = {
        "speedup": figure("ratio", [one.after_boot / two.after_boot for one, two in pairs], WANTED),
        "speedupWithBoot": figure("ratio", with_boot),
        "boot.seconds": figure("seconds", [fast.boot for _, fast in pairs]),
    }
    for size in SIZES_MB:
        for name, starts in (("cold", cold[size]), ("cached", cached[size])):
            values = [start.after_boot for start in starts]
            figures[f"curve.{size}.{name}.seconds"] = figure("seconds", values)
    rows = [[size, round(image.size / 1e6), len(image.layers)] for size, image in images.items()]
    tables = [table("The images", ["name", "MB compressed", "layers"], rows)]
    return document("node", figures, tables, NOTES)
