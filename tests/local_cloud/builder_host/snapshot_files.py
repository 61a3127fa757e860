"""Reads the content of a snapshot without booting anything from it."""

from __future__ import annotations

import subprocess
from pathlib import Path

_MOUNT_SECONDS = 60
# Runs in a mount namespace of its own: nothing stays mounted. An orderly end leaves a clean log,
# so no recovery is needed.
_LIST = """
set -euo pipefail
mount -o loop,ro,nouuid,norecovery "$1" /mnt
cd /mnt
find . -path ./var/lib/containerd -prune -o -mindepth 1 -printf '%y %P\\n'
"""
_LIST_CONTAINERD = """
set -euo pipefail
mount -o loop,ro,nouuid,norecovery "$1" /mnt
cd /mnt
find var/lib/containerd -maxdepth 2 -type f
"""
_SEARCH = """
set -euo pipefail
mount -o loop,ro,nouuid,norecovery "$1" /mnt
cd /mnt
grep -rlF -e "$2" . || [ $? -eq 1 ]
"""


def files_outside_containerd(snapshot: Path) -> tuple[set[str], set[str]]:
    """Return the volume's directories, and its other files, outside /var/lib/containerd."""
    lines = [line.split(" ", 1) for line in _inside(_LIST, snapshot)]
    directories = {path for kind, path in lines if kind == "d"}
    return directories, {path for kind, path in lines if kind != "d"}


def files_in_containerd(snapshot: Path) -> set[str]:
    """Return the files at the top of containerd's directory, without content and layers."""
    return set(_inside(_LIST_CONTAINERD, snapshot))


def files_with(snapshot: Path, text: str) -> list[str]:
    """Return the volume's files that contain the text, including containerd's files."""
    return _inside(_SEARCH, snapshot, text)


def _inside(script: str, *arguments: str | Path) -> list[str]:
    command = ["unshare", "-m", "bash", "-c", script, "bash", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=_MOUNT_SECONDS
    )
    return done.stdout.splitlines()
