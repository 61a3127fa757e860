"""One running instance: its namespaces, its boot, its network and the commands on it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from .boot_files import write_boot_files
from .interface import (
    CommandResult,
    Endpoints,
    InstanceBootError,
    InstanceOptions,
    InstanceSpec,
    OwnEnd,
)
from .metadata_service import InstanceMetadata
from .namespaces import only_descendant
from .network import InstanceNetwork
from .user_data import Settings, UserDataError
from .volumes import VolumeStore

_HERE = Path(__file__).parent
_BASE_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_HOST_PATH = f"/usr/lib/bottlerocket/host:/usr/lib/bottlerocket/containerd/bin:{_BASE_PATH}"
_BOOT_SECONDS = 60.0
_STOP_SECONDS = 30.0
_AGENT_WRITE_SECONDS = 2.0
_CONTROL_ROOT = "/run/host-containers/control/rootfs"
_SECTOR = 512
# XFS and ext4 share the ioctl for going down; include/uapi/linux/fs.h has the one for the thaw.
_GOING_DOWN, _WITHOUT_LOG_FLUSH = 0x8004587D, 2
_THAW = 0xC0045878
_AGENT_DIRECTORY = "/var/lib/amazon/ssm"


class Traffic(NamedTuple):
    """Bytes that a device has read and written. Two of these, before and after, give a run's."""

    read: int
    written: int


@dataclass
class _Running:
    """A running command."""

    process: subprocess.Popen[bytes]
    cancelled: threading.Event = field(default_factory=threading.Event)

    def kill(self) -> None:
        """Kill the command's process group: `command_runner` does so when its input ends."""
        if self.process.stdin:
            self.process.stdin.close()


class Instance:
    """A running instance. The constructor boots it and raises InstanceBootError when that fails."""

    def __init__(
        self,
        spec: InstanceSpec,
        options: InstanceOptions,
        volumes: VolumeStore,
        files: Path,
        endpoints: Endpoints,
        tls: ssl.SSLContext,
        containerd: Path | None = None,
    ) -> None:
        self.spec = spec
        self.metadata = InstanceMetadata(spec, options, endpoints)
        self._files = files
        self._commands: dict[str, _Running] = {}
        self._loop_device = ""
        # User data also comes from the metadata service: without the service there is none.
        settings = _settings(spec) if options.http_endpoint else Settings()
        volume_file = volumes.volume_file(spec.data_volume_id)
        write_boot_files(files, spec, options, settings, endpoints, containerd)
        arguments = (volume_file, files, _HERE / "shims")
        self._process = self._start(volumes.keeper_pid, *map(str, arguments))
        try:
            self._loop_device = self._wait_until_booted()
            self.pid = only_descendant(self._process.pid, 2)
            self.root = Path(f"/proc/{self.pid}/root")
            self._start_api_server()
            self.network = InstanceNetwork(self.pid, endpoints, self.metadata, tls, options)
        except BaseException:
            self._end_process(_STOP_SECONDS)
            shutil.rmtree(files)
            raise

    def _start(self, keeper_pid: int, *arguments: str) -> subprocess.Popen[str]:
        with (self._files / "console.log").open("wb") as console:
            return subprocess.Popen(
                [
                    "nsenter",
                    "-t",
                    str(keeper_pid),
                    "-m",
                    "-p",
                    "--",
                    "unshare",
                    "-mpnuf",
                    "--kill-child",
                    "--propagation",
                    "private",
                    "bash",
                    str(_HERE / "boot.sh"),
                    *arguments,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=console,
                text=True,
                env={"PATH": _BASE_PATH},
                cwd="/",
                start_new_session=True,
            )

    def _wait_until_booted(self) -> str:
        stuck = threading.Timer(_BOOT_SECONDS, self._kill_first_process)
        stuck.start()
        assert self._process.stdout
        line = self._process.stdout.readline()
        stuck.cancel()
        if not line.startswith("booted "):
            console = (self._files / "console.log").read_text(errors="replace")
            raise InstanceBootError(
                f"instance {self.spec.instance_id} did not boot: {console[-2000:].strip()}"
            )
        return line.split()[1]

    def _start_api_server(self) -> None:
        """Start the server for `apiclient exec`, which keeps running in the background."""
        started = self.run_on_host(["apiserver"], _BOOT_SECONDS)
        if started.exit_code != 0:
            raise InstanceBootError(
                f"instance {self.spec.instance_id} did not boot: {started.stderr}"
            )

    # State

    @property
    def control_running(self) -> bool:
        """Whether the control container runs, and the SSM agent in it."""
        return (self.root / "run/host-containers/control/ready").exists()

    @property
    def adopted_host_containers(self) -> list[str]:
        """The host containers on the volume that another instance created and this one adopted."""
        return self._lines("run/adopted-host-containers")

    @property
    def reused_identity(self) -> list[str]:
        """The files with secrets that another instance made and this one keeps using."""
        return self._lines("run/reused-identity")

    @property
    def kubelet_running(self) -> bool:
        """Whether kubelet runs. If it finds the state of another policy, it retries for ever."""
        return (self.root / "run/units/kubelet.active").exists()

    def _lines(self, path: str) -> list[str]:
        file = self.root / path
        return list(dict.fromkeys(file.read_text().split())) if file.exists() else []

    # Commands

    def run_script(self, script: str, command_id: str, timeout_seconds: float) -> CommandResult:
        """Run the script as the SSM agent does, in the control container."""
        agent = _AgentFiles(self.root, self.spec.instance_id, command_id)
        refused = agent.write_script(script, timeout_seconds)
        if refused:
            return refused
        command = ["/bin/sh", agent.script_in_container]
        path = f"PATH=/usr/lib/bottlerocket/control:{_BASE_PATH}"
        result = self._run(_CONTROL_ROOT, [path], command, timeout_seconds, command_id)
        agent.finish(result)
        return result

    def run_on_host(self, command: Sequence[str], timeout_seconds: float) -> CommandResult:
        """Run a program on the instance's host without SSM, for tests that look inside."""
        environment = [f"PATH={_HOST_PATH}", "HOME=/root"]
        return self._run("/", environment, ["/usr/bin/env", *command], timeout_seconds, None)

    def cancel(self, command_id: str) -> None:
        """Kill the command, if it runs."""
        running = self._commands.get(command_id)
        if running:
            running.cancelled.set()
            running.kill()

    def _run(
        self,
        root: str,
        environment: list[str],
        command: list[str],
        timeout_seconds: float,
        command_id: str | None,
    ) -> CommandResult:
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            running = _Running(
                subprocess.Popen(
                    [
                        sys.executable,
                        "-I",
                        "-S",
                        str(_HERE / "command_runner.py"),
                        str(self.pid),
                        root,
                        *environment,
                        *command,
                    ],
                    stdin=subprocess.PIPE,
                    stdout=stdout,
                    stderr=stderr,
                )
            )
            if command_id is not None:
                self._commands[command_id] = running
            timed_out = True
            try:
                timed_out = not _ended_within(running.process, timeout_seconds)
            finally:
                self._commands.pop(command_id or "", None)
                running.kill()
                _wait_or_kill(running.process)
            return CommandResult(
                running.process.returncode,
                _read(stdout),
                _read(stderr),
                timed_out,
                running.cancelled.is_set(),
            )

    def volume_traffic(self) -> Traffic:
        """Bytes that the volume's device has read and written since an arbitrary start."""
        counters = Path("/sys/block", Path(self._loop_device).name, "stat").read_text().split()
        return Traffic(int(counters[2]) * _SECTOR, int(counters[6]) * _SECTOR)

    # End

    def wait_for_own_end(self) -> OwnEnd | None:
        """Wait for the end; return how the instance ended by itself, None when it was stopped."""
        assert self._process.stdout
        # `stop` closes the instance's output, which raises ValueError here.
        with contextlib.suppress(ValueError):
            return OwnEnd(self._process.stdout.readline().strip())
        return None

    def stop(self, limit_seconds: float | None = None) -> bool:
        """Shut down as an operating system does: flush, unmount, no process left.

        After the limit the power is cut: what is not on the device is lost. Returns whether the end
        was orderly.
        """
        for command_id in list(self._commands):
            self.cancel(command_id)
        self.network.close()
        orderly = self._end_process(_STOP_SECONDS if limit_seconds is None else limit_seconds)
        _wait_until_detached(self._loop_device)
        shutil.rmtree(self._files)
        return orderly

    def _end_process(self, limit_seconds: float) -> bool:
        # The end of its input requests the shutdown. With a limit of 0 none is requested.
        if self._process.stdin and limit_seconds > 0:
            self._process.stdin.close()
        try:
            orderly = self._process.wait(limit_seconds) == 0
        except subprocess.TimeoutExpired:
            orderly = False
            self._cut_power()
            self._process.wait(_STOP_SECONDS)
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
        return orderly

    def _cut_power(self) -> None:
        """Kill every process at once, and shut down the volume's file system without a flush.

        Otherwise the kernel would unmount it cleanly.
        """
        with contextlib.suppress(OSError, ValueError):
            root = Path(f"/proc/{only_descendant(self._process.pid, 2)}/root")
            volume = os.open(root / "local", os.O_RDONLY | os.O_DIRECTORY)
            try:
                # Until the boot has finished, this may be a directory of the machine.
                if os.fstat(volume).st_dev == os.stat(self._loop_device).st_rdev:
                    fcntl.ioctl(volume, _GOING_DOWN, struct.pack("I", _WITHOUT_LOG_FLUSH))
                    # A frozen file system would outlive its last mount.
                    fcntl.ioctl(volume, _THAW, 0)
            finally:
                os.close(volume)
        self._kill_first_process()

    def _kill_first_process(self) -> None:
        """End the PID namespace, and with it every process of the instance."""
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(only_descendant(self._process.pid, 2), signal.SIGKILL)


class _AgentFiles:
    """The files about a command that the SSM agent keeps on the data volume.

    Writing them may fail on a full volume, or hang on a frozen one.
    """

    def __init__(self, root: Path, instance_id: str, command_id: str) -> None:
        inside = f"{instance_id}/document/orchestration/{command_id}/awsrunShellScript"
        inside += "/0.awsrunShellScript"
        agent = root / "local/host-containers/control/ssm"
        self.script_in_container = f"{_AGENT_DIRECTORY}/{inside}/_script.sh"
        self._directory = agent / inside
        self._state = agent / instance_id / "document/state"
        self._command_id = command_id

    def write_script(self, script: str, seconds: float) -> CommandResult | None:
        """Write the command's files; return the command's result when that fails, else None."""
        try:
            if _done_within(seconds, lambda: self._write_script(script)):
                return None
        except OSError as error:
            return CommandResult(1, "", f"document worker: cannot write the script: {error}")
        return CommandResult(137, "", "document worker: the volume does not answer", True)

    def _write_script(self, script: str) -> None:
        # The directory exists when the agent runs a command again.
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / "_script.sh").write_text(script)
        for name in ("current", "completed"):
            (self._state / name).mkdir(parents=True, exist_ok=True)
        document = {
            "DocumentName": "AWS-RunShellScript",
            "CommandId": self._command_id,
            "runCommand": script.splitlines(),
        }
        (self._state / "current" / self._command_id).write_text(json.dumps(document))
        # Opened at the start, as by the agent: a file that the script deletes does not come back.
        self._stdout = (self._directory / "stdout").open("w")
        self._stderr = (self._directory / "stderr").open("w")

    def finish(self, result: CommandResult) -> None:
        """Write the output; a full, frozen or vanished volume loses it, as it would on AWS."""
        with contextlib.suppress(OSError):
            _done_within(_AGENT_WRITE_SECONDS, lambda: self._write_output(result))

    def _write_output(self, result: CommandResult) -> None:
        with self._stdout, self._stderr:
            self._stdout.write(result.stdout)
            self._stderr.write(result.stderr)
        current = self._state / "current" / self._command_id
        if current.exists():
            current.rename(self._state / "completed" / self._command_id)


def _done_within(seconds: float, work: Callable[[], None]) -> bool:
    """Return whether the work was done in time. Late work continues unwatched.

    Raises the OSError that the work raises in time.
    """
    errors: list[OSError] = []

    def attempt() -> None:
        try:
            work()
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    return not thread.is_alive()


def _settings(spec: InstanceSpec) -> Settings:
    try:
        return Settings.parse(spec.user_data)
    except UserDataError as error:
        raise InstanceBootError(f"instance {spec.instance_id} did not boot: {error}") from error


def _read(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")


def _ended_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Return whether the process ended in time, as soon as that is known.

    `Popen.wait` with a limit polls only every 50 ms, and commands are timed by this.
    """
    ended = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(ended)


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def _wait_until_detached(loop_device: str) -> None:
    """Wait until the loop device is detached.

    The kernel unmounts a dead namespace's file systems a moment after its last process has ended.
    """
    backing_file = Path("/sys/block", Path(loop_device).name, "loop/backing_file")
    deadline = time.monotonic() + _STOP_SECONDS
    while backing_file.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
