"""The real builder host: see the package's text."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from .certificates import issue_certificate, server_context
from .instance import Instance, Traffic
from .interface import (
    USUAL,
    BuilderHostError,
    CapacityError,
    CommandResult,
    Endpoints,
    InstanceOptions,
    InstanceSpec,
    OwnEnd,
)
from .leftovers import (
    clean_dead_runs,
    control_group_of,
    lock,
    remove_control_groups,
    remove_files,
)
from .volumes import NewBytes, VolumeStore

_PROGRAMS = (
    "bash",
    "blkid",
    "containerd",
    "ctr",
    "fsfreeze",
    "ip",
    "jq",
    "losetup",
    "mkfs.xfs",
    "nsenter",
    "runc",
    "unshare",
    "xfs_growfs",
)


class ContainerdHost:
    """Volumes on XFS, instances in namespaces of their own with a real containerd."""

    kind = "containerd"

    def __init__(
        self, work_dir: Path, endpoints: Endpoints, containerd: Path | None = None
    ) -> None:
        """Take containerd from `containerd`/bin, or the machine's own when that is None.

        `make containerd-versions` unpacks such directories. Raises CapacityError when the machine
        cannot run instances.
        """
        check_machine()
        self.endpoints = endpoints
        self.containerd = containerd.resolve() if containerd else None
        work_dir.mkdir(parents=True, exist_ok=True)
        self._work_dir = work_dir.resolve()
        clean_dead_runs(self._work_dir.parent)
        self._work_dir.mkdir(exist_ok=True)
        self._lock_file = lock(self._work_dir)
        pem_file = self._work_dir / "ecr-api.pem"
        issue_certificate(endpoints.ca_file, endpoints.ca_key, endpoints.ecr_api_name, pem_file)
        self._tls = server_context(pem_file)
        self._volumes = VolumeStore(self._work_dir)
        self._instances: dict[str, Instance | None] = {}
        self._lock = threading.Lock()
        self.control_group = control_group_of(self._work_dir)

    # Volumes and snapshots

    def create_volume(self, volume_id: str, gib: int, snapshot_id: str | None = None) -> None:
        """Create a volume of that size: empty, or with the snapshot's content."""
        self._volumes.create(volume_id, gib, snapshot_id)

    def delete_volume(self, volume_id: str) -> None:
        """Remove the volume. Raises BuilderHostError when a running instance uses it."""
        with self._lock:
            for instance in self._instances.values():
                if instance and instance.spec.data_volume_id == volume_id:
                    raise BuilderHostError(
                        f"volume {volume_id} is in use by instance {instance.spec.instance_id}"
                    )
            self._volumes.delete_volume(volume_id)

    def snapshot_volume(self, volume_id: str, snapshot_id: str) -> None:
        """Save the volume's bytes as they are on the device now; nothing is flushed."""
        self._volumes.snapshot(volume_id, snapshot_id)

    def copy_snapshot(self, source_id: str, snapshot_id: str) -> None:
        """Create another snapshot with the same bytes, by reference."""
        self._volumes.copy_snapshot(source_id, snapshot_id)

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Remove the snapshot."""
        self._volumes.delete_snapshot(snapshot_id)

    def snapshot_file(self, snapshot_id: str) -> Path:
        """Return the snapshot's file, for reading. Raises BuilderHostError when it is missing."""
        return self._volumes.snapshot_file(snapshot_id)

    def snapshot_gib(self, snapshot_id: str) -> int:
        """Size of the snapshot's volume, in GiB."""
        return self._volumes.snapshot_gib(snapshot_id)

    def snapshot_full_bytes(self, snapshot_id: str) -> int:
        """Bytes of all blocks ever written on the snapshot's volume, as EBS counts them."""
        return self._volumes.snapshot_full_bytes(snapshot_id)

    def snapshot_new_bytes(self, snapshot_id: str, ancestor_id: str) -> NewBytes:
        """Return how much of the snapshot is not in an ancestor of the same lineage."""
        return self._volumes.snapshot_new_bytes(snapshot_id, ancestor_id)

    def look_into(self, volume_id: str, script: str) -> str:
        """Run a shell script in the root of a volume that no instance uses; return its output.

        The script sees what every mount of the volume shows. Raises BuilderHostError when it
        fails.
        """
        return self._volumes.look_into(volume_id, script)

    def volume_traffic(self, instance_id: str) -> Traffic:
        """Bytes that an instance's volume has read and written since an arbitrary start."""
        return self.instance(instance_id).volume_traffic()

    # Instances

    def start_instance(self, spec: InstanceSpec, options: InstanceOptions = USUAL) -> None:
        """Boot an instance; return when its containerd answers.

        Raises InstanceBootError when it does not boot, BuilderHostError when it already runs or its
        volume does not exist.
        """
        files = self._work_dir / "instances" / spec.instance_id
        with self._lock:
            if spec.instance_id in self._instances:
                raise BuilderHostError(f"instance {spec.instance_id} runs already")
            self._instances[spec.instance_id] = None
        try:
            instance = Instance(
                spec, options, self._volumes, files, self.endpoints, self._tls, self.containerd
            )
        except BaseException:
            with self._lock:
                del self._instances[spec.instance_id]
            raise
        with self._lock:
            self._instances[spec.instance_id] = instance

    def instance(self, instance_id: str) -> Instance:
        """Return the running instance. Raises BuilderHostError when it does not run."""
        with self._lock:
            instance = self._instances.get(instance_id)
        if instance is None:
            raise BuilderHostError(f"instance {instance_id} does not run")
        return instance

    def run_command(
        self, instance_id: str, script: str, command_id: str, timeout_seconds: float
    ) -> CommandResult:
        """Run a shell script as the SSM agent does, for `timeout_seconds` at most.

        Raises BuilderHostError when the instance or its control container does not run.
        """
        instance = self.instance(instance_id)
        if not instance.control_running:
            raise BuilderHostError(f"instance {instance_id}: its control container does not run")
        return instance.run_script(script, command_id, timeout_seconds)

    def run_on_host(
        self, instance_id: str, command: Sequence[str], timeout_seconds: float
    ) -> CommandResult:
        """Run a program on the instance's host without SSM, for tests that look inside."""
        return self.instance(instance_id).run_on_host(command, timeout_seconds)

    def cancel_command(self, instance_id: str, command_id: str) -> None:
        """Kill a running command; no error when it has ended."""
        self.instance(instance_id).cancel(command_id)

    def control_running(self, instance_id: str) -> bool:
        """Whether the instance's SSM agent runs; False when the instance does not run."""
        with self._lock:
            instance = self._instances.get(instance_id)
        return instance is not None and instance.control_running

    def wait_for_own_end(self, instance_id: str) -> OwnEnd | None:
        """Wait for the end; return how the instance ended by itself, None when it was stopped."""
        with self._lock:
            instance = self._instances.get(instance_id)
        return instance.wait_for_own_end() if instance else None

    def stop_instance(self, instance_id: str, limit_seconds: float | None = None) -> bool:
        """Shut the instance down; its volume stays. No error when it does not run.

        After the limit the power is cut. Returns whether the end was orderly.
        """
        with self._lock:
            instance = self._instances.get(instance_id)
        if not instance:
            return True
        orderly = instance.stop(limit_seconds)
        with self._lock:
            self._instances.pop(instance_id, None)
        return orderly

    def close(self) -> None:
        """Stop every instance and remove every volume, snapshot and file."""
        for instance_id in list(self._instances):
            self.stop_instance(instance_id)
        self._volumes.close()
        remove_control_groups(self.control_group)
        remove_files(self._work_dir)
        self._lock_file.close()


def check_machine() -> None:
    """Raise CapacityError, with the remedy, when this machine cannot run instances."""
    if os.geteuid() != 0:
        raise CapacityError("the containerd builder host needs root")
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        raise CapacityError(
            f"the containerd builder host needs {', '.join(missing)}; on Debian: apt-get install "
            "containerd runc xfsprogs iproute2 util-linux jq"
        )
