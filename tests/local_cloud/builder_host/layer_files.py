"""Lists what a layer's tar requires in a directory, and what a directory contains."""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
import tarfile
from pathlib import Path
from typing import BinaryIO

Entries = dict[str, str]
"""Path relative to the layer's root -> "file <bytes> <sha256>", "link <target>" or "removed"."""

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_MOST_LINKS = 40
EMPTY_FILE = f"file 0 {hashlib.sha256().hexdigest()}"


def entries_of_tar(layer: BinaryIO) -> Entries:
    """Return the entries of a layer, plain or gzip; the last entry for a path counts.

    Paths follow symbolic links of this layer only, not those of the layers below. containerd does
    the same when it unpacks the layer for overlayfs.
    """
    entries: Entries = {}
    links: dict[str, str] = {}
    with tarfile.open(fileobj=layer, mode="r|*") as tar:
        for member in tar:
            path = resolve_parents(member.name, links)
            parent, name = posixpath.split(path)
            if name == _OPAQUE:
                continue
            if name.startswith(_WHITEOUT):
                entries[posixpath.join(parent, name.removeprefix(_WHITEOUT))] = "removed"
            elif member.isreg():
                content = tar.extractfile(member)
                assert content
                entries[path] = f"file {member.size} {_sha256(content)}"
            elif member.islnk():
                entries[path] = entries[resolve_parents(member.linkname, links)]
            elif member.issym():
                entries[path] = f"link {member.linkname}"
                links[path] = member.linkname
            else:
                # A directory or device replaces what had this path before.
                entries.pop(path, None)
                links.pop(path, None)
    return entries


def entries_of_directory(directory: Path) -> Entries:
    """Return the files, links and whiteouts below the directory, no directories and devices."""
    entries: Entries = {}
    for parent, directories, files in os.walk(directory):
        for name in [*directories, *files]:
            path = Path(parent, name)
            status = path.lstat()
            relative = str(path.relative_to(directory))
            if stat.S_ISREG(status.st_mode):
                with path.open("rb") as content:
                    entries[relative] = f"file {status.st_size} {_sha256(content)}"
            elif stat.S_ISLNK(status.st_mode):
                entries[relative] = f"link {os.readlink(path)}"
            elif stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                entries[relative] = "removed"
    return entries


def resolve_parents(path: str, links: dict[str, str]) -> str:
    """Follow the links among the path's parent directories, inside the root; return the path.

    Raises ValueError when there are too many links.
    """
    for _ in range(_MOST_LINKS):
        path = posixpath.normpath("/" + path).lstrip("/")
        parts = path.split("/")
        for end in range(1, len(parts)):
            parent = "/".join(parts[:end])
            if parent in links:
                target = posixpath.join("/" + posixpath.dirname(parent), links[parent])
                path = posixpath.join(target, *parts[end:])
                break
        else:
            return path
    raise ValueError(f"{path}: more than {_MOST_LINKS} symbolic links")


def _sha256(content: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := content.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()
