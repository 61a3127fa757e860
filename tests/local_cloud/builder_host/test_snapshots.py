"""What a snapshot contains, and whether a node starts from it."""

from __future__ import annotations

import pytest

from local_cloud.builder_host import BuilderHostError
from local_cloud.builder_host.blob_source import Registry
from local_cloud.builder_host.content_check import check_content
from local_cloud.builder_host.node import NodeError, boot_node

FLUSH = "apiclient exec admin sheltie sync -f /local"


@pytest.fixture
def source(registry):
    return Registry(registry.endpoints.registry, registry.ca_file, registry.authorization)


@pytest.fixture
def pulled(builder, app):
    builder.pull(app)
    return builder


@pytest.fixture
def snapshot(host):
    """Takes snapshots, and deletes them at the end."""
    taken = []

    def take(started, name):
        host.snapshot_volume(started.volume_id, name)
        taken.append(name)
        return name

    yield take
    for name in taken:
        host.delete_snapshot(name)


def test_a_pull_without_the_token_is_refused_by_the_registry(builder, app):
    result = builder.on_host(f"ctr -n k8s.io images pull {app.reference} >/dev/null")
    assert (result.exit_code, "401 Unauthorized" in result.stderr) == (1, True)


def test_an_unflushed_snapshot_is_worthless_and_a_flushed_one_is_good(
    host, pulled, app, source, snapshot
):
    unflushed = snapshot(pulled, "snap-unflushed")
    assert pulled.run(FLUSH).exit_code == 0
    flushed = snapshot(pulled, "snap-flushed")
    by_digest = f"{app.reference.rpartition(':')[0]}@{app.digest}"
    images = {app.reference: app.digest, by_digest: app.digest}
    bad = check_content(host, unflushed, images, source)
    good = check_content(host, flushed, images, source)
    assert (good.files_wrong, good.examples) == (0, [])
    assert good.files_checked >= app.files
    assert bad.files_wrong >= app.files, bad
    # Which of the two depends on what the kernel has written by then on its own.
    assert any(example.endswith((": empty", ": missing")) for example in bad.examples), bad


def test_the_content_check_sees_one_changed_byte_and_a_foreign_file(
    host, pulled, app, source, snapshot
):
    layers = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/*/fs/data"
    changed = pulled.run(
        "apiclient exec admin sheltie sh -c 'printf X | dd of=$(ls -d "
        f"{layers}/file-7) conv=notrunc bs=1 count=1 2>/dev/null; "
        f"touch $(ls -d {layers} | head -n 1)/foreign; sync -f /local'"
    )
    assert changed.exit_code == 0, changed.stderr
    report = check_content(
        host, snapshot(pulled, "snap-changed"), {app.reference: app.digest}, source
    )
    places = sorted(example.split(": ")[1] for example in report.examples)
    assert (report.files_wrong, places) == (2, ["/data/file-7", "/data/foreign"])


def test_the_content_check_sees_a_changed_and_a_missing_blob(host, pulled, app, source, snapshot):
    config, layer = list(app.blobs)[:2]
    blobs = "/var/lib/containerd/io.containerd.content.v1.content/blobs/"
    changed = pulled.run(
        f"apiclient exec admin sheltie sh -c 'cd {blobs}; rm {layer.replace(':', '/')}; "
        f"chmod +w {config.replace(':', '/')}; echo >>{config.replace(':', '/')}; sync -f /local'"
    )
    assert changed.exit_code == 0, changed.stderr
    taken = snapshot(pulled, "snap-blobs")
    report = check_content(host, taken, {app.reference: app.digest}, source)
    ends = sorted(example.split(": ")[1][:11] for example in report.examples)
    assert (report.files_wrong, ends) == (2, ["missing", "other bytes"])


def test_the_content_check_sees_an_image_that_is_not_there(host, builder, app, source, snapshot):
    taken = snapshot(builder, "snap-bare")
    report = check_content(host, taken, {app.reference: app.digest}, source)
    assert report.files_wrong > report.files_checked >= app.files
    assert "no such image" in report.examples[0]


def test_a_node_starts_the_image_offline_by_tag_and_by_digest(host, pulled, app, snapshot):
    assert pulled.run(FLUSH).exit_code == 0
    by_digest = f"{app.reference.rpartition(':')[0]}@{app.digest}"
    with boot_node(host, snapshot(pulled, "snap-node")) as node:
        known = node.images()
        assert (known[app.reference], known[by_digest]) == (app.digest, app.digest)
        assert node.start_container(app.reference) < 20
        assert node.start_container(by_digest) < 20
        assert node.bytes_pulled == 0
        with pytest.raises(NodeError, match="not found"):
            node.start_container(f"{app.reference}-unknown")
        with pytest.raises(NodeError, match="connection refused"):
            node.cold_pull(app.reference)


def test_a_node_from_an_unflushed_snapshot_cannot_start_the_image(host, pulled, app, snapshot):
    with boot_node(host, snapshot(pulled, "snap-empty-files")) as node:
        assert app.reference in node.images()
        with pytest.raises(NodeError):
            node.start_container(app.reference)


def test_an_empty_node_pulls_and_its_bytes_are_counted(host, app):
    with boot_node(host, None, registry_on=True) as node:
        assert node.images() == {}
        assert node.cold_pull(app.reference) < 20
        assert node.start_container(app.reference) < 20
        assert node.bytes_pulled > sum(map(len, app.blobs.values())) / 2


def test_a_node_s_larger_volume_is_grown_at_boot(host, builder, snapshot):
    with boot_node(host, snapshot(builder, "snap-small"), gib=25) as node:
        size = node.run(["df", "-BG", "--output=size", "/local"])
        assert size.stdout.split()[1] in ("25G", "24G")


def test_a_volume_smaller_than_its_snapshot_is_refused(host, builder, snapshot):
    with pytest.raises(BuilderHostError, match="5 GiB is less than snapshot snap-big has, 10"):
        host.create_volume("vol-too-small", 5, snapshot(builder, "snap-big"))


def test_the_volume_of_a_running_instance_cannot_be_deleted(host, builder):
    with pytest.raises(BuilderHostError, match=f"in use by instance {builder.id}"):
        host.delete_volume(builder.volume_id)


def test_a_snapshot_outlives_its_volume_and_a_volume_its_snapshot(host, start):
    first = start()
    first.run("apiclient exec admin sh -c true; echo kept >/var/lib/amazon/ssm/kept; sync")
    host.snapshot_volume(first.volume_id, "snap-kept")
    host.stop_instance(first.id)
    host.delete_volume(first.volume_id)
    host.create_volume("vol-second", 10, "snap-kept")
    host.delete_snapshot("snap-kept")
    host.delete_volume("vol-second")
    with pytest.raises(BuilderHostError, match="snapshot snap-kept does not exist"):
        host.create_volume("vol-third", 10, "snap-kept")


def test_a_copied_snapshot_keeps_its_content_when_its_source_is_gone(
    host, pulled, app, source, snapshot
):
    assert pulled.run(FLUSH).exit_code == 0
    host.snapshot_volume(pulled.volume_id, "snap-source")
    host.copy_snapshot("snap-source", "snap-copy")
    host.delete_snapshot("snap-source")
    try:
        copied = check_content(host, "snap-copy", {app.reference: app.digest}, source)
        assert host.snapshot_gib("snap-copy") > 0
    finally:
        host.delete_snapshot("snap-copy")
    assert (copied.files_wrong, copied.files_checked >= app.files) == (0, True)


def test_only_the_bytes_of_an_existing_snapshot_can_be_read(host):
    host.create_volume("vol-read", 1)
    host.snapshot_volume("vol-read", "snap-read")
    assert host.snapshot_file("snap-read").stat().st_size == 1 << 30
    host.delete_snapshot("snap-read")
    host.delete_volume("vol-read")
    with pytest.raises(BuilderHostError, match="snapshot snap-read does not exist"):
        host.snapshot_file("snap-read")
