"""Cleans up after builder hosts that were killed.

Their namespaces, mounts and loop devices end with them. Files stay, and so do the control groups of
containers that were running.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path
from typing import IO

LOCK_NAME = "builder-host.lock"
_CONTROL_GROUPS = Path("/sys/fs/cgroup")


def lock(work_dir: Path) -> IO[str]:
    """Mark the directory as in use until the returned file is closed, or this process dies."""
    file = (work_dir / LOCK_NAME).open("w")
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def clean_dead_runs(parent: Path) -> list[Path]:
    """Clean the directories in `parent` whose builder host is dead; return them."""
    cleaned = []
    for lock_file in parent.glob(f"*/{LOCK_NAME}"):
        with lock_file.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            remove_control_groups(control_group_of(lock_file.parent))
            remove_files(lock_file.parent)
            cleaned.append(lock_file.parent)
    return cleaned


def remove_files(work_dir: Path) -> None:
    """Remove a builder host's files from its directory, and the directory if it is empty then."""
    _detach_loop_devices(work_dir / "pool.img")
    shutil.rmtree(work_dir / "instances", ignore_errors=True)
    for name in ("pool.img", "ecr-api.pem", LOCK_NAME):
        (work_dir / name).unlink(missing_ok=True)
    if (work_dir / "volumes").is_dir():
        (work_dir / "volumes").rmdir()
    if not any(work_dir.iterdir()):
        work_dir.rmdir()


def _detach_loop_devices(file: Path) -> None:
    if file.exists():
        found = subprocess.run(
            ["losetup", "-n", "-O", "NAME", "-j", str(file)],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        for device in found.stdout.split():
            subprocess.run(["losetup", "-d", device], timeout=20, check=False)


def control_group_of(work_dir: Path) -> str:
    """Name of the control group for containers of the builder host in that directory."""
    return f"frontload-{work_dir.resolve().stat().st_ino}"


def remove_control_groups(name: str) -> None:
    """Remove the group and the groups below it, in every hierarchy. Groups in use stay."""
    for top in [_CONTROL_GROUPS / name, *_CONTROL_GROUPS.glob(f"*/{name}")]:
        groups = sorted((path for path in top.glob("**") if path.is_dir()), reverse=True)
        for group in groups:
            try:
                group.rmdir()
            except OSError:
                continue
