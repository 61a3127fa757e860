"""Part `incremental`: one changed layer in each of four images, on the volume of the last build.

Ours starts from the snapshot of an earlier build; theirs is snapshot.sh's full build on an empty
volume. Besides the seconds, it counts the bytes that ours writes to the volume and into the next
snapshot.

`PULL_LINKS` and `INCREMENTAL_VERSIONS` (names separated by commas) choose the link (the first
one named) and the versions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from local_cloud.builder_host.blob_source import BlobSource
from local_cloud.builder_host.layer_files import entries_of_tar

from ..documents import Document, document, figure, table
from ..frame import Bench, BenchError
from ..image_sets import PushedImage, PushedLayer, pushed_sets
from ..pulling import DECOMPRESSORS, LINKS, Ancestor, PullHost, our_way, snapshot_sh_way
from .pull import chosen

VERSIONS = ("2.1", "1.6")
HEADLINE = "2.1"
WANTED = 0.15
WANTED_BYTES = 1.1
ANCESTOR = "snap-00000000000000001"
FIGURES = {
    "written.ratio": ("ratio", WANTED_BYTES),
    "stored.ratio": ("ratio", WANTED_BYTES),
    "written.bytes": ("bytes", None),
    "stored.bytes": ("bytes", None),
    "stored.ebsBytes": ("bytes", None),
    "read.bytes": ("bytes", None),
}
"""The figures of a run's bytes, with unit and wanted value."""
NOTES = (
    "Ours: Frontload's command on a volume made from the snapshot of its build of the set"
    " `sharing`, for the set `changed`, whose four topmost layers are others; verifying the"
    " ancestor, removing the images of before and the flush included. Theirs: the same four images"
    " pulled as snapshot.sh does, on an empty volume, with a flush.",
    "Booting is left out on both sides. The ancestor's blocks are on this machine's disk or in its"
    " memory: on EBS the few that are read (`read.bytes`) come from S3 first.",
    "written: bytes that the builder's device took, of its counter. stored: bytes of the next"
    " snapshot that do not lie where the ancestor's do; `ebsBytes` the same in EBS's blocks of"
    " 512 KiB. Both ratios are to what has to be written: the changed layers as they are fetched,"
    " and unpacked; a layer above a changed one is unpacked anew, too (here a small one an image).",
    "After every run of ours every file of the next snapshot was compared with what was pushed.",
)


@dataclass(frozen=True)
class WrittenBytes:
    """Bytes that a run of ours read and wrote."""

    volume: int
    stored: int
    stored_in_ebs_blocks: int
    read: int


@dataclass
class Rounds:
    """A version's runs, in order."""

    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    written: list[WrittenBytes] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """Ours divided by theirs, of each round."""
        return [mine / other for mine, other in zip(self.ours, self.theirs, strict=True)]


@dataclass(frozen=True)
class Versions:
    """The images of the earlier build, and those of the measured build."""

    before: list[PushedImage]
    after: list[PushedImage]

    @property
    def fetched(self) -> list[tuple[PushedImage, PushedLayer]]:
        """The layers that the earlier build did not have, each with an image that has it."""
        known = {layer for image in self.before for layer in image.layers}
        layers = {layer: image for image in self.after for layer in image.layers}
        return [(image, layer) for layer, image in layers.items() if layer not in known]

    @property
    def unpacked(self) -> list[tuple[PushedImage, PushedLayer]]:
        """The layers to be unpacked: the fetched ones, and those above a fetched one."""
        known = {layers for image in self.before for layers in stacks(image)}
        layers = {layers: image for image in self.after for layers in stacks(image)}
        return [(image, stack[-1]) for stack, image in layers.items() if stack not in known]


def stacks(image: PushedImage) -> Iterator[tuple[PushedLayer, ...]]:
    """Each layer of an image with the layers below it; containerd unpacks each such stack once."""
    return (image.layers[: count + 1] for count in range(len(image.layers)))


def measure(bench: Bench) -> Document:
    """The part's document."""
    versions = chosen(os.environ, "INCREMENTAL_VERSIONS", VERSIONS)
    link = chosen(os.environ, "PULL_LINKS", tuple(LINKS))[0]
    results = {}
    with pushed_sets(bench) as (registry, sets):
        images = Versions(sets["sharing"], sets["changed"])
        for version in versions:
            with PullHost(bench.directory / f"incremental-{version}", registry, version) as host:
                changed_bytes = size_of_changes(images, host.source)
                results[version] = measure_version(bench, host, images, link)
    return as_document(results, images, changed_bytes, link)


def size_of_changes(images: Versions, source: BlobSource) -> int:
    """Bytes that must be written: the fetched layers, compressed, and the unpacked files."""
    total = sum(layer.size for _, layer in images.fetched)
    for image, layer in images.unpacked:
        with source.open(image.reference, layer.digest, False) as blob:
            entries = entries_of_tar(blob).values()
        total += sum(int(entry.split()[1]) for entry in entries if entry.startswith("file "))
    return total


def measure_version(bench: Bench, host: PullHost, images: Versions, link: str) -> Rounds:
    """Run rounds of both ways; each way goes first in every other round."""
    rounds = Rounds()
    with ancestor_of(host, images.before) as ancestor:
        bench.say(f"{host.version}: the ancestor is built")
        for number in range(bench.runs):
            ways = [measure_ours, measure_theirs]
            for measure_way in ways if number % 2 == 0 else reversed(ways):
                measure_way(host, images.after, link, ancestor, rounds)
            bench.say(
                f"{host.version}: ours {rounds.ours[-1]:.1f} s, theirs {rounds.theirs[-1]:.1f} s,"
                f" {rounds.ratios[-1]:.3f}; {rounds.written[-1]}"
            )
    return rounds


@contextmanager
def ancestor_of(host: PullHost, images: Sequence[PushedImage]) -> Iterator[Ancestor]:
    """The snapshot of a full build of ours; deleted at the end."""
    way = our_way(images)
    with host.builder(way.user_data, None) as builder:
        report = json.loads(builder.run(way.command).stdout)
        host.host.stop_instance(builder.instance_id)
        host.host.snapshot_volume(builder.volume_id, ANCESTOR)
    try:
        yield Ancestor(ANCESTOR, report["listing"])
    finally:
        host.host.delete_snapshot(ANCESTOR)


def measure_ours(
    host: PullHost, images: Sequence[PushedImage], link: str, ancestor: Ancestor, rounds: Rounds
) -> None:
    """One incremental build. Raises BenchError if it was not incremental or has wrong content."""
    way = our_way(images, ancestor)
    machine = host.host
    with host.builder(way.user_data, LINKS[link], ancestor.snapshot_id) as builder:
        before = machine.volume_traffic(builder.instance_id)
        seconds, said = builder.timed(way)
        after = machine.volume_traffic(builder.instance_id)
        if json.loads(said)["ancestor"] != "kept":
            raise BenchError(f"the build was not incremental: {said.strip()}")
        snapshot_id = f"snap-{builder.instance_id}-next"
        machine.snapshot_volume(builder.volume_id, snapshot_id)
        new = machine.snapshot_new_bytes(snapshot_id, ancestor.snapshot_id)
        machine.delete_snapshot(snapshot_id)
        host.check(builder, images)
    written, read = after.written - before.written, after.read - before.read
    rounds.ours.append(seconds)
    rounds.written.append(WrittenBytes(written, new.written, new.in_ebs_blocks, read))


def measure_theirs(
    host: PullHost, images: Sequence[PushedImage], link: str, _: Ancestor, rounds: Rounds
) -> None:
    """One full build in snapshot.sh's way."""
    way = snapshot_sh_way(images)
    with host.builder(way.user_data, LINKS[link]) as builder:
        rounds.theirs.append(builder.seconds_of(way))


def as_document(
    results: dict[str, Rounds], images: Versions, changed_bytes: int, link: str
) -> Document:
    """The figures of every version; the headline version's ratio also without its name."""
    figures: dict[str, Document] = {}
    for version, rounds in results.items():
        own = figures_of(rounds, changed_bytes)
        figures |= {f"{version}.{name}": value for name, value in own.items()}
        if version == HEADLINE:
            figures["ratio"] = own["ratio"]
    rows = [
        ["images", len(images.after)],
        ["layers fetched", len(images.fetched)],
        ["layers unpacked", len(images.unpacked)],
        ["MB fetched", round(sum(layer.size for _, layer in images.fetched) / 1e6, 1)],
        ["MB fetched and unpacked", round(changed_bytes / 1e6, 1)],
        ["link", link],
    ]
    tables = [table("What is built anew", ["what", "amount"], rows)]
    return document("incremental", figures, tables, NOTES, {"decompressors": DECOMPRESSORS})


def figures_of(rounds: Rounds, changed_bytes: int) -> dict[str, Document]:
    """A version's figures."""
    values = {
        "written.ratio": [one.volume / changed_bytes for one in rounds.written],
        "stored.ratio": [one.stored / changed_bytes for one in rounds.written],
        "written.bytes": [one.volume for one in rounds.written],
        "stored.bytes": [one.stored for one in rounds.written],
        "stored.ebsBytes": [one.stored_in_ebs_blocks for one in rounds.written],
        "read.bytes": [one.read for one in rounds.written],
    }
    figures = {
        "ratio": figure("ratio", rounds.ratios, WANTED),
        "ours.seconds": figure("seconds", rounds.ours),
        "theirs.seconds": figure("seconds", rounds.theirs),
    }
    for name, (unit, wanted) in FIGURES.items():
        figures[name] = figure(unit, values[name], wanted)
    return figures
