"""Where Bottlerocket's settings go in containerd's configuration."""

from __future__ import annotations

import tomllib

import pytest

from local_cloud.builder_host.containerd_config import render, version_of

RUNTIME = {
    "max-concurrent-downloads": 10,
    "max-concurrent-unpacks": 4,
    "concurrent-download-chunk-size": 8 << 20,
}


def plugins(version, runtime):
    return tomllib.loads(render(version, runtime, "amd64"))["plugins"]


@pytest.mark.parametrize("version", [(1, 6), (1, 7)])
def test_1_x_has_only_the_download_limit_of_cri(version):
    given = plugins(version, RUNTIME)
    assert given["io.containerd.grpc.v1.cri"]["max_concurrent_downloads"] == 10
    assert "io.containerd.transfer.v1.local" not in given


def test_2_1_gives_the_transfer_service_downloads_and_chunks_but_no_unpacks():
    transfer = plugins((2, 1), RUNTIME)["io.containerd.transfer.v1.local"]
    unpack = transfer.pop("unpack_config")
    assert transfer == {
        "max_concurrent_downloads": 10,
        "concurrent_layer_fetch_buffer": 8 << 20,
    }
    assert unpack == [{"snapshotter": "overlayfs", "differ": "walking", "platform": "linux/amd64"}]


def test_2_2_gives_the_transfer_service_the_unpacks_too():
    transfer = plugins((2, 2), RUNTIME)["io.containerd.transfer.v1.local"]
    assert transfer["max_concurrent_unpacks"] == 4


def test_without_settings_the_chunks_of_a_layer_are_fetched_one_after_the_other():
    transfer = plugins((2, 1), {})["io.containerd.transfer.v1.local"]
    assert transfer["concurrent_layer_fetch_buffer"] == 0
    assert "max_concurrent_downloads" not in transfer


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3", (1, 6)),
        ("containerd github.com/containerd/containerd/v2 v2.1.4+bottlerocket 75cb2b7", (2, 1)),
    ],
)
def test_the_version_is_what_the_program_says(tmp_path, said, version):
    program = tmp_path / "containerd"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    assert version_of(program) == version


def test_a_program_that_says_no_version_is_an_error(tmp_path):
    program = tmp_path / "containerd"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    with pytest.raises(ValueError, match="no version in it"):
        version_of(program)
