"""Tests of the image sets: their figures depend on which layers the images share."""

from __future__ import annotations

import json
from pathlib import Path

from local_cloud.images import Layer, Layout

from bench import image_sets
from bench.image_sets import SETS, SIZES_MB, PushedImage, PushedLayer


def test_the_sharing_images_have_one_base_and_tops_of_their_own() -> None:
    images = list(SETS["sharing"]().values())
    assert all(layers[:4] == images[0][:4] for layers in images)
    tops = [layer for layers in images for layer in layers[4:]]
    assert (len(images), len(tops)) == (4, len(set(tops)))


def test_the_unrelated_images_have_only_the_shell_in_common() -> None:
    images = [set(layers) for layers in SETS["unrelated"]().values()]
    assert len(images) == 8
    assert set.intersection(*images) == {image_sets.BUSYBOX}
    assert len(set.union(*images)) == 8 * 4 + 1


def test_each_size_adds_one_layer_to_the_size_before() -> None:
    sizes, model = list(SETS["sizes"]().values()), SETS["large"]()["model"]
    assert len(sizes) == len(SIZES_MB)
    assert all(layers == model[: number + 2] for number, layers in enumerate(sizes))


def test_a_tree_layer_compresses_to_three_quarters(
    tmp_path: Path,
) -> None:
    layout = Layout(tmp_path)
    digest = layout.add_image("one", [Layer("tree", "x", 8)])
    manifest = json.loads((tmp_path / "blobs" / digest.replace(":", "/")).read_text())
    assert 0.7 < manifest["layers"][0]["size"] / (8 << 20) < 0.82


def test_an_image_from_another_generator_version_does_not_count(tmp_path: Path) -> None:
    description = {"version": image_sets.VERSION, "images": []}
    (tmp_path / "large.json").write_text(json.dumps(description))
    assert image_sets._read(tmp_path, "large") == []
    (tmp_path / "large.json").write_text(json.dumps(description | {"version": -1}))
    assert image_sets._read(tmp_path, "large") is None


def test_an_image_is_as_large_as_its_layers() -> None:
    layers = (PushedLayer("sha256:a", 10), PushedLayer("sha256:b", 5))
    image = PushedImage("bench/one", "v1", "sha256:c", "sha256:d", layers)
    assert image.size == 15
    assert image.reference.endswith(".amazonaws.com/bench/one:v1")
