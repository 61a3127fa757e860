"""The images that the benchmarks pull, made once and kept in a registry below target/bench/images.

They are the same on every machine: sizes and contents follow from the seeds. Raise `VERSION` with
any change here or in `local_cloud.images`, so that existing images are made again.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from local_cloud.builder_host.registry_fixture import ECR, TestRegistry
from local_cloud.images import BUSYBOX, Layer, Layout

from .frame import Bench

VERSION = 2
_RAW_MIB_OF_MB = 1.255
"""MiB of files per MB of compressed layer: files compress to about three quarters."""


@dataclass(frozen=True)
class PushedLayer:
    """A layer in the registry."""

    digest: str
    size: int
    """Bytes, compressed."""


@dataclass(frozen=True)
class PushedImage:
    """An image in the registry."""

    repository: str
    tag: str
    digest: str
    """Digest of the index that the tag names."""
    manifest: str
    """Digest of the image's manifest for this architecture."""
    layers: tuple[PushedLayer, ...]

    @property
    def reference(self) -> str:
        """The name that pods use."""
        return f"{ECR}/{self.repository}:{self.tag}"

    @property
    def by_digest(self) -> str:
        """The name that pins the content."""
        return f"{ECR}/{self.repository}@{self.digest}"

    @property
    def size(self) -> int:
        """Bytes, compressed."""
        return sum(layer.size for layer in self.layers)


def _layers(seed: str, megabytes: tuple[int, ...]) -> list[Layer]:
    return [
        Layer("tree", f"{seed}-{number}", max(1, round(size * _RAW_MIB_OF_MB)))
        for number, size in enumerate(megabytes)
    ]


_TOPS_MB = {"api": (60, 30, 10), "web": (100, 40, 10), "jobs": (80, 30, 10), "admin": (85, 25, 10)}


def _sharing() -> dict[str, list[Layer]]:
    """Four applications of one team: a shared base of 200 MB, and 100 to 150 MB each on top."""
    base = [BUSYBOX, *_layers("base", (30, 120, 50))]
    return {name: [*base, *_layers(name, sizes)] for name, sizes in _TOPS_MB.items()}


def _changed() -> dict[str, list[Layer]]:
    """The next version of each image of `sharing`: its topmost layer of 10 MB has changed."""
    tops = {name: _layers(f"{name}-changed", sizes[-1:]) for name, sizes in _TOPS_MB.items()}
    return {name: [*layers[:-1], *tops[name]] for name, layers in _sharing().items()}


def _unrelated() -> dict[str, list[Layer]]:
    """Eight images of 60 MB each that share no layer except the shell of some KB."""
    names = [f"tool-{number}" for number in range(8)]
    return {name: [BUSYBOX, *_layers(name, (30, 20, 8, 2))] for name in names}


SIZES_MB = (10, 50, 100, 300, 600, 1000)
"""Sizes of the images of `sizes`; each image is the one before it plus one layer."""
_LARGE_LAYERS_MB = (10, 40, 50, 200, 300, 400, 500, 500)


def _large() -> dict[str, list[Layer]]:
    """One image of 2 GB with some large layers, as in machine learning."""
    return {"model": [BUSYBOX, *_layers("model", _LARGE_LAYERS_MB)]}


def _sizes() -> dict[str, list[Layer]]:
    """The large image, cut off after each of its first layers."""
    layers = _layers("model", _LARGE_LAYERS_MB)
    return {
        f"size-{size}": [BUSYBOX, *layers[: number + 1]] for number, size in enumerate(SIZES_MB)
    }


SETS: dict[str, Callable[[], dict[str, list[Layer]]]] = {
    "sharing": _sharing,
    "changed": _changed,
    "unrelated": _unrelated,
    "large": _large,
    "sizes": _sizes,
}
_MADE_TOGETHER = (("sharing", "changed", "unrelated"), ("large", "sizes"))
"""Groups of sets, one process each: sets that share layers, or that balance the processors."""


@contextmanager
def pushed_sets(bench: Bench) -> Iterator[tuple[TestRegistry, dict[str, list[PushedImage]]]]:
    """A running registry with every set in it; makes missing sets, which takes minutes."""
    directory = bench.directory / "images"
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="registry-") as own:
        registry = TestRegistry(Path(own), directory / "registry" / "storage")
        try:
            yield registry, _ensure_sets(directory, registry, bench.say)
        finally:
            registry.close()


def _ensure_sets(
    directory: Path, registry: TestRegistry, say: Callable[[str], None]
) -> dict[str, list[PushedImage]]:
    """Read every set, after making and pushing the missing ones.

    `directory` has the descriptions of the sets and, during the making, their layouts.
    """
    missing = [group for group in _MADE_TOGETHER if not all(_read(directory, s) for s in group)]
    if missing:
        say("making the images, once: three minutes")
        with ProcessPoolExecutor(2) as pool:
            list(pool.map(_make_layouts, [directory] * len(missing), missing))
        for group in missing:
            _push(directory, group, registry)
            say(f"in the registry: {', '.join(group)}")
    found = {name: _read(directory, name) for name in SETS}
    return {name: images for name, images in found.items() if images}


def _layout_directory(directory: Path, group: tuple[str, ...]) -> Path:
    return directory / f"layout-{'-'.join(group)}"


def _make_layouts(directory: Path, group: tuple[str, ...]) -> None:
    target = _layout_directory(directory, group)
    shutil.rmtree(target, ignore_errors=True)
    layout = Layout(target)
    for set_name in group:
        for name, layers in SETS[set_name]().items():
            layout.add_image(f"{set_name}-{name}", layers, index=True)


def _push(directory: Path, group: tuple[str, ...], registry: TestRegistry) -> None:
    layout = _layout_directory(directory, group)
    digests = {
        entry["annotations"]["org.opencontainers.image.ref.name"]: entry["digest"]
        for entry in json.loads((layout / "index.json").read_text())["manifests"]
    }
    mount_from = f"bench/{group[0]}-{next(iter(SETS[group[0]]()))}"
    for set_name in group:
        pushed = []
        for name in SETS[set_name]():
            tag = f"{set_name}-{name}"
            pushed.append(_push_image(layout, digests[tag], f"bench/{tag}", registry, mount_from))
        description = {"version": VERSION, "images": [asdict(image) for image in pushed]}
        (directory / f"{set_name}.json").write_text(json.dumps(description, indent=1))
    shutil.rmtree(layout)


def _push_image(
    layout: Path, digest: str, repository: str, registry: TestRegistry, mount_from: str
) -> PushedImage:
    def blob(name: str) -> Path:
        return layout / "blobs" / name.replace(":", "/")

    index = blob(digest).read_bytes()
    entry = json.loads(index)["manifests"][0]
    manifest_bytes = blob(entry["digest"]).read_bytes()
    manifest = json.loads(manifest_bytes)
    parts = [manifest["config"], *manifest["layers"]]
    files = {part["digest"]: blob(part["digest"]) for part in parts}
    registry.push_blobs(repository, files, mount_from)
    registry.push_manifest(repository, entry["digest"], manifest_bytes)
    registry.push_manifest(repository, "v1", index)
    layers = tuple(PushedLayer(layer["digest"], layer["size"]) for layer in manifest["layers"])
    return PushedImage(repository, "v1", digest, entry["digest"], layers)


def _read(directory: Path, set_name: str) -> list[PushedImage] | None:
    """The set as it was pushed; None when it was not pushed, or by another `VERSION`."""
    path = directory / f"{set_name}.json"
    if not path.exists():
        return None
    description = json.loads(path.read_text())
    if description["version"] != VERSION:
        return None
    return [
        PushedImage(
            image["repository"],
            image["tag"],
            image["digest"],
            image["manifest"],
            tuple(PushedLayer(**layer) for layer in image["layers"]),
        )
        for image in description["images"]
    ]
