"""Compares all that a node's containerd knows and keeps with what the given images alone need.

The content check shows whether the images are complete. This shows whether there is anything else.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .blob_source import BlobSource
from .content_check import chain_id
from .node import Node
from .pause_image import PAUSE_IMAGE

_ROOT = "var/lib/containerd"
_BLOBS = f"{_ROOT}/io.containerd.content.v1.content/blobs/sha256"
_INGESTS = f"{_ROOT}/io.containerd.content.v1.content/ingest"
_DIRECTORIES = f"{_ROOT}/io.containerd.snapshotter.v1.overlayfs/snapshots"
_MOST_OF_AN_INDEX = 4096
_MANAGED = "io.cri-containerd.image=managed"
_OCI_ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}


@dataclass
class Inventory:
    """What containerd keeps, by names and digests."""

    images: dict[str, str] = field(default_factory=dict)
    """Name -> digest of the images that CRI sees."""
    unseen: list[str] = field(default_factory=list)
    """Names that CRI does not see."""
    blobs: set[str] = field(default_factory=set)
    """Digests of the files in the content store."""
    foreign: set[str] = field(default_factory=set)
    """Only in a wanted inventory: manifests and configurations for other platforms. containerd 2.x
    fetches them with an index, 1.x does not."""
    layers: set[str] = field(default_factory=set)
    """Chain ids of the unpacked layers."""
    directories: int = 0
    """Number of layer directories that the snapshotter has on disk."""
    unfinished: list[str] = field(default_factory=list)
    """Downloads, leases and layers that were left unfinished."""

    def differences(self, wanted: Inventory) -> list[str]:
        """Describe the differences from the wanted inventory; empty when there are none."""
        told = [
            *_differences("name", self._names(wanted), set(wanted.images.items())),
            *_differences("blob", self.blobs - wanted.foreign, wanted.blobs),
            *_differences("unpacked layer", self.layers, wanted.layers),
            *(f"left unfinished: {one}" for one in self.unfinished),
            *(f"name not seen by CRI: {one}" for one in self.unseen),
        ]
        if self.directories != wanted.directories:
            told.append(f"{self.directories} layer directories instead of {wanted.directories}")
        return told

    def _names(self, wanted: Inventory) -> set[tuple[str, str]]:
        """Names and digests, without the `sha256:<config digest>` names of wanted images."""
        return {
            (name, digest)
            for name, digest in self.images.items()
            if not name.startswith("sha256:") or digest not in wanted.images.values()
        }


def _differences(kind: str, found: set[Any], wanted: set[Any]) -> list[str]:
    left = [f"{kind} left over: {one}" for one in sorted(found - wanted)]
    return left + [f"{kind} missing: {one}" for one in sorted(wanted - found)]


def inventory_of(node: Node) -> Inventory:
    """Return what a node's containerd keeps, except the image that its own OS imports at boot."""
    found = Inventory()
    own = node.pause_image
    own_blobs, own_layers = _parts_of(node, own) if own else (set(), set())
    # After an import, containerd keeps the archive's index until its next garbage collection.
    own_blobs |= {digest for digest, index in _indexes(node) if own in _manifests_of(index)}
    for line in node.ctr("images", "ls").stdout.splitlines()[1:]:
        name, _, digest, *_, labels = line.split()
        if digest == own and (name == PAUSE_IMAGE or name.startswith("sha256:")):
            continue
        if _MANAGED in labels.split(","):
            found.images[name] = digest
        else:
            found.unseen.append(name)
    for line in node.ctr("snapshots", "ls").stdout.splitlines()[1:]:
        key, *_, kind = line.split()
        if kind == "Committed":
            found.layers |= {key} - own_layers
        else:
            found.unfinished.append(f"{kind.lower()} layer {key}")
    found.blobs = {f"sha256:{blob.name}" for blob in (node.root / _BLOBS).glob("*")} - own_blobs
    found.directories = sum(1 for _ in (node.root / _DIRECTORIES).glob("*")) - len(own_layers)
    found.unfinished += [f"download {one.name}" for one in (node.root / _INGESTS).glob("*")]
    leases = node.ctr("leases", "ls", "-q").stdout.split()
    found.unfinished += [f"lease {one}" for one in leases]
    return found


def _indexes(node: Node) -> Iterator[tuple[str, Any]]:
    """Yield digest and content of each small JSON blob; skip one that containerd removes."""
    for blob in (node.root / _BLOBS).glob("*"):
        with contextlib.suppress(FileNotFoundError, UnicodeDecodeError, json.JSONDecodeError):
            if blob.stat().st_size < _MOST_OF_AN_INDEX:
                yield f"sha256:{blob.name}", json.loads(blob.read_text())


def _manifests_of(index: Any) -> list[str]:
    return [one["digest"] for one in index.get("manifests", [])]


def _parts_of(node: Node, digest: str) -> tuple[set[str], set[str]]:
    """Return the blobs and the unpacked layers of an image on the node that has no index."""
    manifest = json.loads(_blob_of(node, digest))
    config = json.loads(_blob_of(node, manifest["config"]["digest"]))
    blobs = {part["digest"] for part in (manifest["config"], *manifest["layers"])}
    return blobs | {digest}, set(_chains(config["rootfs"]["diff_ids"]))


def _blob_of(node: Node, digest: str) -> bytes:
    return (node.root / _BLOBS / digest.partition(":")[2]).read_bytes()


def inventory_for(
    images: Mapping[str, str], source: BlobSource, architecture: str = "x86_64"
) -> Inventory:
    """Return what containerd keeps after it pulled only these images (name -> digest)."""
    wanted = Inventory(images=dict(images))
    for reference, digest in images.items():
        _add_image(wanted, reference, digest, source, _OCI_ARCHITECTURES[architecture])
    wanted.directories = len(wanted.layers)
    return wanted


def _add_image(
    wanted: Inventory, reference: str, digest: str, source: BlobSource, architecture: str
) -> None:
    if digest in wanted.blobs:
        return
    wanted.blobs.add(digest)
    document = _document(reference, digest, source, manifest=True)
    if "manifests" in document:
        for entry in document["manifests"]:
            if entry["platform"]["architecture"] == architecture:
                _add_image(wanted, reference, entry["digest"], source, architecture)
            else:
                foreign = _document(reference, entry["digest"], source, manifest=True)
                wanted.foreign |= {entry["digest"], foreign["config"]["digest"]}
        return
    parts = [document["config"], *document["layers"]]
    wanted.blobs.update(part["digest"] for part in parts)
    config = _document(reference, document["config"]["digest"], source, manifest=False)
    wanted.layers.update(_chains(config["rootfs"]["diff_ids"]))


def _document(reference: str, digest: str, source: BlobSource, manifest: bool) -> dict[str, Any]:
    with source.open(reference, digest, manifest) as blob:
        return json.loads(blob.read())


def _chains(diff_ids: list[str]) -> Iterable[str]:
    """The chain id of each layer with those below it."""
    return (chain_id(diff_ids[: count + 1]) for count in range(len(diff_ids)))
