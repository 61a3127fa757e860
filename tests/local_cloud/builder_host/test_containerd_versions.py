"""Instances with a containerd of another series than the machine's (`make containerd-versions`)."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from local_cloud.builder_host.blob_source import Registry
from local_cloud.builder_host.containerd_host import ContainerdHost
from local_cloud.builder_host.content_check import check_content
from local_cloud.builder_host.pause_image import PAUSE_IMAGE

from .conftest import ADMIN, StartedInstance

TOOLS = Path(__file__).parents[3] / "target" / "tools"
DOWNLOADS = "[settings.container-runtime]\nmax-concurrent-downloads = 7\n"


@pytest.fixture(scope="module", params=["1.7", "2.1"])
def other(request, registry, tmp_path_factory):
    """Yield the requested containerd series, and an instance that runs it."""
    directory = TOOLS / f"containerd-{request.param}"
    if not directory.exists():
        pytest.skip(f"{directory} is missing: make containerd-versions")
    host = ContainerdHost(tmp_path_factory.mktemp("other"), registry.endpoints, directory)
    started = StartedInstance(host, ADMIN + DOWNLOADS)
    started.wait_for_admin()
    yield request.param, started
    started.close()
    host.close()


def test_daemon_and_client_are_of_the_version_asked_for(other):
    series, instance = other
    told = instance.on_host("ctr version | grep Version:").stdout
    assert [line.split()[1][:3] for line in told.splitlines()] == [series, series]


def test_it_runs_with_bottlerocket_s_settings(other):
    series, instance = other
    dump = instance.on_host("containerd --config /etc/containerd/config.toml config dump")
    plugins = tomllib.loads(dump.stdout)["plugins"]
    place = {"1.7": "io.containerd.grpc.v1.cri", "2.1": "io.containerd.transfer.v1.local"}
    assert plugins[place[series]]["max_concurrent_downloads"] == 7
    assert instance.on_host("pgrep -xc containerd").stdout == "1\n"


def test_it_has_bottlerocket_s_own_image(other):
    _, instance = other
    (line,) = (
        line
        for line in instance.on_host("ctr -n k8s.io images ls").stdout.splitlines()
        if line.startswith(PAUSE_IMAGE)
    )
    assert "io.cri-containerd.pinned=pinned" in line


def test_its_decompressor_is_found_by_the_daemon(other):
    series, instance = other
    program = {"1.7": "unpigz", "2.1": "igzip"}[series]
    script = f"head -c 100000 /dev/zero | gzip | {program} -dc | wc -c"
    assert instance.on_host(script).stdout == "100000\n"


def test_what_it_pulls_is_on_the_snapshot_after_a_flush(other, registry, app):
    series, instance = other
    instance.pull(app)
    assert instance.run("apiclient exec admin sheltie sync -f /local").exit_code == 0
    snapshot_id = f"snap-{series}"
    instance.host.snapshot_volume(instance.volume_id, snapshot_id)
    source = Registry(registry.endpoints.registry, registry.ca_file, registry.authorization)
    report = check_content(instance.host, snapshot_id, {app.reference: app.digest}, source)
    assert (report.files_wrong, report.examples) == (0, [])
    assert report.files_checked >= app.files
    instance.host.delete_snapshot(snapshot_id)
