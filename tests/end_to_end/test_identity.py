"""S12: a published snapshot contains nothing of the builder's identity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from local_cloud.builder_host.node import boot_node
from local_cloud.builder_host.snapshot_files import (
    files_in_containerd,
    files_outside_containerd,
    files_with,
)
from local_cloud.cloud import LocalCloud

from .conftest import new_cache
from .inspector import Inspector
from .stack import Frontload, wait_until

# This file names the content's snapshotter. Everything else is an empty directory.
FILES = {"var/cache/containerd/active-snapshotter"}
DIRECTORIES = {
    *("bootstrap-containers", "host-containers", "mnt", "opt", "var", "var/cache"),
    *("var/cache/containerd", "var/lib", "var/lib/chrony", "var/lib/frontload"),
    *("var/lib/kubelet", "var/lib/netdog", "var/lib/systemd", "var/log", "var/tmp"),
    # Bottlerocket creates these at every boot, and empties or replaces their content
    # (bottlerocket-core-kit, packages/release: prepare-opt, prepare-var, release-tmpfiles.conf).
    *("opt/cni", "opt/csi", "var/cache/private", "var/lib/bottlerocket"),
    *("var/lib/bottlerocket-migrations", "var/lib/private", "var/lib/selinux"),
}
OVERLAYS = ("cni-plugins", "csi-helpers", "kernel-devel", "kernel-modules")
# Settings that every node would read from the volume if they were left on it.
PLANTED = ("/local/user-data-defaults.toml", "/var/lib/netdog/net.toml")
INTROSPECTION = "var/lib/containerd/io.containerd.grpc.v1.introspection/uuid"


@dataclass(frozen=True)
class BuiltSnapshot:
    """A published snapshot and the builder that made it."""

    snapshot_id: str
    snapshot: Path
    builder: str
    reference: str


@pytest.fixture(scope="module")
def built(cloud: LocalCloud, frontload: Frontload) -> Iterator[BuiltSnapshot]:
    inspector = Inspector(cloud)
    with new_cache(frontload) as cache:
        cache.push()
        cache.put()
        # containerd creates its id at the first request for its version.
        plant = "ctr version >&2\n" + "".join(f"on_host touch {path}\n" for path in PLANTED)
        edit = {"find": "\nmask_kubelet\n", "replace": f"\nmask_kubelet\n{plant}"}
        cloud.control.plant(script_edits=[edit])
        arn = frontload.start(cache.name)
        (builder,) = wait_until(inspector.builders_alive, "the builder")
        pipeline = frontload.wait(arn)
        assert pipeline.status == "SUCCEEDED", pipeline.cause
        snapshot_id, _ = inspector.published(cache)
        snapshot = cloud.host.snapshot_file(snapshot_id)
        yield BuiltSnapshot(snapshot_id, snapshot, builder, cache.reference())


def test_s12_a_snapshot_has_only_empty_directories_outside_containerd(built: BuiltSnapshot) -> None:
    directories, files = files_outside_containerd(built.snapshot)
    assert files == FILES
    remade = {one for one in directories if one.startswith(tuple(f"var/lib/{o}" for o in OVERLAYS))}
    assert directories - DIRECTORIES - remade == set()


def test_s12_no_file_of_a_snapshot_names_the_builder(built: BuiltSnapshot) -> None:
    assert files_with(built.snapshot, built.builder) == []


def test_s12_a_node_s_containerd_gets_an_id_of_its_own(built: BuiltSnapshot) -> None:
    assert INTROSPECTION not in files_in_containerd(built.snapshot)


def test_s12_a_node_starts_its_own_host_containers_and_reuses_no_key(
    cloud: LocalCloud, built: BuiltSnapshot
) -> None:
    with boot_node(cloud.host, built.snapshot_id) as node:
        assert node.adopted_host_containers == []
        assert node.reused_identity == []
        node.start_container(built.reference)
