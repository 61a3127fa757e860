"""A stand-in builder host for the tests of the AWS layer: small files and `/bin/sh`, no containerd.

A volume is one file, not a file system; a command runs in a shell of this machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections import defaultdict
from pathlib import Path

from .builder_host.interface import (
    BuilderHostError,
    CommandResult,
    InstanceOptions,
    InstanceSpec,
    OwnEnd,
)

_PLAIN = InstanceOptions()


class FakeHost:
    """Keeps volume files under `work_dir` and records its instances and commands."""

    kind = "fake"

    def __init__(self, work_dir: Path) -> None:
        self.work_dir = work_dir
        self.running: dict[str, tuple[InstanceSpec, InstanceOptions]] = {}
        self.commands: dict[str, subprocess.Popen[str]] = {}
        self.boot_error: str | None = None
        self.ended: defaultdict[str, threading.Event] = defaultdict(threading.Event)
        self.off: set[str] = set()

    def volume_file(self, volume_id: str) -> Path:
        """The file with a volume's (or snapshot's) bytes."""
        return self.work_dir / volume_id

    def create_volume(self, volume_id: str, gib: int, snapshot_id: str | None) -> None:
        if snapshot_id:
            shutil.copy(self.volume_file(snapshot_id), self.volume_file(volume_id))
        else:
            self.volume_file(volume_id).write_text(f"{gib} GiB")

    def delete_volume(self, volume_id: str) -> None:
        self.volume_file(volume_id).unlink()

    def snapshot_volume(self, volume_id: str, snapshot_id: str) -> None:
        shutil.copy(self.volume_file(volume_id), self.volume_file(snapshot_id))

    def copy_snapshot(self, source_id: str, snapshot_id: str) -> None:
        shutil.copy(self.volume_file(source_id), self.volume_file(snapshot_id))

    def delete_snapshot(self, snapshot_id: str) -> None:
        self.volume_file(snapshot_id).unlink()

    def snapshot_full_bytes(self, snapshot_id: str) -> int:
        return self.volume_file(snapshot_id).stat().st_size

    def start_instance(self, spec: InstanceSpec, options: InstanceOptions = _PLAIN) -> None:
        if self.boot_error:
            raise RuntimeError(self.boot_error)
        self.running[spec.instance_id] = (spec, options)

    def run_command(
        self, instance_id: str, script: str, command_id: str, timeout_seconds: float
    ) -> CommandResult:
        self._require_running(instance_id)
        process = subprocess.Popen(
            ["/bin/sh", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.commands[command_id] = process
        timed_out = False
        try:
            stdout, stderr = process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            timed_out = True
            self._kill(process)
            stdout, stderr = process.communicate()
        return CommandResult(process.returncode, stdout, stderr, timed_out)

    def _require_running(self, instance_id: str) -> None:
        if instance_id not in self.running:
            raise BuilderHostError(f"instance {instance_id} does not run")

    def cancel_command(self, instance_id: str, command_id: str) -> None:
        self._require_running(instance_id)
        self._kill(self.commands[command_id])

    def control_running(self, instance_id: str) -> bool:
        return instance_id in self.running and self.running[instance_id][1].pulls_host_containers

    def shut_down(self, instance_id: str) -> None:
        """End the instance as its own `systemctl poweroff` does."""
        self.off.add(instance_id)
        self.ended[instance_id].set()

    def wait_for_own_end(self, instance_id: str) -> OwnEnd | None:
        self.ended[instance_id].wait()
        return OwnEnd.POWERED_OFF if instance_id in self.off else None

    def stop_instance(self, instance_id: str, limit_seconds: float | None = None) -> bool:
        _, options = self.running.pop(instance_id, (None, _PLAIN))
        self.ended[instance_id].set()
        for process in self.commands.values():
            self._kill(process)
        return limit_seconds is None or options.end_seconds <= limit_seconds

    def close(self) -> None:
        for ended in self.ended.values():
            ended.set()
        for process in self.commands.values():
            self._kill(process)

    @staticmethod
    def _kill(process: subprocess.Popen[str]) -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
