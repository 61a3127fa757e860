"""Where a builder can write, what it can reach, and what starts: as strict as Bottlerocket."""

from __future__ import annotations

import dataclasses

import pytest

from local_cloud.builder_host import BuilderHostError, InstanceOptions

from .conftest import ADMIN, QUICK

SNAPSHOTS = "/var/lib/host-containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"
OLD_OS = dataclasses.replace(QUICK, os_version="1.52.3")


def options(**changed) -> InstanceOptions:
    return dataclasses.replace(QUICK, **changed)


# The data volume


@pytest.mark.parametrize("name", ["var", "opt", "mnt"])
@pytest.mark.parametrize("root", ["", "/.bottlerocket/rootfs"], ids=["host", "admin"])
def test_the_directories_below_local_are_hidden(shared_builder, root, name):
    path = f"{root}/local/{name}"
    script = f"ls -A {path}; touch {path}/new"
    seen = shared_builder.in_container("admin", script) if root else shared_builder.on_host(script)
    assert (seen.stdout, seen.exit_code) == ("", 1)
    assert "Read-only file system" in seen.stderr


def test_a_script_that_empties_local_var_leaves_the_images_alone(builder):
    listed = "ls /var/lib/containerd"
    before = builder.on_host(listed).stdout
    builder.on_host("rm -rf /local/var/* 2>/dev/null")
    assert builder.on_host(listed).stdout == before != ""


def test_the_rest_of_local_can_be_written_from_admin(shared_builder):
    where = "/.bottlerocket/rootfs/local/host-containers/admin/written"
    assert shared_builder.in_container("admin", f"touch {where}").exit_code == 0


def test_a_container_s_temporary_files_are_on_the_data_volume(builder):
    for container in ("admin", "control"):
        builder.in_container(container, f"echo in-{container} >/tmp/written")
    found = builder.on_host(f"cat {SNAPSHOTS}/*/fs/tmp/written").stdout
    assert sorted(found.split()) == ["in-admin", "in-control"]


def test_every_container_has_its_own_run_directory_in_memory(shared_builder):
    shared_builder.in_container("control", "touch /run/of-control")
    seen = shared_builder.in_container(
        "admin", "ls /run/of-control; df --output=fstype,size /run | tail -n 1"
    )
    assert seen.stdout.split() == ["tmpfs", "65536"]


def test_a_container_s_files_stay_after_an_orderly_end_until_the_next_boot(builder):
    builder.in_container("admin", "echo secret >/tmp/written")
    assert builder.stop()
    assert "secret" in builder.on_volume(f"cat .{SNAPSHOTS}/*/fs/tmp/written")
    builder.start_again()
    builder.wait_for_admin()
    assert builder.on_host(f"cat {SNAPSHOTS}/*/fs/tmp/written").exit_code == 1


@pytest.mark.parametrize("active", ["ACTIVE_SNAPSHOTTER=soci", None], ids=["other", "unknown"])
def test_a_node_empties_the_store_of_another_snapshotter(start, active):
    instance = start(user_data="")
    file = "var/cache/containerd/active-snapshotter"
    instance.on_host(f"echo kept >/var/lib/containerd/kept; cp /{file} /run; sync")
    assert instance.on_host(f"cat /{file}").stdout == "ACTIVE_SNAPSHOTTER=overlayfs\n"
    instance.stop()
    instance.start_again()
    assert instance.on_host("cat /var/lib/containerd/kept").stdout == "kept\n"
    instance.stop()
    instance.on_volume(f"echo {active} >{file}" if active else f"rm {file}")
    instance.start_again()
    assert instance.on_host("cat /var/lib/containerd/kept").exit_code == 1


def test_the_settings_of_bottlerocket_are_on_another_disk(builder):
    removed = builder.on_host("echo set >/var/lib/bottlerocket/set; rm -rf /var/lib/bottlerocket")
    assert "Device or resource busy" in removed.stderr
    builder.on_host("echo set >/var/lib/bottlerocket/set")
    builder.stop()
    assert builder.on_volume("ls -A var/lib/bottlerocket") == ""


# Which containers start


@pytest.mark.parametrize(
    "changed",
    [
        {"host_containers": False},
        {"reaches_internet": False},
        {"http_endpoint": False},
        {"role_name": None},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_without_the_images_of_the_host_containers_none_starts(host, start, changed):
    instance = start(options=options(**changed))
    assert not host.control_running(instance.id)
    with pytest.raises(BuilderHostError, match=f"{instance.id}: its control container does not"):
        instance.run("true")
    assert instance.on_host("systemctl is-active host-containers@control").stdout == "inactive\n"
    assert instance.on_host("sleep 0.1; ls /run/host-containers/*/ready").stdout == ""
    assert instance.on_host(f"ls {SNAPSHOTS}").stdout == ""


def test_the_control_container_of_a_usual_instance_runs_until_it_ends(host, start):
    instance = start()
    assert host.control_running(instance.id)
    instance.stop()
    assert not host.control_running(instance.id)


def test_a_stopped_control_container_ends_the_script_that_runs_in_it(host, start):
    instance = start()
    instance.wait_for_admin()
    ended = instance.run(
        "apiclient exec admin sheltie systemctl stop host-containers@control; echo after"
    )
    assert (ended.stdout, ended.exit_code) == ("", 137)
    assert not host.control_running(instance.id)


def test_without_the_internet_neither_registry_nor_ecr_answers(start):
    instance = start(options=options(reaches_internet=False))
    for name in ("123456789012.dkr.ecr", "api.ecr"):
        refused = instance.on_host(f"curl -s https://{name}.us-east-1.amazonaws.com/v2/")
        assert refused.exit_code == 7
    token = "curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' 169.254.169.254"
    assert instance.on_host(f"{token}/latest/api/token").exit_code == 0


def test_a_metadata_service_that_is_off_refuses_and_gives_no_user_data(start):
    instance = start(user_data="[settings", options=options(http_endpoint=False))
    assert instance.on_host("curl -s http://169.254.169.254/latest/api/token").exit_code == 7


# The release


def test_the_admin_container_of_an_old_release_has_an_old_bash(start):
    instance = start(options=OLD_OS)
    instance.wait_for_admin()
    # At least 0.2 s: `apiclient` may lose the output of a shorter command.
    refused = instance.run("apiclient exec admin sh -c 'bash -c true; sleep 0.3; bash -c true'")
    assert refused.exit_code == 1
    assert "Amazon Linux 2 with bash 4.2" in refused.stdout
    assert "unbound variable" in refused.stdout
    assert instance.run("apiclient exec admin sheltie true").exit_code == 0


@pytest.mark.parametrize(
    ("version", "old"), [("1.9.2", True), ("1.52.9", True), ("1.53.0", False), ("2.0.0", False)]
)
def test_only_old_releases_have_the_old_admin_container(version, old):
    assert InstanceOptions(os_version=version).admin_is_amazon_linux_2 is old


def test_the_host_and_its_containers_know_the_release(shared_builder):
    for container in ("control", "admin"):
        seen = shared_builder.in_container(container, "cat /etc/bottlerocket-release")
        assert "VERSION_ID=1.62.0\n" in seen.stdout
    assert "VERSION_ID=1.62.0\n" in shared_builder.on_host("cat /etc/os-release").stdout


# kubelet


def test_kubelet_does_not_start_with_the_state_of_another_policy(start):
    instance = start(user_data=ADMIN)
    instance.stop()
    instance.start_again()
    assert instance.on_host("systemctl is-active kubelet").stdout == "active\n"
    assert instance.instance.kubelet_running
    instance.stop()
    instance.start_again(options(memory_manager_policy="Static"))
    assert instance.on_host("systemctl is-active kubelet").stdout == "activating\n"
    assert not instance.instance.kubelet_running
    instance.on_host("rm /var/lib/kubelet/memory_manager_state; sync")
    instance.stop()
    instance.start_again(options(memory_manager_policy="Static"))
    assert instance.on_host("systemctl is-active kubelet").stdout == "active\n"


def test_a_boot_removes_only_the_cpu_manager_s_state_of_kubelet(start):
    instance = start(user_data="")
    first = instance.id
    instance.stop()
    instance.start_again(instance_id=f"{first}-second")
    states = "cd /var/lib/kubelet && grep -o '\"instance\":.*' cpu_manager_state"
    assert f'"{first}-second"' in instance.on_host(states).stdout
    assert instance.on_host("cat /var/lib/kubelet/pki/kubelet.crt").stdout.endswith(
        f"of {first}.us-east-1.compute.internal\n"
    )
