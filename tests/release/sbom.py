"""The bill of materials: cargo-cyclonedx's, without the directory in which it was made."""

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
    """cargo-cyclonedx failed; the message holds what it said."""


def write_sbom(tool: Path, architecture: str, root: Path, to: Path, date: datetime) -> None:
    """Write what is compiled into the bootstrap as CycloneDX JSON. Raises SbomError.

    `date` is its timestamp. cargo-cyclonedx puts its files beside the sources, which are
    therefore a copy.
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
    """A bill whose own crates lie in no directory of any machine, in a form of its own."""
    parsed = json.loads(document.replace(f"file://{directory}", "file:///frontload"))
    return json.dumps(parsed, indent=2, ensure_ascii=False) + "\n"
