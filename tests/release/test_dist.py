"""The release is whole, for the right processor, and without a trace of this machine."""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from tools.release.bootstraps import FLAGS
from tools.release.packages import SUMS, sha256
from tools.release.versions import current_release, workspace_version

from .conftest import Start

ARCHITECTURES = list(FLAGS)
ELF_MACHINES = {"x86_64": 62, "arm64": 183}
NEWEST_GLIBC = (2, 34)
"""The glibc of Amazon Linux 2023, on which the functions run."""
MOST_PACKAGE_BYTES = 3_200_000


def program(dist: Path, architecture: str) -> bytes:
    with zipfile.ZipFile(dist / f"bootstrap-{architecture}.zip") as archive:
        return archive.read("bootstrap")


def test_every_file_has_its_checksum(dist: Path) -> None:
    sums = dict(reversed(line.split("  ")) for line in (dist / SUMS).read_text().splitlines())
    assert sums == {path.name: sha256(path) for path in dist.iterdir() if path.name != SUMS}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_package_is_one_executable_program_for_its_processor(
    dist: Path, architecture: str
) -> None:
    package = dist / f"bootstrap-{architecture}.zip"
    with zipfile.ZipFile(package) as archive:
        (entry,) = archive.infolist()
    assert (entry.filename, entry.external_attr >> 16) == ("bootstrap", 0o755)
    assert entry.date_time == current_release().date.timetuple()[:6]
    header = program(dist, architecture)[:20]
    assert header[:4] == b"\x7fELF"
    assert int.from_bytes(header[18:20], "little") == ELF_MACHINES[architecture]
    assert package.stat().st_size < MOST_PACKAGE_BYTES


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_program_holds_no_path_of_the_machine_that_compiled_it(
    dist: Path, architecture: str
) -> None:
    text = program(dist, architecture)
    assert re.findall(rb"/(?:root|home|work|tmp|Users)/[\w./-]+", text)[:5] == []
    assert b"/cargo/registry/src/" in text, "its crates' panics name no file: look for another sign"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_program_has_no_unwind_tables(dist: Path, architecture: str) -> None:
    names = program(dist, architecture)
    assert b".shstrtab\0" in names
    assert b".eh_frame\0" not in names


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_program_needs_no_newer_c_library_than_lambda_has(dist: Path, architecture: str) -> None:
    found = re.findall(rb"GLIBC_(\d+)\.(\d+)\0", program(dist, architecture))
    assert found
    assert max((int(major), int(minor)) for major, minor in found) <= NEWEST_GLIBC


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_program_prints_its_version_without_settings(start: Start, architecture: str) -> None:
    command = [str(start(architecture).program), "--version"]
    said = subprocess.run(
        command, env={}, capture_output=True, text=True, timeout=30, check=True
    ).stdout
    assert said == f"frontload {workspace_version()}\n"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_bill_of_materials_lists_every_compiled_crate(dist: Path, architecture: str) -> None:
    text = (dist / f"bootstrap-{architecture}.cdx.json").read_text()
    assert "path+file:///frontload/" in text
    assert re.findall(r"file:///(?!frontload)[^\"#]*", text)[:5] == []
    bill = json.loads(text)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert "serialNumber" not in bill
    stamp = bill["metadata"]["timestamp"]
    assert stamp.startswith(current_release().date.date().isoformat())
    described = bill["metadata"]["component"]
    assert (described["name"], described["version"]) == ("frontload-functions", workspace_version())
    names = {component["name"] for component in bill["components"]}
    assert {"aws-sdk-ec2", "frontload-domain", "ring", "tokio"} <= names
    assert names.isdisjoint({"proptest", "aws-smithy-mocks", "schemars_derive", "windows-sys"})
