"""The bytes of a package depend only on its content, and a difference is found."""

from __future__ import annotations

import os
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tools.release.packages import SUMS, differences, sha256, write_package, write_sums

DATE = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def bootstrap(tmp_path: Path) -> Path:
    path = tmp_path / "bootstrap"
    path.write_bytes(b"program" * 1000)
    return path


def test_the_same_program_always_gives_the_same_package(bootstrap: Path, tmp_path: Path) -> None:
    write_package(bootstrap, tmp_path / "one.zip", DATE)
    os.utime(bootstrap, (0, 0))
    bootstrap.chmod(0o600)
    write_package(bootstrap, tmp_path / "two.zip", DATE)
    assert sha256(tmp_path / "one.zip") == sha256(tmp_path / "two.zip")


def test_a_package_is_what_lambda_runs(bootstrap: Path, tmp_path: Path) -> None:
    write_package(bootstrap, tmp_path / "one.zip", DATE)
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        (entry,) = archive.infolist()
        assert archive.read(entry) == bootstrap.read_bytes()
    assert (entry.filename, entry.external_attr >> 16) == ("bootstrap", 0o755)
    assert entry.date_time == (2026, 11, 21, 0, 0, 0)
    assert entry.compress_size < entry.file_size


def test_the_checksums_cover_every_other_file(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("b")
    (tmp_path / "a").write_text("a")
    for _ in range(2):
        write_sums(tmp_path)
    sums = (tmp_path / SUMS).read_text()
    assert sums == f"{sha256(tmp_path / 'a')}  a\n{sha256(tmp_path / 'b')}  b\n"


def test_differing_and_missing_files_are_named_without_the_checksums(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for directory, files in ((ours, "same other more"), (theirs, "same other absent")):
        directory.mkdir()
        for name in files.split():
            (directory / name).write_text(name)
        write_sums(directory)
    (theirs / "other").write_text("changed")
    assert differences(ours, theirs) == ["absent", "other"]
    assert differences(ours, ours) == []
