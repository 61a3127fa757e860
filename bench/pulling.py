"""One pull of a set of images on a fresh builder: our way, or snapshot.sh's.

Each way is one command over SSM's path, run by a real containerd on a real volume. The command is
timed from outside, including the flush at its end.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local_cloud.builder_command import StaleProgramError, render_command
from local_cloud.builder_host import CommandResult, InstanceOptions, InstanceSpec, Link
from local_cloud.builder_host.blob_source import Registry
from local_cloud.builder_host.containerd_host import ContainerdHost
from local_cloud.builder_host.content_check import check_content
from local_cloud.builder_host.layer_files import Entries
from local_cloud.builder_host.registry_fixture import PASSWORD, TestRegistry

from .frame import ROOT, BenchError
from .image_sets import PushedImage

SHAPED = Link(round_trip_seconds=0.020, bytes_per_second=60_000_000)
LINKS: dict[str, Link | None] = {"shaped": SHAPED, "unshaped": None}
VERSIONS = ("2.1", "1.7", "1.6")
DECOMPRESSORS = {"2.1": "igzip", "1.7": "unpigz", "1.6": "unpigz"}
"""Programs on the daemon's PATH; `make containerd-versions` puts them there."""
VOLUME_GIB = 20
_BUILD = ROOT / "tests" / "events" / "build.json"
_ADMIN = "[settings.host-containers.admin]\nenabled = true\n"
_CTR = "apiclient exec admin sheltie ctr -a /run/containerd/containerd.sock -n k8s.io"
_PULL_SECONDS = 900
_SETTLE_SECONDS = 120
_numbers = itertools.count(1)
_pushed_layers: dict[str, Entries] = {}
"""Entries of the registry's layers, kept once a check has read them."""


@dataclass(frozen=True)
class Ancestor:
    """A published snapshot that a volume starts from."""

    snapshot_id: str
    listing: str
    """The listing of its files, as reported by the build that made it."""


@dataclass(frozen=True)
class Way:
    """How a builder pulls a set of images."""

    name: str
    command: str
    user_data: str


def our_way(images: Sequence[PushedImage], ancestor: Ancestor | None = None) -> Way:
    """The command and user data that Frontload gives a builder, from its own code.

    With an ancestor, they are for a volume that starts from the ancestor's snapshot. Raises
    BenchError when the program that prints them is missing, older than its sources, or fails.
    """
    try:
        given = render_command(build_document(images, ancestor))
    except (StaleProgramError, ValueError) as error:
        raise BenchError(str(error)) from error
    return Way("ours", given.command, given.user_data)


def build_document(
    images: Sequence[PushedImage], ancestor: Ancestor | None = None
) -> dict[str, object]:
    """A build of these images, as `plan` returns it."""
    document = json.loads(_BUILD.read_text())
    document["images"] = [
        {
            "reference": image.reference,
            "digest": image.digest,
            "manifest": image.manifest,
            "compressedBytes": image.size,
            "layers": [{"digest": one.digest, "bytes": one.size} for one in image.layers],
        }
        for image in images
    ]
    document["builder"]["volumeGib"] = VOLUME_GIB
    document["timeLimits"]["pullSeconds"] = _PULL_SECONDS
    if ancestor:
        document["ancestor"] = {
            "snapshotId": ancestor.snapshot_id,
            "listing": ancestor.listing,
            "links": 1,
        }
    return document


def snapshot_sh_way(images: Sequence[PushedImage]) -> Way:
    """snapshot.sh's pulls, one after the other, and the flush without which they are worthless.

    This favours snapshot.sh, which sends one command per image and polls every 5 s for its end.
    """
    pulls = [
        f"{_CTR} images pull --label io.cri-containerd.image=managed --platform linux/amd64"
        f" -u AWS:{PASSWORD} {image.reference}"
        for image in images
    ]
    flush = "apiclient exec admin sheltie sync -f /local"
    return Way("theirs", "\n".join(["set -e", *pulls, flush]), _ADMIN)


class PullHost:
    """Fresh builders with one series of containerd, as a context manager."""

    def __init__(self, work_dir: Path, registry: TestRegistry, version: str) -> None:
        """Raises BenchError when that containerd is not installed."""
        self.version = version
        containerd = ROOT / "target" / "tools" / f"containerd-{version}"
        if not (containerd / "bin" / "containerd").exists():
            raise BenchError(f"{containerd.relative_to(ROOT)} is missing: make containerd-versions")
        self.host = ContainerdHost(work_dir, registry.endpoints, containerd)
        self.source = Registry(
            registry.endpoints.registry, registry.ca_file, registry.authorization
        )

    def __enter__(self) -> PullHost:
        return self

    def __exit__(self, *_: object) -> None:
        self.host.close()

    @contextmanager
    def builder(
        self, user_data: str, link: Link | None, snapshot_id: str | None = None
    ) -> Iterator[Builder]:
        """A builder ready for commands, on an empty volume or a snapshot's; deleted at the end."""
        number = f"{os.getpid()}-{next(_numbers)}"
        builder = Builder(self.host, f"i-bench-{number}", f"vol-bench-{number}")
        self.host.create_volume(builder.volume_id, VOLUME_GIB, snapshot_id)
        try:
            self.host.start_instance(
                InstanceSpec(builder.instance_id, "x86_64", builder.volume_id, user_data),
                InstanceOptions(admin_ready_seconds=0, link=link),
            )
            builder.run("until apiclient exec admin true 2>/dev/null; do sleep 0.02; done", 30)
            settle()
            yield builder
        finally:
            self.host.stop_instance(builder.instance_id)
            self.host.delete_volume(builder.volume_id)

    def check(self, builder: Builder, images: Sequence[PushedImage]) -> int:
        """Compare a snapshot of the builder's volume, taken now, with the pushed images.

        Returns the number of files compared. Raises BenchError for any difference.
        """
        snapshot_id = f"snap-{builder.instance_id}"
        self.host.snapshot_volume(builder.volume_id, snapshot_id)
        try:
            wanted = {image.reference: image.digest for image in images}
            report = check_content(
                self.host, snapshot_id, wanted, self.source, layers=_pushed_layers
            )
        finally:
            self.host.delete_snapshot(snapshot_id)
        if report.files_wrong or not report.files_checked:
            raise BenchError(
                f"a snapshot after the pull is wrong in {report.files_wrong} places of"
                f" {report.files_checked}: {'; '.join(report.examples)}"
            )
        return report.files_checked


@dataclass(frozen=True)
class Builder:
    """A running builder."""

    host: ContainerdHost
    instance_id: str
    volume_id: str

    def run(self, script: str, seconds: float = _PULL_SECONDS) -> CommandResult:
        """Run a script over SSM's path. Raises BenchError when it fails."""
        result = self.host.run_command(
            self.instance_id, script, f"command-{next(_numbers)}", seconds
        )
        if result.exit_code != 0:
            said = (result.stderr.strip() or result.stdout.strip())[-1000:]
            raise BenchError(
                f"a builder's command ended with {result.exit_code}: {said}".replace(
                    PASSWORD, "***"
                )
            )
        return result

    def seconds_of(self, way: Way) -> float:
        """Seconds that the way's command takes."""
        return self.timed(way)[0]

    def timed(self, way: Way) -> tuple[float, str]:
        """Seconds that the way's command takes, and its standard output."""
        begun = time.monotonic()
        said = self.run(way.command).stdout
        return time.monotonic() - begun, said


def settle() -> None:
    """Flush earlier writes, so that they do not slow down the next timed command."""
    subprocess.run(["sync"], timeout=_SETTLE_SECONDS, check=True)
