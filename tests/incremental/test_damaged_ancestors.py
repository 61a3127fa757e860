"""A damaged snapshot is never inherited: a build on it is as complete as a full build."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .changes import ChangeGenerator
from .lineage import ChainLink, PushedApp, Workshop

CONTENT = "/var/lib/containerd/io.containerd.content.v1.content"
BLOB = f"$(ls -S {CONTENT}/blobs/sha256/* | head -n 1)"
LAYERS = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs"
LAYER_FILE = f"$(find {LAYERS}/snapshots/*/fs/data -type f | sort | tail -n 1)"
CTR = "ctr --namespace k8s.io"
ONE_NAME = f"$({CTR} images ls -q | head -n 1)"
NO_FLUSH = [("on_host sync -f", "true sync -f")]


@pytest.fixture(scope="module")
def apps(workshop: Workshop) -> list[PushedApp]:
    """Three images, two of them on one base."""
    return [workshop.push(app) for app in ChangeGenerator(1).begin()[:3]]


@pytest.fixture(scope="module")
def good(workshop: Workshop, apps: list[PushedApp]) -> Iterator[ChainLink]:
    """An undamaged link."""
    link = workshop.build(apps)
    yield link
    workshop.forget(link)


def built_upon(workshop: Workshop, ancestor: ChainLink) -> str:
    """Build the same images on the ancestor and check them; returns `ancestor` of the report."""
    link = workshop.build(ancestor.apps, ancestor)
    found = workshop.check(link)
    workshop.forget(link)
    assert (found.wrong, found.beyond) == ([], []), link.told
    return link.report["ancestor"]


def test_an_undamaged_ancestor_is_built_upon(workshop: Workshop, good: ChainLink) -> None:
    assert built_upon(workshop, good) == "kept"


def test_a_snapshot_that_was_never_flushed_is_not_built_upon(
    workshop: Workshop, apps: list[PushedApp]
) -> None:
    unflushed = workshop.build(apps, edits=NO_FLUSH, orderly=False)
    assert workshop.check(unflushed).wrong != [], "it was flushed all the same"
    assert built_upon(workshop, unflushed) == "damaged"
    workshop.forget(unflushed)


@pytest.mark.parametrize(
    "damage",
    [
        f'truncate --size=0 "{LAYER_FILE}"',
        f'truncate --size=-1 "{LAYER_FILE}"',
        f'rm "{LAYER_FILE}"',
        f'touch "$(dirname "{LAYER_FILE}")/foreign"',
        f'chmod u+s "{LAYER_FILE}"',
        f"rm -r $(ls -d {LAYERS}/snapshots/* | tail -n 1)",
        f"truncate --size=0 {BLOB}",
        f"truncate --size=-1 {BLOB}",
        f"rm {BLOB}",
        f"rm -r {LAYERS} {CONTENT}",
    ],
    ids=[
        "layer's file empty",
        "layer's file short",
        "layer's file missing",
        "foreign file in a layer",
        "layer's file with another mode",
        "layer missing",
        "blob empty",
        "blob short",
        "blob missing",
        "everything missing",
    ],
)
def test_damaged_files_are_not_built_upon(workshop: Workshop, good: ChainLink, damage: str) -> None:
    damaged = workshop.tamper(good, damage)
    assert built_upon(workshop, damaged) == "damaged"
    workshop.forget(damaged)


@pytest.mark.parametrize(
    "damage",
    [
        f"{CTR} images rm {ONE_NAME}",
        f"{CTR} images label {ONE_NAME} io.cri-containerd.image=",
        f"{CTR} images tag --force {ONE_NAME} registry.example.com/other:v1",
        f"{CTR} leases create --id left-behind",
        f"{CTR} leases create --id l; {CTR} snapshots prepare unfinished",
        f"mkdir -p {CONTENT}/ingest/0123; echo left >{CONTENT}/ingest/0123/data",
        f"touch {CONTENT}/blobs/sha256/$(printf 0%.0s $(seq 64))",
    ],
    ids=[
        *("name missing", "label missing", "foreign name", "lease", "active layer", "download"),
        "foreign blob",
    ],
)
def test_missing_or_extra_content_in_containerd_is_repaired(
    workshop: Workshop, good: ChainLink, damage: str
) -> None:
    tampered = workshop.tamper(good, damage)
    assert built_upon(workshop, tampered) in ("kept", "damaged")
    workshop.forget(tampered)


@pytest.mark.parametrize(
    "damage",
    [
        "io.containerd.metadata.v1.bolt/meta.db",
        "io.containerd.snapshotter.v1.overlayfs/metadata.db",
    ],
    ids=["images", "layers"],
)
def test_an_emptied_database_is_not_built_upon(
    workshop: Workshop, good: ChainLink, damage: str
) -> None:
    stop = 'rm /run/units/containerd.active; kill "$(cat /run/units/containerd.pid)"; sleep 1'
    emptied = workshop.tamper(good, f"{stop}; truncate --size=0 /var/lib/containerd/{damage}")
    assert built_upon(workshop, emptied) in ("kept", "damaged")
    workshop.forget(emptied)
