"""The commands that make a release, and what they keep out of it."""

from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tools.release import bootstraps, check, sbom

from . import emulation
from .emulation import NotHereError, runner


def program(path: Path, *lines: str) -> Path:
    """A stand-in for a tool: a shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(("#!/bin/sh", "set -eu", *lines, "")))
    path.chmod(0o755)
    return path


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory at the front of PATH."""
    directory = tmp_path / "bin"
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
    return directory


@pytest.mark.parametrize(("architecture", "flag"), [("arm64", "--arm64"), ("x86_64", "--x86-64")])
def test_a_build_uses_the_lock_file_and_ignores_the_shells_flags(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str, flag: str
) -> None:
    monkeypatch.setenv("RUSTFLAGS", "-C debuginfo=2")
    monkeypatch.setenv("CARGO_BUILD_RUSTFLAGS", "--remap-path-prefix=/a=/b")
    said = tmp_path / "said"
    program(tools / "cargo", f'echo "$* ${{RUSTFLAGS-none}} $CARGO_BUILD_RUSTFLAGS" > {said}')
    made = bootstraps.build_bootstrap(architecture, tmp_path)
    into = tmp_path / "target" / "lambda" / architecture
    wanted = f"lambda build --release --locked {flag} --lambda-dir {into}"
    assert said.read_text() == f"{wanted} none --remap-path-prefix=/a=/b\n"
    assert made == into / "bootstrap" / "bootstrap"


def test_a_compiler_that_fails_makes_no_release(tools: Path, tmp_path: Path) -> None:
    program(tools / "cargo", "exit 101")
    with pytest.raises(bootstraps.BuildError, match="the bootstrap for arm64: .* exit status 101"):
        bootstraps.build_bootstrap("arm64", tmp_path)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A workspace with only what a bill of materials needs."""
    root = tmp_path / "sources"
    for crate in ("functions", "shared"):
        (root / crate).mkdir(parents=True)
    for name in ("Cargo.toml", "Cargo.lock"):
        (root / name).write_text("")
    (root / "target").mkdir()
    return root


DATE = datetime(2026, 11, 21, tzinfo=UTC)


def test_a_bill_of_materials_contains_no_build_time_and_no_path(
    sources: Path, tmp_path: Path
) -> None:
    tool = program(
        tmp_path / "cargo-cyclonedx",
        'echo "{\\"ref\\": \\"path+file://$(dirname "$3")/shared#0.1.0\\",'
        ' \\"at\\": $SOURCE_DATE_EPOCH}" > "$(dirname "$3")/functions/bootstrap.cdx.json"',
    )
    sbom.write_sbom(tool, "arm64", sources, tmp_path / "made.json", DATE)
    made = json.loads((tmp_path / "made.json").read_text())
    assert made == {"ref": "path+file:///frontload/shared#0.1.0", "at": int(DATE.timestamp())}
    assert list((sources / "target").iterdir()) == []
    assert list((sources / "functions").iterdir()) == []


@pytest.mark.parametrize("does", ["echo no network; exit 1", "echo nothing to say"])
def test_a_release_needs_a_bill_of_materials(sources: Path, tmp_path: Path, does: str) -> None:
    tool = program(tmp_path / "cargo-cyclonedx", does)
    with pytest.raises(sbom.SbomError, match="no"):
        sbom.write_sbom(tool, "arm64", sources, tmp_path / "made.json", DATE)


def test_a_program_for_this_machine_starts_without_the_emulator(tmp_path: Path) -> None:
    bootstrap = tmp_path / "bootstrap"
    assert runner(bootstrap, emulation.machine(), tmp_path).program == bootstrap


@pytest.mark.skipif(emulation.machine() == "arm64", reason="nothing to emulate")
def test_a_program_for_arm64_is_started_by_the_emulator_with_its_libraries(tmp_path: Path) -> None:
    fetched = tmp_path / "with a space"
    program(fetched / "qemu-aarch64", 'printf "%s|" "$@"')
    (fetched / "version").write_text("qemu 7.2\n")
    started = runner(tmp_path / "bootstrap", "arm64", fetched)
    assert started.how == "arm64 under qemu 7.2"
    assert stat.S_IMODE(started.program.stat().st_mode) == 0o755
    said = os.popen(f"{started.program} plan").read()
    assert said == f"-L|{fetched / 'root'}|{tmp_path / 'bootstrap'}|plan|"


@pytest.mark.skipif(emulation.machine() == "arm64", reason="nothing to emulate")
def test_a_missing_emulator_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(NotHereError, match="make arm64-emulation"):
        runner(tmp_path / "bootstrap", "arm64", tmp_path)


def test_the_second_release_is_built_from_copies_in_another_home(
    tmp_path: Path, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, home, elsewhere = tmp_path / "root", tmp_path / "cargo", tmp_path / "elsewhere"
    for path in (root / "target/tools/sam", root / "target/old", root / "infra", root / ".git"):
        path.mkdir(parents=True)
    crate = home / "registry" / "src" / "crate.rs"
    crate.parent.mkdir(parents=True)
    crate.write_text("crate")
    (home / "config.toml").write_text("settings")
    monkeypatch.setattr(check, "ROOT", root)
    monkeypatch.setattr(check, "ELSEWHERE", elsewhere)
    monkeypatch.setenv("CARGO_HOME", str(home))
    program(tools / "make", 'echo "$* $(ls -A | tr "\\n" " ") $CARGO_HOME" > target/said')
    made = check.make_again("arm64")
    sources = elsewhere / "a-directory-of-another-name"
    assert made == sources / "target" / "dist"
    assert (sources / "target" / "said").read_text() == (
        f"--no-print-directory dist ARCHITECTURES=arm64 infra target  {elsewhere}/cargo-home\n"
    )
    assert sorted(path.name for path in (sources / "target").iterdir()) == ["said", "tools"]
    assert (elsewhere / "cargo-home/registry/src/crate.rs").samefile(crate)
    assert (elsewhere / "cargo-home/config.toml").read_text() == "settings"
