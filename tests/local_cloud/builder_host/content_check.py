"""Compares every byte of the images in a snapshot with what the registry has.

For each image it compares each blob in containerd's content store with its digest, and each
layer's directory in the overlayfs snapshotter with the layer's tar.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .blob_source import BlobSource
from .containerd_host import ContainerdHost
from .interface import BuilderHostError
from .layer_files import EMPTY_FILE, Entries, entries_of_directory, entries_of_tar
from .node import Node, NodeError, boot_node

_CONTENT = "var/lib/containerd/io.containerd.content.v1.content/blobs"
_OCI_ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}
_MOST_EXAMPLES = 10


@dataclass
class ContentReport:
    """What was compared, and what differs."""

    files_checked: int = 0
    """Regular files of the layers, compared by hash; what images share counts once."""
    files_wrong: int = 0
    """Differences of any kind: such a file, a link, a blob, an image's name."""
    examples: list[str] = field(default_factory=list)
    """The first differences, in words."""

    def add(self, wrong: str | None, is_file: bool = False) -> None:
        """Record one comparison; `wrong` describes the difference, None means there is none."""
        self.files_checked += is_file
        if wrong:
            self.files_wrong += 1
            if len(self.examples) < _MOST_EXAMPLES:
                self.examples.append(wrong)


def check_content(
    host: ContainerdHost,
    snapshot_id: str,
    images: Mapping[str, str],
    source: BlobSource,
    architecture: str = "x86_64",
    layers: dict[str, Entries] | None = None,
) -> ContentReport:
    """Compare the images (reference -> digest) in the snapshot with the source's.

    Works on a copy of the snapshot. `layers` caches the entries of the source's layers by digest,
    for further checks of the same images. Raises when the source lacks something.
    """
    with boot_node(host, snapshot_id, architecture=architecture) as node:
        return check_node(node, images, source, layers)


def check_node(
    node: Node,
    images: Mapping[str, str],
    source: BlobSource,
    layers: dict[str, Entries] | None = None,
) -> ContentReport:
    """Do the same on a running node. This leaves views of the layers in its containerd."""
    report = ContentReport()
    known = node.images()
    check = _Check(node, source, report, {} if layers is None else layers)
    for reference, digest in images.items():
        named = known.get(reference)
        report.add(
            None
            if named == digest
            else f"{reference}: the snapshot names {named or 'no such image'}, not {digest}"
        )
        check.image(reference, digest)
    return report


class _Check:
    """The check of one snapshot. What images share is compared once."""

    def __init__(
        self, node: Node, source: BlobSource, report: ContentReport, layers: dict[str, Entries]
    ) -> None:
        self._node = node
        self._source = source
        self._report = report
        self._layers = layers
        self._seen: set[str] = set()
        self._directories: dict[str, list[Path | None]] = {}

    def image(self, reference: str, digest: str) -> None:
        """Compare one image, given the digest of its manifest or index."""
        self._blob(digest)
        manifest = json.loads(self._read(reference, digest, manifest=True))
        if "manifests" in manifest:
            chosen = self._choose_platform(reference, manifest)
            self.image(reference, chosen)
            return
        config_digest = manifest["config"]["digest"]
        self._blob(config_digest)
        config = json.loads(self._read(reference, config_digest, manifest=False))
        diff_ids = config["rootfs"]["diff_ids"]
        chain = chain_id(diff_ids)
        if chain not in self._directories:
            self._directories[chain] = self._layer_directories(chain, len(diff_ids))
        directories = self._directories[chain]
        for number, layer in enumerate(manifest["layers"]):
            self._blob(layer["digest"])
            where = f"{reference} layer {number + 1}"
            self._layer(reference, layer, directories[number], where)

    def _choose_platform(self, reference: str, index: dict[str, Any]) -> str:
        wanted = _OCI_ARCHITECTURES[self._node.architecture]
        for entry in index["manifests"]:
            platform = entry.get("platform", {})
            if (platform.get("os"), platform.get("architecture")) == ("linux", wanted):
                return entry["digest"]
        raise BuilderHostError(f"{reference}: the source has no linux/{wanted} image")

    def _read(self, reference: str, digest: str, manifest: bool) -> bytes:
        with self._source.open(reference, digest, manifest) as blob:
            content = blob.read()
        if "sha256:" + hashlib.sha256(content).hexdigest() != digest:
            raise BuilderHostError(f"{reference}: the source itself has wrong bytes for {digest}")
        return content

    def _blob(self, digest: str) -> None:
        """Compare a blob of the content store with its digest."""
        if digest in self._seen:
            return
        self._seen.add(digest)
        path = self._node.root / _CONTENT / digest.replace(":", "/")
        if not path.exists():
            self._report.add(f"blob {digest}: missing")
            return
        with path.open("rb") as content:
            actual = hashlib.file_digest(content, "sha256").hexdigest()
        wrong = f"blob {digest}: other bytes, {path.stat().st_size} of them"
        self._report.add(None if f"sha256:{actual}" == digest else wrong)

    def _layer_directories(self, chain: str, layers: int) -> list[Path | None]:
        """The snapshotter's directory of each layer, lowest first; None where it is missing."""
        try:
            shown = self._node.ctr("snapshots", "view", "--mounts", f"check-{chain}", chain)
        except NodeError:
            return [None] * layers
        (mount,) = json.loads(shown.stdout)
        lower = [option for option in mount["Options"] if option.startswith("lowerdir=")]
        paths = lower[0].removeprefix("lowerdir=").split(":") if lower else [mount["Source"]]
        inside = [self._node.root / path.lstrip("/") for path in reversed(paths)]
        if len(inside) != layers:
            raise BuilderHostError(f"snapshot {chain}: {len(inside)} layers instead of {layers}")
        return list(inside)

    def _layer(
        self, reference: str, layer: dict[str, Any], directory: Path | None, where: str
    ) -> None:
        if str(directory) in self._seen:
            return
        if directory:
            self._seen.add(str(directory))
        wanted = self._layer_entries(reference, layer["digest"])
        found = entries_of_directory(directory) if directory and directory.exists() else {}
        for path in sorted(wanted.keys() | found.keys()):
            is_file = wanted.get(path, "").startswith("file ")
            wrong = difference(where, path, wanted.get(path), found.get(path))
            self._report.add(wrong, is_file)

    def _layer_entries(self, reference: str, digest: str) -> Entries:
        if digest not in self._layers:
            with self._source.open(reference, digest, False) as blob:
                self._layers[digest] = entries_of_tar(blob)
        return self._layers[digest]


def chain_id(diff_ids: list[str]) -> str:
    """Return the name of the snapshot with these layers, as the OCI image spec defines it."""
    chain = diff_ids[0]
    for diff_id in diff_ids[1:]:
        chain = "sha256:" + hashlib.sha256(f"{chain} {diff_id}".encode()).hexdigest()
    return chain


def difference(where: str, path: str, wanted: str | None, found: str | None) -> str | None:
    """Describe how a file differs from its layer; None when it does not."""
    if wanted == found:
        return None
    if wanted is None:
        return f"{where}: /{path}: is not in the layer"
    if found is None:
        return f"{where}: /{path}: missing"
    if found == EMPTY_FILE:
        return f"{where}: /{path}: empty"
    return f"{where}: /{path}: {found} instead of {wanted}"
