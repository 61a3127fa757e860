"""What an instance offers to the scripts that run on it."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from local_cloud.builder_host import BuilderHostError, InstanceBootError, InstanceSpec, OwnEnd

TOKEN = (
    'T=$(curl -sf -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 60" '
    "http://169.254.169.254/latest/api/token)\n"
    'get() { curl -sf -H "X-aws-ec2-metadata-token: $T" http://169.254.169.254/latest/$1; }\n'
)


def test_metadata_needs_a_token(shared_builder):
    refused = shared_builder.run(
        "curl -s -o /dev/null -w %{http_code} http://169.254.169.254/latest/meta-data/instance-id"
    )
    assert refused.stdout == "401"


def test_metadata_refuses_a_token_with_an_invalid_lifetime(shared_builder):
    codes = shared_builder.run(
        "for ttl in 0 21601 x; do curl -s -o /dev/null -w '%{http_code} ' -X PUT "
        '-H "X-aws-ec2-metadata-token-ttl-seconds: $ttl" http://169.254.169.254/latest/api/token;'
        "done"
    )
    assert codes.stdout.split() == ["400"] * 3


def test_metadata_gives_the_identity_and_the_role_of_the_instance(shared_builder):
    answer = shared_builder.run(
        TOKEN + "get dynamic/instance-identity/document; echo; "
        "get meta-data/iam/security-credentials/$(get meta-data/iam/security-credentials/)"
        " | jq -c ."
    )
    document, _, role = answer.stdout.rpartition("\n}\n")
    identity, credentials = json.loads(document + "\n}"), json.loads(role)
    assert (identity["instanceId"], identity["region"]) == (shared_builder.id, "us-east-1")
    assert credentials["Code"] == "Success"
    assert credentials["AccessKeyId"].startswith("ASIA") and len(credentials["AccessKeyId"]) == 20


def test_the_role_s_credentials_get_a_token_from_the_ecr_api_over_tls(shared_builder):
    answer = shared_builder.run(
        TOKEN + "C=$(get meta-data/iam/security-credentials/frontload-builder)\n"
        'curl -sf --aws-sigv4 aws:amz:us-east-1:ecr --user "$(echo "$C" | jq -r .AccessKeyId):'
        '$(echo "$C" | jq -r .SecretAccessKey)" '
        '-H "X-Amz-Security-Token: $(echo "$C" | jq -r .Token)" '
        "-H 'X-Amz-Target: AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken' "
        "-d '{}' https://api.ecr.us-east-1.amazonaws.com/"
    )
    assert "authorizationToken" in answer.stdout, answer.stderr


def test_nothing_but_the_named_services_is_reachable(shared_builder):
    out = shared_builder.run(
        "curl -s -m 2 https://93.184.216.34/; echo $?; getent hosts example.com"
    )
    assert out.stdout == "7\n"


def test_commands_get_only_the_path_as_environment(shared_builder, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-machine")
    names = shared_builder.run("env").stdout.split()
    assert sorted(name.partition("=")[0] for name in names) == ["PATH", "PWD"]


def test_a_script_s_name_is_the_agent_s_file_and_stays_on_the_volume(shared_builder):
    result = shared_builder.run('echo "$0"', command_id="c-1")
    expected = (
        f"/var/lib/amazon/ssm/{shared_builder.id}/document/orchestration/c-1/awsrunShellScript/"
        "0.awsrunShellScript/_script.sh"
    )
    assert result.stdout.strip() == expected
    on_host = expected.replace("/var/lib/amazon", "/local/host-containers/control")
    seen = shared_builder.in_container(
        "admin",
        f"cat /.bottlerocket/rootfs{on_host}"
        f" /.bottlerocket/rootfs{on_host.replace('_script.sh', 'stdout')}",
    )
    assert seen.stdout == f'echo "$0"{expected}\n'


def test_apiclient_fails_when_the_admin_container_is_not_enabled(start):
    result = start(user_data="[settings]\n").run("apiclient exec admin true")
    assert result.exit_code == 1
    assert result.stdout == 'ctr: container "admin" in namespace "default": not found\n'


def test_exit_codes_pass_through_apiclient_and_sheltie(shared_builder):
    assert shared_builder.run("apiclient exec admin sheltie sh -c 'exit 7'").exit_code == 7


def test_only_sheltie_reaches_the_host_s_programs(shared_builder):
    in_admin = "command -v ctr; sheltie which ctr; sleep 0.3"
    result = shared_builder.run(f"command -v ctr; apiclient exec admin bash -c '{in_admin}'")
    assert result.stdout == "/usr/bin/ctr\n"


def test_a_stopped_kubelet_comes_back_and_a_masked_one_does_not(builder):
    result = builder.on_host(
        "systemctl stop kubelet; systemctl is-active kubelet;"
        "systemctl mask --runtime --now kubelet.service; systemctl is-active kubelet"
    )
    assert (result.stdout.split(), result.exit_code) == (["active", "inactive"], 3)


def test_an_unknown_unit_is_an_error(shared_builder):
    result = shared_builder.on_host("systemctl stop kublet")
    assert (result.exit_code, result.stderr) == (
        5,
        "Failed to stop kublet.service: Unit kublet.service not loaded.\n",
    )


@contextmanager
def end_of(host, started):
    """Yield a list that receives how the instance ended by itself; at exit wait 20 s at most."""
    told = []
    waiting = threading.Thread(
        target=lambda: told.append(host.wait_for_own_end(started.id)), daemon=True
    )
    waiting.start()
    yield told
    waiting.join(20)


def test_a_timer_powers_the_host_off_when_it_is_due(host, builder):
    set_timer = "systemd-run --quiet --unit=end --on-active=1 systemctl poweroff"
    is_set = "systemctl --quiet is-active end.timer"
    said = builder.on_host(
        f"{is_set}; echo $?; {set_timer}; {is_set}; echo $?; {set_timer}; echo $?"
    )
    assert said.stdout.split() == ["3", "0", "1"], said.stderr
    assert "already loaded" in said.stderr
    with end_of(host, builder) as by_itself:
        pass
    assert by_itself == [OwnEnd.POWERED_OFF]


def test_a_host_that_reboots_keeps_its_volume_and_loses_its_timers(host, builder):
    on_host = "apiclient exec admin sheltie"
    set_timer = f"{on_host} systemd-run --quiet --unit=end --on-active=600 systemctl poweroff"
    builder.run(f"{set_timer}; {on_host} touch /local/kept /run/lost")
    with end_of(host, builder) as by_itself:
        builder.run(f"{on_host} systemctl reboot")
    assert by_itself == [OwnEnd.REBOOTED]
    spec = host.instance(builder.id).spec
    host.stop_instance(builder.id)
    host.start_instance(spec)
    seen = builder.on_host("systemctl is-active end.timer; ls /local/kept /run/lost")
    assert seen.stdout.split() == ["inactive", "/local/kept"], seen.stderr


def test_a_stop_from_outside_is_not_reported_as_the_host_s_own(host, start):
    started = start()
    with end_of(host, started) as by_itself:
        host.stop_instance(started.id)
    assert by_itself == [None]
    assert host.wait_for_own_end(started.id) is None


def test_containerd_can_be_stopped_and_started(builder):
    result = builder.on_host(
        "systemctl mask --now kubelet; systemctl stop containerd; pgrep -x containerd;"
        "systemctl start containerd && ctr version >/dev/null && echo up"
    )
    assert result.stdout == "up\n", result.stderr


def test_kubelet_restarts_a_stopped_containerd(builder):
    result = builder.on_host("systemctl stop containerd; systemctl is-active containerd kubelet")
    assert result.stdout.split() == ["active", "active"], result.stderr


def test_a_timeout_kills_the_command_s_process_group_and_nothing_else(shared_builder):
    begun = time.monotonic()
    result = shared_builder.run("setsid sleep 1112 & (sleep 1111 &) ; sleep 1111", seconds=0.5)
    assert (result.timed_out, result.exit_code) == (True, 137)
    assert time.monotonic() - begun < 5
    goes_on = shared_builder.on_host("pgrep -fa 'sleep 111[12]'; pkill -f 'sleep 111[12]'").stdout
    assert [line.split()[1:] for line in goes_on.splitlines()] == [["sleep", "1112"]]


def test_a_command_on_a_frozen_volume_ends_at_its_time_limit(start):
    instance = start()
    frozen = instance.run("nsenter -t 1 -m fsfreeze --freeze /local; sleep 600", seconds=0.5)
    begun = time.monotonic()
    hanging = instance.run("true", seconds=0.5)
    assert time.monotonic() - begun < 5
    assert (frozen.timed_out, hanging.timed_out) == (True, True)


def test_a_command_fails_when_the_agent_cannot_write_it_to_a_full_volume(start):
    instance = start()
    instance.host.run_on_host(instance.id, ["fallocate", "-l", "9700M", "/local/filler"], 20)
    instance.host.run_on_host(instance.id, ["sh", "-c", "cat /dev/zero >/local/rest"], 60)
    result = instance.run("# a long script\n" * 100_000)
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr


def test_a_cancelled_command_leaves_its_processes_on_the_host(shared_builder):
    results = []
    thread = threading.Thread(
        target=lambda: results.append(
            shared_builder.run("apiclient exec admin sheltie sleep 2222", command_id="long")
        )
    )
    thread.start()
    while not shared_builder.run("pgrep -xf 'sleep 222[2]'").stdout:
        assert thread.is_alive()
    shared_builder.host.cancel_command(shared_builder.id, "long")
    thread.join(10)
    assert [(one.cancelled, one.timed_out) for one in results] == [(True, False)]
    goes_on = shared_builder.on_host("sleep 0.2; pgrep -fa 'sleep 222[2]'; pkill -f 'sleep 222[2]'")
    assert [line.split()[1:] for line in goes_on.stdout.splitlines()] == [["sleep", "2222"]]


def test_a_script_s_standard_input_is_empty(shared_builder):
    assert shared_builder.run("cat; echo end", seconds=5).stdout == "end\n"


def test_output_and_errors_are_kept_apart_and_complete(shared_builder):
    result = shared_builder.run("head -c 100000 /dev/zero | tr '\\0' x; echo no >&2; exit 3")
    assert (len(result.stdout), result.stderr, result.exit_code) == (100_000, "no\n", 3)


def test_writing_anywhere_on_the_instance_leaves_the_machine_alone(shared_builder):
    name = f"frontload-{shared_builder.id}"
    script = f"touch /etc/{name}; apiclient exec admin sheltie touch /etc/{name} /{name}"
    assert shared_builder.run(script).exit_code == 0
    assert not Path("/etc", name).exists()
    assert not Path("/", name).exists()


def test_invalid_toml_in_user_data_stops_the_boot(start):
    with pytest.raises(InstanceBootError, match="no settings TOML"):
        start(user_data="[settings")


def test_an_instance_with_an_unusable_volume_does_not_boot_and_says_why(host):
    host.create_volume("vol-swap", 1, None)
    subprocess.run(
        ["mkswap", host._volumes.directory / "vol-swap.volume"],
        check=True,
        capture_output=True,
        timeout=20,
    )
    with pytest.raises(InstanceBootError, match=r"(?s)i-swap did not boot: .*mount"):
        host.start_instance(InstanceSpec("i-swap", "x86_64", "vol-swap", ""))
    host.delete_volume("vol-swap")


def test_an_instance_without_its_volume_does_not_boot(host):
    with pytest.raises(BuilderHostError, match="volume vol-none does not exist"):
        host.start_instance(InstanceSpec("i-none", "x86_64", "vol-none", ""))


def test_a_node_with_the_registry_switched_off_cannot_connect(builder):
    builder.host.instance(builder.id).network.switch_registries(False)
    result = builder.run("curl -s https://123456789012.dkr.ecr.us-east-1.amazonaws.com/v2/")
    assert result.exit_code == 7
    builder.host.instance(builder.id).network.switch_registries(True)
    result = builder.run(
        "curl -s -o /dev/null -w %{http_code} "
        "https://123456789012.dkr.ecr.us-east-1.amazonaws.com/v2/"
    )
    assert result.stdout == "401", result.stderr
