"""Test images are deterministic OCI layouts."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from .images import BUSYBOX, Layer, Layout, busybox


def read(layout: Layout, digest: str) -> Any:
    return json.loads(blob(layout, digest))


def blob(layout: Layout, digest: str) -> bytes:
    data = (layout.directory / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()
    assert digest == "sha256:" + hashlib.sha256(data).hexdigest()
    return data


def test_equal_arguments_give_equal_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [BUSYBOX, Layer("mixed", "base", 2), Layer("random", "app", 1)]
    today = Layout(tmp_path / "today").add_image("v1", layers)
    monkeypatch.setattr("time.time", lambda: 1.0)
    assert Layout(tmp_path / "in 1970").add_image("v1", layers) == today
    assert Layout(tmp_path / "other").add_image("v1", layers[:2]) != today


def test_an_image_holds_a_shell_that_can_start(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    manifest = read(layout, layout.add_image("v1", [BUSYBOX]))
    config = read(layout, manifest["config"]["digest"])
    plain = gzip.decompress(blob(layout, manifest["layers"][0]["digest"]))
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(plain).hexdigest()]
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        shell = tar.extractfile("bin/sh")
        assert shell is not None and shell.read() == busybox().read_bytes()


def test_an_index_has_one_manifest_per_platform_over_a_shared_base(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    index = read(layout, layout.add_image("v1", [BUSYBOX], ("x86_64", "arm64")))
    assert [m["platform"]["architecture"] for m in index["manifests"]] == ["amd64", "arm64"]
    layers = [
        [layer["digest"] for layer in read(layout, m["digest"])["layers"]]
        for m in index["manifests"]
    ]
    assert layers[0][0] == layers[1][0]
    assert layers[0][1] != layers[1][1]


def test_zeros_compress_to_little_and_unpack_to_much(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    manifest = read(layout, layout.add_image("v1", [Layer("zeros", mib=20)]))
    packed = manifest["layers"][0]
    assert packed["size"] < 200_000
    assert len(gzip.decompress(blob(layout, packed["digest"]))) > 20 << 20


def test_tags_are_found_in_the_layouts_index(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    for tag in ("v1", "v2"):
        layout.add_image(tag, [Layer("random", tag)])
    entries = json.loads((tmp_path / "index.json").read_text())["manifests"]
    names = {e["annotations"]["org.opencontainers.image.ref.name"]: e["digest"] for e in entries}
    assert names == {"v1": layout.digest("v1"), "v2": layout.digest("v2")}
