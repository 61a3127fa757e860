"""Nothing of an instance or a builder host stays on the machine."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from local_cloud.builder_host import InstanceSpec
from local_cloud.builder_host.containerd_host import ContainerdHost

RUN_UNTIL_KILLED = """
import json, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from local_cloud.builder_host import Endpoints, InstanceSpec, make_builder_host
endpoints = json.loads({endpoints!r})
for name in ("registry", "public_registry", "ecr_api"):
    endpoints[name] = tuple(endpoints[name])
for name in ("ca_file", "ca_key"):
    endpoints[name] = Path(endpoints[name])
host = make_builder_host(work_dir=Path({work_dir!r}), endpoints=Endpoints(**endpoints))
host.create_volume({volume!r}, 10, None)
host.start_instance(InstanceSpec("i-1", "x86_64", {volume!r}, ""))
print("running", flush=True)
host.run_command("i-1", "bash -c 'sleep 600; true' {work_dir}", "c-1", 600)
"""


def machine(marker: str) -> dict[str, list[str]]:
    """Mounts, loop devices and processes of this machine that have to do with `marker`."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    devices = Path("/sys/block").glob("loop*/loop/backing_file")
    loops = [path.read_text().strip() for path in devices]
    processes = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            processes.append(command.read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return {
        "mounts": [line for line in mounts if marker in line],
        "loops": [line for line in loops if marker in line or volume_of(marker) in line],
        "processes": [line for line in processes if marker in line],
    }


def volume_of(marker: str) -> str:
    """Return a volume id unique to this test run: the loop device's backing file contains it."""
    return "vol-" + marker.strip("/").replace("/", "-")


NOTHING = {"mounts": [], "loops": [], "processes": []}


def wait_for_nothing(marker: str, but: dict[str, list[str]], seconds: float = 10) -> dict:
    """Wait until the machine's state equals `but`, up to the time limit; return the state."""
    deadline = time.monotonic() + seconds
    while (now := machine(marker)) != but and time.monotonic() < deadline:
        time.sleep(0.02)
    return now


def test_stopping_an_instance_leaves_nothing_but_the_volume(registry, tmp_path):
    host = ContainerdHost(tmp_path / "run", registry.endpoints)
    before = machine(str(tmp_path))
    volume_id = volume_of(str(tmp_path))
    host.create_volume(volume_id, 10, None)
    host.start_instance(InstanceSpec("i-1", "x86_64", volume_id, ""))
    during = machine(str(tmp_path))
    assert len(during["processes"]) > len(before["processes"])
    assert len(during["loops"]) == len(before["loops"]) + 1
    host.stop_instance("i-1")
    assert machine(str(tmp_path)) == before
    assert list((tmp_path / "run/instances").iterdir()) == []
    host.delete_volume(volume_id)
    host.close()
    assert list(tmp_path.iterdir()) == []
    assert wait_for_nothing(str(tmp_path), NOTHING) == NOTHING


def test_an_instance_with_a_frozen_file_system_can_be_stopped(registry, tmp_path):
    host = ContainerdHost(tmp_path / "run", registry.endpoints)
    volume_id = volume_of(str(tmp_path))
    host.create_volume(volume_id, 10, None)
    host.start_instance(InstanceSpec("i-1", "x86_64", volume_id, ""))
    assert host.run_on_host("i-1", ["fsfreeze", "--freeze", "/local"], 20).exit_code == 0
    begun = time.monotonic()
    host.close()
    assert time.monotonic() - begun < 10
    assert wait_for_nothing(str(tmp_path), NOTHING) == NOTHING


def test_a_killed_builder_host_takes_its_instances_along_and_the_next_cleans_its_files(
    registry, tmp_path
):
    run = start_until_killed(registry, tmp_path / "dead")
    assert run.stdout and run.stdout.readline() == "running\n"
    assert len(machine(str(tmp_path))["loops"]) == 2
    run.send_signal(signal.SIGKILL)
    run.wait(10)
    run.stdout.close()
    assert wait_for_nothing(str(tmp_path), NOTHING) == NOTHING
    assert (tmp_path / "dead/pool.img").exists()
    host = ContainerdHost(tmp_path / "next", registry.endpoints)
    assert [path.name for path in tmp_path.iterdir()] == ["next"]
    host.close()


def test_a_living_builder_host_s_files_are_left_alone(registry, tmp_path):
    first = ContainerdHost(tmp_path / "first", registry.endpoints)
    second = ContainerdHost(tmp_path / "second", registry.endpoints)
    first.create_volume("vol-1", 10, None)
    second.close()
    first.close()


def start_until_killed(registry, work_dir: Path) -> subprocess.Popen[str]:
    endpoints = json.dumps(dataclasses.asdict(registry.endpoints), default=str)
    program = RUN_UNTIL_KILLED.format(
        tests=str(Path(__file__).parents[2]),
        endpoints=endpoints,
        work_dir=str(work_dir),
        volume=volume_of(str(work_dir.parent)),
    )
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
