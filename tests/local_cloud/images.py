"""Deterministic test images as OCI layouts: equal arguments give equal digests.

Layers are gzipped tars. The first one usually contains a static busybox, so that a container really
starts. Only this busybox comes from the machine.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
import random
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .processes import clean_environment
from .registry import Registry

PLATFORMS = {"x86_64": "amd64", "arm64": "arm64"}
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
REF_NAME = "org.opencontainers.image.ref.name"
EPOCH = "2024-01-01T00:00:00Z"
MIB = 1 << 20
PUSH_SECONDS = 600.0


@dataclass(frozen=True)
class Layer:
    """A layer of `mib` MiB in files of `file_mib` MiB, named and filled by `seed`.

    `content` is `random` (hardly compressible), `mixed` (half of it hardly compressible), `zeros`
    (compresses to almost nothing), `busybox` (the static shell; size and seed do not matter), or
    `tree`: files as applications have them. Most of these are 10 to 100 KiB, files of some MiB
    contain a quarter of the bytes, and all compress to about three quarters. `file_mib` does not
    matter for `tree`. `directories` has entries for directories with their own modes and owners.
    `bare` has files in these directories without entries for them, like layers of Bazel and crane.
    """

    content: str = "mixed"
    seed: str = ""
    mib: int = 1
    file_mib: int = 1


BUSYBOX = Layer("busybox")
OWNED = {"tmp": (0o1777, 0), "home/private": (0o700, 1000)}
"""Directories of the layer `directories`: their modes and owners."""


class Layout:
    """An OCI layout directory that takes images under their tags."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._blobs = directory / "blobs" / "sha256"
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._layers: dict[Layer, tuple[dict[str, Any], str]] = {}
        self._entries: dict[str, dict[str, Any]] = {}
        (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def add_image(
        self,
        tag: str,
        layers: Iterable[Layer],
        architectures: Iterable[str] = ("x86_64",),
        index: bool = False,
    ) -> str:
        """Add an image; with several architectures (or `index`), an index of one manifest each.

        All platforms have the same layers plus one that differs; only x86_64 can start. Returns
        the digest that the tag names.
        """
        names = list(architectures)
        layers = list(layers)
        if len(names) == 1 and not index:
            entry = self._add_manifest(layers, names[0])
        else:
            own = [
                self._add_manifest([*layers, Layer("random", f"platform-{name}")], name)
                for name in names
            ]
            document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": own}
            entry = self._add_json(document, INDEX)
        self._entries[tag] = {**entry, "annotations": {REF_NAME: tag}}
        self._write_index()
        return entry["digest"]

    def digest(self, tag: str) -> str:
        """The digest that a tag of the layout names."""
        return self._entries[tag]["digest"]

    def source(self, tag: str) -> str:
        """An image of the layout as a skopeo source."""
        return f"oci:{self.directory}:{tag}"

    def _add_manifest(self, layers: list[Layer], architecture: str) -> dict[str, Any]:
        built = [self._add_layer(layer) for layer in layers]
        config = {
            "created": EPOCH,
            "architecture": PLATFORMS[architecture],
            "os": "linux",
            "config": {
                "Entrypoint": ["/bin/busybox"],
                "Cmd": ["echo", "started"],
                "Env": ["PATH=/bin"],
            },
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in built]},
            "history": [{"created": EPOCH, "created_by": layer.content} for layer in layers],
        }
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._add_json(config, CONFIG),
            "layers": [descriptor for descriptor, _ in built],
        }
        platform = {"architecture": PLATFORMS[architecture], "os": "linux"}
        return {**self._add_json(document, MANIFEST), "platform": platform}

    def _add_json(self, document: dict[str, Any], media_type: str) -> dict[str, Any]:
        data = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
        value = hashlib.sha256(data).hexdigest()
        (self._blobs / value).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{value}", "size": len(data)}

    def _add_layer(self, layer: Layer) -> tuple[dict[str, Any], str]:
        if layer not in self._layers:
            self._layers[layer] = self._build_layer(layer)
        return self._layers[layer]

    def _build_layer(self, layer: Layer) -> tuple[dict[str, Any], str]:
        unfinished = self._blobs / "unfinished"
        with unfinished.open("wb") as file:
            packed = _HashingWriter(file)
            with gzip.GzipFile("", "wb", 1, packed, mtime=0) as zipped:  # type: ignore[arg-type]
                plain = _HashingWriter(zipped)
                with tarfile.open(fileobj=plain, mode="w|", format=tarfile.USTAR_FORMAT) as tar:  # type: ignore[arg-type]
                    _fill(tar, layer)
        value = packed.hash.hexdigest()
        unfinished.rename(self._blobs / value)
        descriptor = {"mediaType": LAYER, "digest": f"sha256:{value}", "size": packed.size}
        return descriptor, f"sha256:{plain.hash.hexdigest()}"

    def _write_index(self) -> None:
        entries = [self._entries[tag] for tag in sorted(self._entries)]
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        (self.directory / "index.json").write_text(json.dumps(document))


class _HashingWriter:
    """Passes bytes on, counting and hashing them."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self.hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        self.size += len(data)
        self._target.write(data)
        return len(data)

    def flush(self) -> None:
        self._target.flush()


def _fill(tar: tarfile.TarFile, layer: Layer) -> None:
    if layer.content == "busybox":
        _add_file(tar, "bin/busybox", busybox().read_bytes(), 0o755)
        for name in ("sh", "cat", "echo", "ls", "sleep", "sha256sum"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        return
    if layer.content == "directories":
        for name, (mode, owner) in OWNED.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, mode, owner, owner
            tar.addfile(entry)
        return
    if layer.content == "bare":
        for name in OWNED:
            _add_file(tar, f"{name}/file", b"content", 0o644)
        return
    for number, data in enumerate(_contents(layer)):
        _add_file(tar, f"data/{layer.content}-{layer.seed or 'base'}/{number:05}", data, 0o644)


def _contents(layer: Layer) -> Iterator[bytes]:
    source = random.Random(f"{layer.content}/{layer.seed}")
    if layer.content == "tree":
        yield from _tree_contents(source, layer.mib * MIB)
        return
    size = layer.file_mib * MIB
    for _ in range(max(1, layer.mib // layer.file_mib)):
        if layer.content == "zeros":
            yield bytes(size)
        elif layer.content == "random":
            yield source.randbytes(size)
        elif layer.content == "mixed":
            yield source.randbytes(size // 2) + bytes([source.randrange(256)]) * (size // 2)
        else:
            raise ValueError(f"no layer content {layer.content!r}")


def _tree_contents(source: random.Random, size: int) -> Iterator[bytes]:
    large = 0
    written = 0
    while written < size:
        if large * 4 < written:
            wanted = source.randrange(MIB, 16 * MIB)
            large += wanted
        else:
            wanted = source.randrange(10 << 10, 100 << 10)
        wanted = min(wanted, size - written)
        written += wanted
        yield b"".join(_blocks(source, wanted))


def _blocks(source: random.Random, size: int) -> Iterator[bytes]:
    """Blocks of noise and words, half each, like a program's sections or an archive's members."""
    text = _words()
    while size > 0:
        length = min(4096, size)
        size -= length
        if source.random() < 0.5:
            yield source.randbytes(length)
        else:
            start = source.randrange(len(text) - length)
            yield text[start : start + length]


@functools.cache
def _words() -> bytes:
    """Some MB of words, few of them frequent: compresses like text and code."""
    source = random.Random("words")
    words = [source.randbytes(6).hex()[: source.randrange(2, 12)].encode() for _ in range(5000)]
    return b" ".join(source.choices(words, [1 / rank for rank in range(1, 5001)], k=1_000_000))


def _add_file(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))


def busybox() -> Path:
    """The static busybox of this machine. Raises FileNotFoundError naming the package."""
    found = shutil.which("busybox", path="/bin:/usr/bin")
    if found is None:
        raise FileNotFoundError("no busybox in /bin or /usr/bin: apt-get install busybox-static")
    return Path(found)


def push_layout(layout: Layout, tag: str, registry: Registry, repository: str, as_tag: str) -> None:
    """Push an image of the layout with skopeo, its index included. Raises CalledProcessError."""
    home = registry.home / "skopeo"
    certificates = home / "certificates"
    certificates.mkdir(parents=True, exist_ok=True)
    shutil.copy(registry.authority.ca_file, certificates / "ca.crt")
    host = f"127.0.0.1:{registry.port}"
    command = [
        "skopeo", "copy", "--all", "--preserve-digests", "--insecure-policy", "--quiet",
        "--dest-cert-dir", str(certificates),
    ]  # fmt: skip
    if registry.password is not None:
        # A file, not an argument: every process can read arguments.
        login = home / "login.json"
        login.touch(mode=0o600)
        token = registry.authorization.removeprefix("Basic ")
        login.write_text(json.dumps({"auths": {host: {"auth": token}}}))
        command += ["--dest-authfile", str(login)]
    command += [layout.source(tag), f"docker://{host}/{repository}:{as_tag}"]
    subprocess.run(
        command,
        env=clean_environment(home),
        timeout=PUSH_SECONDS,
        check=True,
        capture_output=True,
        text=True,
    )
