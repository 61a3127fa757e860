"""Bottlerocket's own image, imported at each start of kubelet."""

from __future__ import annotations

import dataclasses

from local_cloud.builder_host.inventory import inventory_of
from local_cloud.builder_host.node import boot_node
from local_cloud.builder_host.pause_image import PAUSE_IMAGE, pause_archive

from .conftest import QUICK

NEXT_OS = dataclasses.replace(QUICK, os_version="1.63.0")
REMOVE = f"ctr -n k8s.io images rm {PAUSE_IMAGE}"
LIST = "ctr -n k8s.io images ls"


def line_of_pause(started) -> list[str]:
    """Return the image's line of `ctr images ls`, in fields; empty when there is no such image."""
    lines = started.on_host(LIST).stdout.splitlines()
    return next((line.split() for line in lines if line.startswith(f"{PAUSE_IMAGE} ")), [])


def test_the_archive_depends_only_on_the_release():
    first = pause_archive("1.62.0")
    pause_archive.cache_clear()
    assert pause_archive("1.62.0") == first
    assert pause_archive("1.63.0") != first


def test_a_booted_instance_has_the_image_pinned(shared_builder):
    labels = line_of_pause(shared_builder)[-1].split(",")
    assert "io.cri-containerd.pinned=pinned" in labels


def test_another_release_imports_its_own_image_and_the_old_one_loses_its_name(start):
    instance = start()
    first = line_of_pause(instance)[2]
    instance.stop()
    instance.start_again(NEXT_OS)
    second = line_of_pause(instance)[2]
    assert second != first
    others = [line for line in instance.on_host(LIST).stdout.splitlines() if first in line]
    assert [line[:7] for line in others] == ["sha256:"]


def test_a_removed_image_is_back_at_the_next_boot(start):
    instance = start()
    digest = line_of_pause(instance)[2]
    assert instance.on_host(REMOVE).exit_code == 0
    assert line_of_pause(instance) == []
    instance.stop()
    instance.start_again()
    assert line_of_pause(instance)[2] == digest


def test_kubelet_imports_the_image_again_and_containerd_does_not(start):
    instance = start()
    instance.on_host(f"{REMOVE}; systemctl stop kubelet")
    assert line_of_pause(instance) != []
    instance.on_host(f"systemctl mask --now kubelet; {REMOVE}; systemctl restart containerd")
    assert line_of_pause(instance) == []


def test_a_node_knows_its_own_image_and_does_not_count_it(host):
    with boot_node(host, None) as node:
        assert node.pause_image is not None
        assert node.images() == {}
        found = inventory_of(node)
    assert (found.images, found.unseen, found.blobs, found.layers) == ({}, [], set(), set())
    assert (found.directories, found.unfinished) == (0, [])


def test_a_node_counts_the_image_of_another_release(host, start):
    instance = start(user_data="")
    digest = line_of_pause(instance)[2]
    instance.stop()
    host.snapshot_volume(instance.volume_id, "snap-of-older-os")
    with boot_node(host, "snap-of-older-os", options=NEXT_OS) as node:
        assert list(node.images().values()) == [digest]
        found = inventory_of(node)
        assert digest in found.blobs
        assert (len(found.layers), found.directories) == (1, 1)
    host.delete_snapshot("snap-of-older-os")
