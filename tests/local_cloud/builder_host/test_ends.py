"""How an instance ends: what is written again, what runs last, and what a power cut leaves."""

from __future__ import annotations

import dataclasses
import subprocess
import threading
import time
from pathlib import Path

import pytest

from local_cloud.builder_host import OwnEnd

from .conftest import QUICK

JOURNAL = "var/log/journal"
SEED = "var/lib/systemd/random-seed"
DRIFT = "var/lib/chrony/drift"
UNITS = Path(__file__).parent / "shims/host/units.sh"
RECORDS = "var/lib/host-containerd/io.containerd.metadata.v1.bolt/meta.db"
SCRUB = f"rm -rf /{JOURNAL}/* /{SEED} /{DRIFT}"
WRITERS = "chronyd.service systemd-random-seed.service systemd-journal-flush.service"
SHUTDOWN = "Conflicts=shutdown.target"
MOUNTS = "RequiresMountsFor=/local /var"


def left(started) -> list[str]:
    """Return which of the three files are on the volume after the end."""
    found = started.on_volume(f"find {JOURNAL} {SEED} {DRIFT} -type f 2>/dev/null || true")
    kinds = {"journal": "journal", "random-seed": "seed", "drift": "drift"}
    return sorted(kinds[line.rpartition("/")[2].split(".")[-1]] for line in found.split())


def service(*properties: str, name: str = "last", stop: str = "/usr/bin/rm -rf /local/marked"):
    """Return the command line of a service that does nothing until it stops."""
    told = ("Type=oneshot", "RemainAfterExit=yes", *properties, f"ExecStop={stop}")
    words = " ".join(f"-p '{one}'" for one in told)
    return f"systemd-run --quiet --unit={name} {words} --no-block /usr/bin/true"


def ordered(*units: str) -> tuple[str, ...]:
    before = " ".join(("shutdown.target", *units))
    return ("DefaultDependencies=no", SHUTDOWN, f"Before={before}", MOUNTS)


# What is written again


def test_an_orderly_end_writes_removed_files_again(builder):
    assert builder.on_host(SCRUB).exit_code == 0
    assert builder.stop()
    assert left(builder) == ["drift", "journal", "seed"]
    assert builder.id in builder.on_volume(f"cat {SEED} {DRIFT} {JOURNAL}/*/*")


def test_a_service_stopped_early_writes_then_and_not_at_the_end(builder):
    stopped = builder.on_host(f"{SCRUB}; systemctl stop chronyd systemd-random-seed")
    assert stopped.exit_code == 0, stopped.stderr
    assert builder.on_host(f"cat /{SEED} /{DRIFT}").stdout.count(builder.id) == 2
    builder.on_host(f"journalctl --relinquish-var; {SCRUB}")
    assert builder.stop()
    assert left(builder) == []


def test_masked_units_stop_and_do_not_start_again(builder):
    builder.on_host("systemctl mask --runtime --now chronyd")
    refused = builder.on_host("systemctl start chronyd")
    assert (refused.exit_code, "is masked" in refused.stderr) == (1, True)
    builder.on_host(SCRUB)
    builder.stop()
    assert left(builder) == ["journal", "seed"]


def test_chronyd_does_not_make_its_directory_again(builder):
    builder.on_host("rm -rf /var/lib/chrony")
    builder.stop()
    assert "drift" not in left(builder)
    builder.start_again()
    assert builder.on_host(f"cat /{DRIFT}").exit_code == 0


def test_a_relinquished_journal_stays_in_memory_until_a_flush(builder):
    builder.on_host("journalctl --relinquish-var; rm -rf /var/log/journal/*")
    builder.on_host("systemctl stop chronyd")
    assert builder.on_host("ls /var/log/journal").stdout == ""
    assert "Stopping chronyd.service" in builder.on_host("journalctl").stdout
    builder.on_host("journalctl --flush")
    assert builder.on_host("ls /run/log/journal/*").stdout == ""
    assert "Stopping chronyd.service" in builder.on_host("cat /var/log/journal/*/*").stdout


def test_rotating_and_vacuuming_leave_a_new_journal(builder):
    builder.on_host("echo old >>$(echo /var/log/journal/*/system.journal)")
    rotated = builder.on_host("journalctl --rotate; ls /var/log/journal/*; journalctl")
    assert rotated.stdout.count("system@") == 1
    assert "old\n" in rotated.stdout
    kept = builder.on_host("journalctl --vacuum-time=1s; ls /var/log/journal/*; journalctl")
    assert kept.stdout.startswith("system.journal\n")
    assert "old\n" not in kept.stdout


# Transient services


def test_the_last_service_removes_the_files_of_the_others(builder):
    units = f"{WRITERS} host-containerd.service"
    scrub = f"/usr/bin/rm -rf /{JOURNAL} /{SEED} /{DRIFT} /var/lib/host-containerd"
    said = builder.on_host(service(*ordered(*units.split()), stop=scrub))
    assert (said.exit_code, said.stderr) == (0, "")
    assert builder.stop()
    assert left(builder) == []
    assert builder.on_volume("ls -A var/lib | grep host || true") == ""


@pytest.mark.parametrize("unit", WRITERS.split())
def test_a_unit_without_an_order_writes_after_the_service(builder, unit):
    others = [one for one in WRITERS.split() if one != unit]
    scrub = f"/usr/bin/rm -rf /{JOURNAL} /{SEED} /{DRIFT}"
    builder.on_host(service(*ordered(*others), stop=scrub))
    assert builder.stop()
    names = {"chronyd": "drift", "systemd-random-seed": "seed", "systemd-journal-flush": "journal"}
    assert names[unit.removesuffix(".service")] in left(builder)


def test_a_service_that_stops_after_host_containerd_stops_after_its_containers(builder):
    builder.on_host(
        service(
            *ordered("host-containerd.service"),
            stop=f"/usr/bin/cp -r /{RECORDS} /local/records",
        )
    )
    builder.stop()
    assert builder.on_volume("ls local/records records 2>/dev/null || true") == "records:\n"


@pytest.mark.parametrize(
    ("properties", "runs"),
    [
        (ordered(), True),
        ((), True),
        (("DefaultDependencies=no", SHUTDOWN, MOUNTS), False),
        (("DefaultDependencies=no", "Before=shutdown.target", MOUNTS), False),
        (("DefaultDependencies=no", MOUNTS), False),
        (("DefaultDependencies=no", SHUTDOWN, "Before=shutdown.target"), False),
    ],
    ids=["ordered", "default", "no before", "no conflict", "neither", "no mounts"],
)
def test_only_an_ordered_service_stops_before_the_unmount(builder, properties, runs):
    builder.on_host(f"touch /local/marked; {service(*properties)}")
    assert builder.stop()
    assert builder.on_volume("ls | grep marked || true") == ("" if runs else "marked\n")


def test_a_host_that_powers_itself_off_stops_its_services_too(host, builder):
    told = []
    waiting = threading.Thread(target=lambda: told.append(host.wait_for_own_end(builder.id)))
    waiting.start()
    command = service(*ordered()).replace("-p '", "--property='")
    builder.on_host(f"touch /local/marked; {command}; systemctl poweroff")
    waiting.join(20)
    assert told == [OwnEnd.POWERED_OFF]
    assert builder.stop()
    assert builder.on_volume("ls | grep marked || true") == ""


@pytest.mark.parametrize(
    ("stop", "kept"),
    [
        ("/usr/bin/sh -c true", "marked one\n"),
        ("/usr/bin/rm -rf /local/mark*", "marked\n"),
        ("/usr/bin/false", "marked one\n"),
        ("-/usr/bin/false", "marked\n"),
        ("/usr/bin/sleep 30", "marked one\n"),
        ("/usr/bin/touch /local/two", "marked\n"),
    ],
    ids=["shell", "wildcard", "failure", "failure ignored", "too long", "success"],
)
def test_stop_programs_run_without_a_shell_until_the_first_failure(builder, stop, kept):
    second = "ExecStop=/usr/bin/rm /local/one"
    command = service(*ordered(), "TimeoutStopSec=1", stop=stop)
    command = command.replace(" --no-block", f" -p '{second}' --no-block")
    builder.on_host(f"touch /local/marked /local/one; {command}")
    begun = time.monotonic()
    assert builder.stop()
    assert time.monotonic() - begun < 10
    assert builder.on_volume("echo $(ls | grep -xE 'marked|one')") == kept


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("", 10), ("TimeoutStopSec=90", 90), ("TimeoutStopSec=5min", 300), ("TimeoutStopSec=7s", 7)],
)
def test_a_stop_command_has_ten_seconds_by_default(tmp_path, said, seconds):
    (tmp_path / "file").write_text(f"Type=oneshot\n{said}\n")
    asked = f". {UNITS}; stop_seconds {tmp_path}/file"
    told = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, timeout=20)
    assert told.stdout == f"{seconds}\n"


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        (("Before=host-containerd",), "Invalid unit name host-containerd"),
        (("RequiresMountsFor=local",), "is not absolute: local"),
        (("ExecStop=rm -rf /local/marked",), "is not a valid path"),
        (("DefaultDependencies=maybe",), "Failed to parse"),
        (("Restart=always",), "Restart is not known here"),
        (("ExecStop=/usr/bin/rm '$HOME'",), "is not known here"),
    ],
)
def test_invalid_or_untested_properties_are_refused(shared_builder, properties, words):
    command = service(*(one.replace("'", '"') for one in properties), name="refused")
    refused = shared_builder.on_host(f"{command}; systemctl is-active refused")
    assert (refused.stdout, words in refused.stderr) == ("inactive\n", True), refused.stderr


def test_a_service_is_active_until_it_is_stopped_and_its_name_cannot_be_reused(builder):
    start, active = service(), "systemctl is-active last.service"
    seen = builder.on_host(
        f"touch /local/marked; {active}; {start}; {active}; {start}; systemctl stop last; {active};"
        "ls /local | grep marked"
    )
    assert seen.stdout.split() == ["inactive", "active", "inactive"]
    assert "Unit last.service was already loaded" in seen.stderr


def test_a_service_that_does_not_remain_active_runs_its_stop_command_at_once(builder):
    start = service().replace(" -p 'RemainAfterExit=yes'", "")
    seen = builder.on_host(f"touch /local/marked; {start}; ls /local | grep marked")
    assert seen.stdout == ""


def test_a_service_s_own_program_is_started_without_a_shell(builder):
    refused = builder.on_host("systemd-run --unit=shell /usr/bin/bash -c true")
    assert refused.exit_code == 1
    assert "Failed to locate executable /usr/bin/bash" in refused.stderr
    told = builder.on_host("systemd-run --unit=loud -p RemainAfterExit=yes /usr/bin/true")
    assert told.stderr == "Running as unit: loud.service\n"


# Slow ends


def test_a_slow_end_within_the_limit_is_orderly(start):
    instance = start(options=dataclasses.replace(QUICK, end_seconds=0.5))
    begun = time.monotonic()
    assert instance.stop(limit_seconds=10)
    assert 0.5 <= time.monotonic() - begun < 5
    assert instance.on_volume(f"ls {RECORDS}") == ""


def test_the_power_is_cut_at_the_limit_and_unflushed_files_are_lost(builder):
    builder.on_host("echo kept >/local/kept; sync -f /local; echo lost >/local/lost")
    builder.on_host("echo 60 >/run/units/end-seconds; rm -f /var/lib/systemd/random-seed")
    begun = time.monotonic()
    assert not builder.stop(limit_seconds=0.2)
    assert time.monotonic() - begun < 5
    assert builder.on_volume("cat kept; cat lost 2>/dev/null || true") == "kept\n"
    assert builder.on_volume(f"ls {RECORDS}") == "admin\ncontrol\n"
    builder.start_again(instance_id=f"{builder.id}-second")
    builder.wait_for_admin()
    assert builder.instance.adopted_host_containers == ["control", "admin"]


def test_an_end_with_no_time_is_a_power_cut(builder):
    assert not builder.stop(limit_seconds=0)
    assert builder.on_volume(f"ls {RECORDS}") == "admin\ncontrol\n"


def test_a_frozen_volume_can_be_cut_off_too(builder):
    assert builder.on_host("fsfreeze --freeze /local").exit_code == 0
    assert not builder.stop(limit_seconds=0)
    loops = subprocess.run(["losetup", "-l", "-O", "BACK-FILE"], capture_output=True, text=True)
    assert f"{builder.volume_id}.volume" not in loops.stdout


def test_stopping_a_stopped_instance_is_orderly(host):
    assert host.stop_instance("i-unknown")
