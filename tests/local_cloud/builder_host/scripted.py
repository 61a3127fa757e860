"""A stand-in for machines without root or containerd: it runs nothing and pulls nothing.

Volumes are small files. A command's output is made up from the images in the command's text.
All output identifies itself as scripted.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
from pathlib import Path

from .interface import (
    USUAL,
    BuilderHostError,
    CommandResult,
    Endpoints,
    InstanceOptions,
    InstanceSpec,
)

_BY_HAND = re.compile(r"\bimages pull\b")
_TABLE = re.compile(r"^(repository_list|images)='([^']*)'$", re.MULTILINE)


class ScriptedHost:
    """Answers like a builder on which every pull succeeds at once."""

    kind = "scripted"

    def __init__(self, work_dir: Path, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self._files = work_dir / "scripted"
        self._files.mkdir(parents=True, exist_ok=True)
        self._volumes: dict[str, str] = {}
        self._options: dict[str, InstanceOptions] = {}
        self._lock = threading.Lock()
        self.pull_seconds = 0.0
        """How long a command takes for each image that it pulls, be it Frontload's command or one
        by hand. A command without a pull is done at once."""
        self._closed = threading.Event()

    def create_volume(self, volume_id: str, gib: int, snapshot_id: str | None = None) -> None:
        """Create a file that lists the images that the volume "contains"."""
        content = self._file(snapshot_id).read_text() if snapshot_id else ""
        self._file(volume_id).write_text(content)

    def delete_volume(self, volume_id: str) -> None:
        """Remove the file."""
        self._file(volume_id).unlink(missing_ok=True)

    def snapshot_volume(self, volume_id: str, snapshot_id: str) -> None:
        """Copy the file."""
        shutil.copy(self._file(volume_id), self._file(snapshot_id))

    def copy_snapshot(self, source_id: str, snapshot_id: str) -> None:
        """Copy the file."""
        shutil.copy(self._file(source_id), self._file(snapshot_id))

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Remove the file."""
        self._file(snapshot_id).unlink(missing_ok=True)

    def digests_on(self, snapshot_id: str) -> list[str]:
        """Return the digests of the images that a snapshot "contains"."""
        return [
            image["digest"] for image in json.loads(self._file(snapshot_id).read_text() or "[]")
        ]

    def snapshot_full_bytes(self, snapshot_id: str) -> int:
        """Return the file's size, which is not what EBS would count."""
        return self._file(snapshot_id).stat().st_size

    def start_instance(self, spec: InstanceSpec, options: InstanceOptions = USUAL) -> None:
        """Note which volume the instance has."""
        with self._lock:
            self._volumes[spec.instance_id] = spec.data_volume_id
            self._options[spec.instance_id] = options

    def run_command(
        self, instance_id: str, script: str, command_id: str, timeout_seconds: float
    ) -> CommandResult:
        """Run nothing; report every image of the command as pulled."""
        with self._lock:
            volume_id = self._volumes.get(instance_id)
        if volume_id is None:
            raise BuilderHostError(f"scripted host: instance {instance_id} does not run")
        images = planned_images(script)
        pulls = len(images) or len(_BY_HAND.findall(script))
        if self._closed.wait(self.pull_seconds * pulls):
            raise BuilderHostError("scripted host: closed while a command ran")
        self._file(volume_id).write_text(json.dumps(images))
        answer = {
            "outcome": "pulled",
            "containerd": "scripted",
            "kernel": "scripted",
            "digests": [image["digest"] for image in images],
            "flushed": True,
            "usedBytes": 1,
            "ancestor": "none",
            "listing": "sha256:" + "0" * 64,
        }
        return CommandResult(0, json.dumps(answer) + "\n", "scripted host: nothing was run\n")

    def cancel_command(self, instance_id: str, command_id: str) -> None:
        """Nothing runs, so nothing to cancel."""

    def control_running(self, instance_id: str) -> bool:
        """Whether the control container would have been pulled."""
        with self._lock:
            options = self._options.get(instance_id)
        return options is not None and options.pulls_host_containers

    def wait_for_own_end(self, instance_id: str) -> None:
        """Nothing runs, so nothing ends by itself."""

    def stop_instance(self, instance_id: str, limit_seconds: float | None = None) -> bool:
        """Forget the instance; return whether it would have ended within the limit."""
        with self._lock:
            self._volumes.pop(instance_id, None)
            options = self._options.pop(instance_id, USUAL)
        return limit_seconds is None or options.end_seconds <= limit_seconds

    def close(self) -> None:
        """Make running commands fail, and remove the files."""
        self._closed.set()
        shutil.rmtree(self._files, ignore_errors=True)

    def _file(self, name: str) -> Path:
        return self._files / name


def planned_images(script: str) -> list[dict[str, str]]:
    """Return the images of the command's two tables: repositories, and images with their digests.

    An image without a digest gets one that is made up from its name.
    """
    tables = dict(_TABLE.findall(script))
    repositories = [line.split()[0] for line in tables.get("repository_list", "").splitlines()]
    images = []
    for line in tables.get("images", "").splitlines():
        index, tag, digits = line.split()[:3]
        name = f"{repositories[int(index)]}:{tag}"
        if digits == "-":
            digits = hashlib.sha256(name.encode()).hexdigest()
        images.append({"reference": name, "digest": f"sha256:{digits}"})
    return images
