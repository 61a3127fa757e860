"""Zips whose bytes depend only on their content, and checksums."""

from __future__ import annotations

import hashlib
import zipfile
from datetime import datetime
from pathlib import Path

SUMS = "SHA256SUMS"
PROGRAM_MODE = 0o755
UNIX = 3
"""Zip's number of the system that made an entry; it determines how the mode is read."""


def write_package(bootstrap: Path, package: Path, date: datetime) -> None:
    """Zip the program as Lambda wants it: one executable file named `bootstrap`.

    The same program gives the same bytes, whoever owns it and whenever it was compiled, with the
    same version of zlib.
    """
    entry = zipfile.ZipInfo("bootstrap", date.timetuple()[:6])
    entry.create_system = UNIX
    entry.external_attr = PROGRAM_MODE << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr(entry, bootstrap.read_bytes(), compresslevel=9)


def sha256(path: Path) -> str:
    """Digest of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sums(directory: Path) -> None:
    """Write the digest of every file of a directory into it, as `sha256sum --check` reads them."""
    files = sorted(path for path in directory.iterdir() if path.name != SUMS)
    lines = [f"{sha256(path)}  {path.name}\n" for path in files]
    (directory / SUMS).write_text("".join(lines))


def differences(directory: Path, other: Path) -> list[str]:
    """Names of the files of `other` that `directory` lacks, or has with other content.

    The checksums are left out: they list every file, and `other` may have fewer.
    """
    names = sorted(path.name for path in other.iterdir() if path.name != SUMS)
    return [
        name
        for name in names
        if not (directory / name).exists() or sha256(directory / name) != sha256(other / name)
    ]
