"""What a builder leaves on its volume, and what the next instance with that volume reuses."""

from __future__ import annotations

import dataclasses

import pytest

from local_cloud.builder_host.node import boot_node

from .conftest import ADMIN, QUICK

CONTAINERD = "/var/lib/host-containerd"
RECORDS = f"{CONTAINERD}/io.containerd.metadata.v1.bolt/meta.db"
SSH = "/local/host-containers/admin/etc/ssh"
KEY = "/local/host-containers/control/ssm/Vault/Store/EC2RegistrationKey"
ALWAYS_REUSED = ["random-seed", "kubelet.key", "EC2RegistrationKey"]
SSH_KEYS = [f"ssh_host_{algorithm}_key" for algorithm in ("rsa", "ecdsa", "ed25519")]


@pytest.fixture
def flushed_snapshot(host):
    """Takes snapshots of running instances after a flush, and deletes them at the end."""
    taken = []

    def take(started):
        assert started.on_host("sync -f /local").exit_code == 0
        taken.append(f"snap-of-{started.volume_id}")
        host.snapshot_volume(started.volume_id, taken[-1])
        return taken[-1]

    yield take
    for name in taken:
        host.delete_snapshot(name)


# The containers' records


def test_containerd_has_a_record_of_each_container_that_names_its_creator(builder):
    seen = builder.on_host(f"cd {RECORDS} && grep -o 'bottlerocket-.*' *; cat *")
    assert "admin:bottlerocket-admin:v1.62.0\ncontrol:bottlerocket-control:v1.62.0\n" in seen.stdout
    assert seen.stdout.count(f"instance={builder.id}\n") == 2


def test_an_orderly_end_removes_the_records_and_a_node_starts_its_own_containers(builder):
    assert builder.stop()
    assert builder.on_volume(f"ls .{RECORDS}") == ""
    builder.start_again(instance_id=f"{builder.id}-second")
    builder.wait_for_admin()
    assert builder.instance.adopted_host_containers == []
    assert builder.id in builder.on_host(f"cat {RECORDS}/control").stdout


def test_a_node_from_a_running_instance_s_snapshot_adopts_its_containers(
    host, start, builder, flushed_snapshot
):
    builder.in_container("admin", "echo secret >/tmp/written")
    taken = flushed_snapshot(builder)
    with boot_node(host, taken) as node:
        # The node's admin container is not enabled.
        assert node.adopted_host_containers == ["control"]
    second = start(user_data=ADMIN, snapshot_id=taken)
    second.wait_for_admin()
    assert second.instance.adopted_host_containers == ["control", "admin"]
    assert second.in_container("admin", "cat /tmp/written").stdout == "secret\n"
    assert f"instance={builder.id}\n" in second.on_host(f"cat {RECORDS}/admin").stdout


def test_containers_in_a_renamed_directory_are_not_adopted(host, builder, flushed_snapshot):
    assert builder.on_host(f"mv {CONTAINERD} {CONTAINERD}.old").exit_code == 0
    assert builder.run("apiclient exec admin true").exit_code == 0
    with boot_node(host, flushed_snapshot(builder)) as node:
        assert node.adopted_host_containers == []
        assert builder.id in node.run(["grep", "-r", "instance=", f"{CONTAINERD}.old"]).stdout
        assert host.control_running(node.name)


@pytest.mark.parametrize(("version", "runs"), [("1.62.0", False), ("1.63.0", True)])
def test_without_the_database_a_node_of_the_same_release_has_no_control_container(
    host, builder, flushed_snapshot, version, runs
):
    builder.on_host(f"rm -r {RECORDS}")
    options = dataclasses.replace(QUICK, os_version=version)
    with boot_node(host, flushed_snapshot(builder), options=options) as node:
        assert (node.adopted_host_containers, host.control_running(node.name)) == ([], runs)


def test_an_adopted_container_without_its_files_does_not_start(host, builder, flushed_snapshot):
    builder.on_host(f"rm -r {CONTAINERD}/io.containerd.snapshotter.v1.overlayfs/snapshots")
    with boot_node(host, flushed_snapshot(builder)) as node:
        assert not host.control_running(node.name)


def test_a_stopped_unit_removes_its_record_and_makes_another_when_it_starts(builder):
    unit = "host-containers@admin.service"
    stopped = builder.on_host(f"systemctl stop {unit}; ls {RECORDS}; systemctl is-active {unit}")
    assert stopped.stdout == "control\ninactive\n"
    assert builder.run("apiclient exec admin true").exit_code == 1
    started = builder.on_host(f"systemctl start {unit}; ls {RECORDS}")
    assert started.stdout == "admin\ncontrol\n"
    assert builder.run("apiclient exec admin true").exit_code == 0
    assert builder.instance.adopted_host_containers == []


def test_a_container_and_its_record_survive_the_stop_of_their_containerd(host, builder):
    stopped = builder.on_host(
        "systemctl stop host-containerd && systemctl stop host-containers@admin"
    )
    assert stopped.exit_code == 0, stopped.stderr
    assert host.control_running(builder.id)
    assert builder.stop()
    assert builder.on_volume(f"ls .{RECORDS}") == "admin\ncontrol\n"


# The identity


PLACES = [
    f"{SSH}/ssh_host_rsa_key",
    f"{SSH}/ssh_host_ed25519_key.pub",
    KEY,
    "/var/lib/kubelet/cpu_manager_state",
    "/var/lib/kubelet/memory_manager_state",
    "/var/lib/kubelet/pki/kubelet.key",
    "/var/lib/chrony/drift",
    "/var/lib/netdog/current_ip",
    "/var/lib/netdog/primary_interface",
    "/var/lib/systemd/random-seed",
    f"{RECORDS}/control",
]


def test_a_running_instance_leaves_its_name_in_many_places(builder):
    missing = [
        place for place in PLACES if builder.id not in builder.on_host(f"cat {place}").stdout
    ]
    assert missing == []
    machine_id = builder.on_host("cat /etc/machine-id").stdout.strip()
    journal = builder.on_host(f"cat /var/log/journal/{machine_id}/system.journal").stdout
    assert "Started Bottlerocket" in journal and builder.id in journal
    agent_s_log = f"{CONTAINERD}/*/snapshots/*/fs/var/log/amazon/ssm/amazon-ssm-agent.log"
    assert builder.id in builder.on_host(f"cat {agent_s_log}").stdout


def test_every_boot_makes_the_usual_directories(shared_builder):
    there = shared_builder.on_host(
        "ls -d /local/bootstrap-containers /var/lib/private /var/log/support /var/log/kdump "
        "/var/cache/private /var/lib/bottlerocket-migrations /local/host-containers/control"
    )
    assert there.exit_code == 0, there.stderr


def test_admin_finds_its_directory_where_its_start_script_looks(shared_builder):
    seen = shared_builder.in_container(
        "admin", "cd /.bottlerocket/host-containers/current && ls etc/ssh && cat user-data"
    )
    assert set(SSH_KEYS) < set(seen.stdout.split())
    assert '"authorized-keys":[]' in seen.stdout


def test_without_the_admin_container_there_are_no_ssh_keys(start):
    instance = start(user_data="")
    assert instance.on_host(f"ls {SSH}").stdout == ""
    assert instance.on_host("cat /local/host-containers/admin/user-data").exit_code == 0


def test_another_instance_reuses_the_keys_that_it_finds(builder):
    first = builder.id
    keys = builder.on_host(f"cat {SSH}/*").stdout
    assert builder.stop()
    builder.start_again(instance_id=f"{first}-second")
    builder.wait_for_admin()
    assert builder.instance.reused_identity == [*ALWAYS_REUSED, *SSH_KEYS]
    assert builder.on_host(f"cat {SSH}/*").stdout == keys
    registered = builder.on_host(f"cat {KEY}").stdout
    assert f'"instanceID":"{first}-second"' in registered
    assert f'"privateKey":"made by {first}:' in registered


def test_a_restarted_instance_keeps_its_own_keys(builder):
    keys = builder.on_host(f"cat {SSH}/* {KEY}").stdout
    builder.stop()
    builder.start_again()
    builder.wait_for_admin()
    assert builder.on_host(f"cat {SSH}/* {KEY}").stdout == keys
    assert builder.instance.reused_identity == []


def test_a_node_reports_the_keys_that_it_reused(host, builder, flushed_snapshot):
    with boot_node(host, flushed_snapshot(builder)) as node:
        assert node.reused_identity == ALWAYS_REUSED


def test_a_node_from_a_clean_volume_has_its_own_secrets(builder):
    builder.stop()
    builder.on_volume("rm -r host-containers var/lib/kubelet var/lib/systemd/random-seed")
    builder.start_again(instance_id=f"{builder.id}-second")
    builder.wait_for_admin()
    assert builder.instance.reused_identity == []
    assert builder.id in builder.on_host(f"cat {SSH}/ssh_host_rsa_key").stdout
