"""The stand-in answers as a builder would, and says what it is."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from local_cloud.builder_host import BuilderHostError, InstanceSpec, make_builder_host

DIGITS = "a" * 64


def command(*names: str) -> str:
    """Return the two tables of a command that pulls these images from one registry."""
    repositories = "\n".join(f"registry.example.com/a/{name} -" for name in names)
    images = "\n".join(f"{index} v1 {DIGITS}" for index in range(len(names)))
    return f"repository_list='{repositories}'\nimages='{images}'\n"


def test_a_scripted_pull_reports_the_planned_images_from_containerd_scripted(tmp_path):
    host = make_builder_host("scripted", work_dir=tmp_path, endpoints=None)
    host.create_volume("vol-1", 10, None)
    host.start_instance(InstanceSpec("i-1", "x86_64", "vol-1", ""))
    result = host.run_command("i-1", command("b"), "c-1", 10)
    host.close()
    answer = json.loads(result.stdout)
    assert answer["containerd"] == "scripted"
    assert answer["digests"] == [f"sha256:{DIGITS}"]


@pytest.mark.parametrize("pull", [command("b", "c"), "ctr images pull b\nctr images pull c\n"])
def test_a_pull_takes_time_for_each_image_and_ends_with_the_host(tmp_path, pull):
    host = make_builder_host("scripted", work_dir=tmp_path, endpoints=None)
    host.create_volume("vol-1", 10, None)
    host.start_instance(InstanceSpec("i-1", "x86_64", "vol-1", ""))
    host.pull_seconds = 0.1
    begun = time.monotonic()
    host.run_command("i-1", pull, "c-1", 10)
    assert time.monotonic() - begun >= 0.2
    host.pull_seconds = 3600.0
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(host.run_command, "i-1", pull, "c-2", 10)
        host.close()
        with pytest.raises(BuilderHostError):
            running.result(timeout=10)
