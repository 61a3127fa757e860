"""The bill of materials of cargo-cyclonedx, without the directory that it was made in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from datetime import datetime
from pathlib import Path

from .bootstraps import TRIPLES

SBOM_SECONDS = 300.0
MANIFESTS = ("Cargo.toml", "Cargo.lock", "functions", "shared")
PROGRAM = "functions"
"""The crate of the bootstrap."""
NAME = "bootstrap.cdx"


class SbomError(Exception):
    """cargo-cyclonedx failed; the message contains its output."""


def write_sbom(tool: Path, architecture: str, root: Path, to: Path, date: datetime) -> None:
    """Write what is compiled into the bootstrap as CycloneDX JSON, with the timestamp `date`.

    cargo-cyclonedx puts its files beside the sources, so it runs on a copy of them. Raises
    SbomError if it fails.
    """
    with tempfile.TemporaryDirectory(prefix="sbom-", dir=root / "target") as directory:
        copy = Path(directory).resolve()
        for name in MANIFESTS:
            source = root / name
            copier = shutil.copytree if source.is_dir() else shutil.copy2
            copier(source, copy / name)
        command = [
            *(str(tool), "cyclonedx", "--manifest-path", str(copy / "Cargo.toml")),
            *("--format", "json", "--spec-version", "1.5", "--target", TRIPLES[architecture]),
            *("--override-filename", NAME, "--quiet"),
        ]
        epoch = str(int(date.timestamp()))
        environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch}
        done = subprocess.run(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SBOM_SECONDS,
            check=False,
        )
        made = copy / PROGRAM / f"{NAME}.json"
        if done.returncode or not made.exists():
            raise SbomError(f"cargo-cyclonedx ended with {done.returncode}: {done.stdout[-2000:]}")
        to.write_text(placeless(made.read_text(), copy))


def placeless(document: str, directory: Path) -> str:
    """The bill with its own crates in no directory of this machine, and in a fixed format."""
    parsed = json.loads(document.replace(f"file://{directory}", "file:///frontload"))
    return json.dumps(parsed, indent=2, ensure_ascii=False) + "\n"
