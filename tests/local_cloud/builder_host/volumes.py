"""Volumes and snapshots: sparse files on an XFS that copies them by reference (reflink).

The XFS is in one sparse file. It is mounted only inside the mount namespace of a keeper process;
this process reaches it through /proc/<keeper>/root. The keeper ends when this process does, even if
that is killed, and the mount and its loop device end with the keeper.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from .extents import Extent, ebs_bytes, extents_of, total, unshared_ranges
from .interface import BuilderHostError, CapacityError
from .namespaces import only_descendant

_FICLONE = 0x40049409
_GIB = 1 << 30
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_KEEPER_SCRIPT = Path(__file__).with_name("keeper.sh")
POOL_GIB = 1024
"""Size of the sparse file below all volumes. It takes only the space that they fill."""


class NewBytes(NamedTuple):
    """How much of a snapshot is not in its ancestor."""

    written: int
    """Bytes that are not where the ancestor has them, in the file system's blocks of 4 KiB."""
    in_ebs_blocks: int
    """The same in EBS blocks of 512 KiB: what EBS stores and bills for the snapshot."""


class VolumeStore:
    """The volume and snapshot files of one builder host, and the keeper of their mount."""

    def __init__(self, work_dir: Path) -> None:
        self._pool = work_dir / "pool.img"
        self._mount_point = work_dir / "volumes"
        self._mount_point.mkdir(exist_ok=True)
        self._format_pool()
        self._keeper = self._start_keeper()
        self.keeper_pid = only_descendant(self._keeper.pid, 1)
        self.directory = Path(f"/proc/{self.keeper_pid}/root{self._mount_point}")

    def _format_pool(self) -> None:
        with self._pool.open("wb") as pool:
            pool.truncate(POOL_GIB * _GIB)
        _run("mkfs.xfs", "-q", "-f", "-m", "reflink=1", "-l", "size=64m", str(self._pool))

    def _start_keeper(self) -> subprocess.Popen[str]:
        keeper = subprocess.Popen(
            [
                "unshare",
                "-mpf",
                "--kill-child",
                "--propagation",
                "private",
                "bash",
                str(_KEEPER_SCRIPT),
                str(self._pool),
                str(self._mount_point),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            start_new_session=True,
        )
        assert keeper.stdout and keeper.stderr
        if keeper.stdout.readline().strip() != "ready":
            keeper.kill()
            raise CapacityError(f"cannot mount the volumes: {keeper.stderr.read().strip()}")
        return keeper

    def volume_file(self, volume_id: str) -> Path:
        """The volume's file, as the keeper and its children see it."""
        self._existing("volume", volume_id)
        return self._mount_point / f"{volume_id}.volume"

    def create(self, volume_id: str, gib: int, snapshot_id: str | None) -> None:
        """Create a volume of that size, empty or with the snapshot's content."""
        path = self._new("volume", volume_id)
        if snapshot_id is not None:
            source = self._existing("snapshot", snapshot_id)
            if gib * _GIB < source.stat().st_size:
                raise BuilderHostError(
                    f"volume {volume_id}: {gib} GiB is less than snapshot {snapshot_id} has, "
                    f"{source.stat().st_size // _GIB} GiB"
                )
            _clone(source, path)
        with path.open("ab") as volume:
            volume.truncate(gib * _GIB)

    def snapshot(self, volume_id: str, snapshot_id: str) -> None:
        """Save the volume's bytes as they are now. Nothing that uses the volume is flushed."""
        _clone(self._existing("volume", volume_id), self._new("snapshot", snapshot_id))

    def copy_snapshot(self, source_id: str, snapshot_id: str) -> None:
        """Create another snapshot with the same bytes, by reference."""
        _clone(self._existing("snapshot", source_id), self._new("snapshot", snapshot_id))

    def delete_volume(self, volume_id: str) -> None:
        """Remove the volume; no error when it is already gone."""
        self._path("volume", volume_id).unlink(missing_ok=True)

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Remove the snapshot; volumes made from it keep their content."""
        self._path("snapshot", snapshot_id).unlink(missing_ok=True)

    def snapshot_file(self, snapshot_id: str) -> Path:
        """Return the snapshot's file, as this process sees it.

        Raises BuilderHostError when it does not exist.
        """
        return self._existing("snapshot", snapshot_id)

    def snapshot_gib(self, snapshot_id: str) -> int:
        """Size of the volume that the snapshot was made from, in GiB."""
        return self.snapshot_file(snapshot_id).stat().st_size // _GIB

    def snapshot_full_bytes(self, snapshot_id: str) -> int:
        """Bytes of the EBS blocks that were ever written on the snapshot's volume."""
        return ebs_bytes((one.start, one.end) for one in self._extents(snapshot_id))

    def snapshot_new_bytes(self, snapshot_id: str, ancestor_id: str) -> NewBytes:
        """Return how much of a snapshot is not in an ancestor of the same lineage."""
        new = list(unshared_ranges(self._extents(snapshot_id), self._extents(ancestor_id)))
        return NewBytes(total(new), ebs_bytes(new))

    def _extents(self, snapshot_id: str) -> list[Extent]:
        return extents_of(self.snapshot_file(snapshot_id))

    def look_into(self, volume_id: str, script: str) -> str:
        """Mount the volume, run a shell script in its root, and return its output."""
        options = "loop,nouuid" if self._is_xfs(volume_id) else "loop"
        mount = f'mount -o {options} "$0" /mnt && cd /mnt && exec sh -euc "$1"'
        inside = ("unshare", "-m", "--propagation", "private", "sh", "-c", mount)
        enter = ("nsenter", "-t", str(self.keeper_pid), "-m", "--")
        return _run(*enter, *inside, str(self.volume_file(volume_id)), script)

    def _is_xfs(self, volume_id: str) -> bool:
        with self._existing("volume", volume_id).open("rb") as volume:
            return volume.read(4) == b"XFSB"

    def close(self) -> None:
        """Unmount by ending the keeper, then remove every file."""
        if self._keeper.stdin:
            self._keeper.stdin.close()
        try:
            self._keeper.wait(10)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait(10)
        for stream in (self._keeper.stdout, self._keeper.stderr):
            if stream:
                stream.close()
        self._pool.unlink(missing_ok=True)
        self._mount_point.rmdir()

    def _path(self, kind: str, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise BuilderHostError(f"{name!r} is no {kind} id")
        return self.directory / f"{name}.{kind}"

    def _existing(self, kind: str, name: str) -> Path:
        path = self._path(kind, name)
        if not path.exists():
            raise BuilderHostError(f"{kind} {name} does not exist on the builder host")
        return path

    def _new(self, kind: str, name: str) -> Path:
        path = self._path(kind, name)
        if path.exists():
            raise BuilderHostError(f"{kind} {name} exists already on the builder host")
        return path


def _clone(source: Path, target: Path) -> None:
    with source.open("rb") as original, target.open("xb") as copy:
        try:
            fcntl.ioctl(copy.fileno(), _FICLONE, original.fileno())
        except OSError as error:
            target.unlink()
            raise BuilderHostError(f"cannot copy {source.name} by reference: {error}") from error


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise BuilderHostError(f"{command[0]}: {done.stderr.strip() or done.returncode}")
    return done.stdout
