"""Every tool and crate is locked to a version and hash; Python's match the .in files."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from statemachine.asl_definitions import ROOT

LOCKS = ROOT / "tools" / "python"
WANTED = sorted(LOCKS.glob("requirements-*.in"))
PIN = re.compile(r"([A-Za-z0-9._-]+)(?:\[[a-z0-9, -]+\])?==([^ ;\\]+)")
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")


def requirements(path: Path) -> list[str]:
    """A text for each requirement, with its continuation lines."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    return [one for one in re.split(r"\n(?! )", "\n".join(lines)) if one.strip()]


def pins(path: Path) -> set[tuple[str, str]]:
    found = [PIN.match(one) for one in requirements(path)]
    return {(pin[1].lower().replace("_", "-"), pin[2]) for pin in found if pin}


def lock_of(wanted: Path) -> Path:
    return wanted.with_suffix(".txt")


def without_hashes(lock: Path) -> list[str]:
    return [one for one in requirements(lock) if not PIN.match(one) or not HASH.search(one)]


def test_every_environment_is_locked() -> None:
    locks = sorted(LOCKS.glob("requirements-*.txt"))
    assert locks == [lock_of(wanted) for wanted in WANTED] != []


@pytest.mark.parametrize("wanted", WANTED, ids=lambda path: path.stem)
def test_every_package_of_a_lock_has_a_version_and_hashes(wanted: Path) -> None:
    assert without_hashes(lock_of(wanted)) == []


@pytest.mark.parametrize("wanted", WANTED, ids=lambda path: path.stem)
def test_a_lock_has_every_requirement(wanted: Path) -> None:
    assert pins(wanted) != set()
    assert len(pins(wanted)) == len(requirements(wanted))
    assert pins(wanted) - pins(lock_of(wanted)) == set()


def test_a_package_without_a_hash_is_noticed(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(f"a==1 \\\n    --hash=sha256:{'0' * 64}\n    # via b\nb==2\nc>=3\n")
    assert without_hashes(lock) == ["b==2", "c>=3"]


def test_every_node_package_has_its_hash() -> None:
    lock = json.loads((ROOT / "tools" / "node" / "package-lock.json").read_text())
    packages = {name: one for name, one in lock["packages"].items() if name}
    hashes = {name: one.get("integrity", "") for name, one in packages.items()}
    assert [name for name, hashed in hashes.items() if not hashed.startswith("sha512-")] == []
    assert hashes != {}


def test_every_crate_comes_from_crates_io_with_a_hash() -> None:
    crates = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    from_elsewhere = [one["name"] for one in crates if one.get("source") != CRATES_IO]
    assert from_elsewhere == [
        "frontload-aws",
        "frontload-builder",
        "frontload-domain",
        "frontload-functions",
        "frontload-simulation",
    ]
    hashed = [one["name"] for one in crates if len(one.get("checksum", "")) == 64]
    assert len(hashed) == len(crates) - len(from_elsewhere)
