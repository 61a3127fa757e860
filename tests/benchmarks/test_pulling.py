"""Tests of the commands of the two ways of pulling."""

from __future__ import annotations

import pytest
from local_cloud import builder_command
from local_cloud.builder_host.registry_fixture import PASSWORD

from bench import pulling
from bench.frame import BenchError
from bench.image_sets import PushedImage, PushedLayer
from bench.pulling import build_document, our_way, snapshot_sh_way

IMAGES = [
    PushedImage(
        f"bench/{name}",
        "v1",
        "sha256:" + name * 64,
        "sha256:" + name.swapcase() * 64,
        (PushedLayer("sha256:" + number * 64, size),),
    )
    for name, number, size in (("a", "1", 7), ("b", "2", 9))
]


def test_snapshot_sh_pulls_one_after_the_other_and_then_flushes() -> None:
    first, *pulls, last = snapshot_sh_way(IMAGES).command.splitlines()
    assert first == "set -e"
    assert [line.split()[-1] for line in pulls] == [image.reference for image in IMAGES]
    assert all("images pull --label io.cri-containerd.image=managed" in line for line in pulls)
    assert last == "apiclient exec admin sheltie sync -f /local"


def test_a_build_has_the_images_layers_and_a_volume_that_holds_them() -> None:
    document = build_document(IMAGES)
    images = document["images"]
    assert [image["digest"] for image in images] == [image.digest for image in IMAGES]
    assert [image["manifest"] for image in images] == [image.manifest for image in IMAGES]
    assert images[1]["layers"] == [{"digest": "sha256:" + "2" * 64, "bytes": 9}]
    assert document["builder"]["volumeGib"] == pulling.VOLUME_GIB


def test_no_password_is_in_our_command(monkeypatch, tmp_path) -> None:
    printer = tmp_path / "ssm_command"
    printer.write_text('#!/bin/sh\ncat >/dev/null\necho \'{"command": "c", "userData": "dQ=="}\'\n')
    printer.chmod(0o755)
    monkeypatch.setattr(builder_command, "PROGRAM", printer)
    way = our_way(IMAGES)
    assert (way.command, way.user_data) == ("c", "u")
    assert PASSWORD not in way.command


def test_a_missing_program_names_its_remedy(monkeypatch) -> None:
    missing = pulling.ROOT / "target" / "no-such-program"
    monkeypatch.setattr(builder_command, "PROGRAM", missing)
    with pytest.raises(BenchError, match="cargo build --workspace --locked --example ssm_command"):
        our_way(IMAGES)


def test_a_refused_build_says_why(monkeypatch, tmp_path) -> None:
    printer = tmp_path / "ssm_command"
    printer.write_text("#!/bin/sh\ncat >/dev/null\necho 'no images' >&2; exit 1\n")
    printer.chmod(0o755)
    monkeypatch.setattr(builder_command, "PROGRAM", printer)
    with pytest.raises(BenchError, match="no images"):
        our_way(IMAGES)
