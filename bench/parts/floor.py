"""Part `floor`: our pull phase against the least work that the same layers need."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from pathlib import Path

from local_cloud.builder_host.registry_fixture import ECR, PASSWORD

from ..documents import Document, document, figure
from ..frame import Bench, BenchError
from ..image_sets import PushedImage, pushed_sets
from ..pulling import DECOMPRESSORS, SHAPED, Builder, PullHost, Way, our_way

VERSION = "2.1"
SET = "sharing"
WANTED = 1.4
PARALLEL = 6
"""Layers processed at a time: enough to fill the link and two processors."""
_SCRIPT = Path(__file__).parents[1] / "floor.sh"
NOTES = (
    f"Floor: {_SCRIPT.name} on the same kind of builder downloads (curl), hashes, decompresses"
    f" ({DECOMPRESSORS[VERSION]}) and unpacks (tar) every distinct layer of the set, {PARALLEL} at"
    " a time, keeping the compressed layer as containerd does, and flushes. containerd with"
    f" {DECOMPRESSORS[VERSION]} on its PATH, flushed as well.",
    "Set: four images that share a base; shaped link, 20 ms and 60 MB/s a connection.",
)


def measure(bench: Bench) -> Document:
    """The part's document."""
    ours: list[float] = []
    floor: list[float] = []
    with pushed_sets(bench) as (registry, sets):
        images = sets[SET]
        ways = (our_way(images), floor_way(images))
        with PullHost(bench.directory / "floor", registry, VERSION) as host:
            for number in range(bench.runs):
                for way in ways if number % 2 == 0 else ways[::-1]:
                    seconds = measure_run(host, way, images)
                    (ours if way is ways[0] else floor).append(seconds)
                bench.say(f"ours {ours[-1]:.1f} s, floor {floor[-1]:.1f} s")
    ratios = [mine / least for mine, least in zip(ours, floor, strict=True)]
    figures = {
        "ratio": figure("ratio", ratios, WANTED),
        "ours.seconds": figure("seconds", ours),
        "floor.seconds": figure("seconds", floor),
    }
    return document("floor", figures, notes=NOTES)


def floor_way(images: Sequence[PushedImage]) -> Way:
    """The command that does only the necessary work."""
    distinct = {
        layer.digest: (layer.size, image.repository) for image in images for layer in image.layers
    }
    largest_first = sorted(distinct.items(), key=lambda item: -item[1][0])
    layers = "\n".join(f"{repository} {digest}" for digest, (_, repository) in largest_first)
    values = {
        "decompress": f"{DECOMPRESSORS[VERSION]} -dc",
        "registry": ECR,
        "password": PASSWORD,
        "parallel": str(PARALLEL),
        "layers": layers,
    }
    assignments = "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
    encoded = base64.b64encode((assignments + _SCRIPT.read_text()).encode()).decode()
    # On standard input: as an argument the script would be too long for apiclient.
    reader = 'read -r script; eval "$(echo "$script" | base64 -d)" </dev/null'
    command = f"echo {encoded} | apiclient exec admin sheltie bash -c '{reader}'"
    admin = "[settings.host-containers.admin]\nenabled = true\n"
    return Way("floor", command, admin)


def measure_run(host: PullHost, way: Way, images: Sequence[PushedImage]) -> float:
    """Seconds of one run on a fresh builder; checks its content afterwards."""
    with host.builder(way.user_data, SHAPED) as builder:
        seconds = builder.seconds_of(way)
        if way.name == "ours":
            host.check(builder, images)
        else:
            check_layers(builder, images)
    return seconds


def check_layers(builder: Builder, images: Sequence[PushedImage]) -> None:
    """Check the unpacked layers. Raises BenchError when a layer is missing or has no files."""
    wanted = {layer.digest for image in images for layer in image.layers}
    found = builder.run(
        "apiclient exec admin sheltie sh -c"
        " 'for d in /local/floor/*.files; do [ -n \"$(ls -A $d)\" ] && echo $d; done; sleep 0.3'"
    ).stdout.split()
    if len(found) != len(wanted):
        raise BenchError(f"the floor unpacked {len(found)} of {len(wanted)} layers")
