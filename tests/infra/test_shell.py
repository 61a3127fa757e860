"""The builder's script is joined from all its parts, and shellcheck notices mistakes in them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from statemachine.asl_definitions import ROOT

from tools import lint_shell, pull_script

SAM = ROOT / "target" / "tools" / "sam" / "bin"
# A mistake, the part that has it, and the check that notices it.
MISTAKES = {
    "an unquoted variable": ("log_in", "echo $1", "SC2086"),
    "a variable that nothing sets": ("host", 'echo "$expiry"', "SC2154"),
    "a variable that nothing reads": ("scrub", "unread=1", "SC2034"),
}


def shellcheck() -> str:
    found = shutil.which("shellcheck", path=f"{SAM}{os.pathsep}{os.environ['PATH']}")
    assert found, "shellcheck is missing: run `make tools`, on arm64 Linux install your system's"
    return found


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a copy of the parts, which the tools read instead."""
    shutil.copytree(pull_script.FOLDER, tmp_path / "pull")
    monkeypatch.setattr(pull_script, "FOLDER", tmp_path / "pull")
    return tmp_path / "pull"


def test_the_script_has_every_part_once() -> None:
    parts = pull_script.parts()
    assert [parts[0].stem, parts[-1].stem] == ["setup", "main"]
    assert sorted(parts) == sorted(pull_script.FOLDER.iterdir())


def test_the_assignments_before_the_script_are_found() -> None:
    names = "architecture snapshotter limit_seconds expiry_seconds ancestor_listing order"
    assert pull_script.assigned() == [*names.split(), "repository_list", "images"]


def test_every_part_says_what_it_does_and_expects() -> None:
    for part in pull_script.parts():
        assert part.read_text().startswith("# This part "), part.name
        assert "It expects " in part.read_text(), part.name
    assert lint_shell.expected("# It expects one,\n# two and third_one. More.\n\n") == [
        "one",
        "two",
        "third_one",
    ]
    assert lint_shell.expected("# It expects no variable.\n\n") == []
    assert lint_shell.expected("true # It expects one.\n") == []


def test_the_script_is_clean(copied: Path) -> None:
    assert lint_shell.check_builders_script(shellcheck()) == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_noticed_in_its_part(copied: Path, mistake: str) -> None:
    name, planted, code = MISTAKES[mistake]
    part = copied / f"{name}.sh"
    lines = len(part.read_text().splitlines())
    part.write_text(f"{part.read_text()}{planted}\n")
    (told,) = lint_shell.check_builders_script(shellcheck())
    line = lines + len(planted.splitlines())
    assert told.startswith(f"{part}:{line}: {code} ")


def test_a_comment_that_names_other_variables_than_its_part_uses_is_noticed(copied: Path) -> None:
    part = copied / "remove.sh"
    assert lint_shell.check_part(shellcheck(), part) == []
    text = part.read_text()
    part.write_text(text.replace("expects content and", "expects"))
    (told,) = lint_shell.check_part(shellcheck(), part)
    assert "SC2154 content is referenced" in told
    part.write_text(text.replace("expects content and", "expects other, content and"))
    (told,) = lint_shell.check_part(shellcheck(), part)
    assert "SC2034 other appears unused" in told


def test_a_script_that_has_a_mistake_ends_the_check(tmp_path: Path) -> None:
    (tmp_path / "good.sh").write_text("echo good\n")
    assert lint_shell.main([shellcheck(), str(tmp_path)]) == 0
    (tmp_path / "bad.sh").write_text("echo $1\n")
    assert lint_shell.main([shellcheck(), str(tmp_path)]) == 1
    assert lint_shell.main([shellcheck(), str(tmp_path / "good.sh")]) == 0
