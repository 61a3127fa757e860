"""Runs shellcheck over shell scripts, and over the builder's script as the builder runs it.

usage: python -m tools.lint_shell <shellcheck> <script or folder with *.sh>...

Some scripts and all parts of the builder's script run after others, which set variables for them.
Their first comment names these: "It expects one, another and a third." Each is declared here before
the script. What is named must be used, and what is used must be named.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from . import pull_script

LIMIT_SECONDS = 120
ROOT = pull_script.SOURCES.parents[2]
EXPECTS = re.compile(r"\bIt expects (?!no )([a-z_, ]+)\.")
UNUSED, UNASSIGNED = 2034, 2154


class Finding(NamedTuple):
    """One message of shellcheck."""

    line: int
    code: int
    message: str


def expected(script: str) -> list[str]:
    """The variables that the first comment of a script names."""
    lines = script.splitlines()
    end = next((at for at, line in enumerate(lines) if not line.startswith("#")), len(lines))
    comment = " ".join(line.lstrip("# ") for line in lines[:end])
    said = EXPECTS.search(comment)
    return re.findall(r"\b(?!and\b)[a-z_]+", said[1]) if said else []


def check(program: str, script: str, variables: list[str], folder: Path) -> list[Finding]:
    """What shellcheck says of a script. Line 0 is the declaration of the variables."""
    before = f"read -r {' '.join(variables)}\n" if variables else ""
    ended = subprocess.run(
        [program, "--shell=bash", "--severity=style", "--format=json1", "--external-sources"]
        + [f"--source-path={folder}", "-"],
        input=before + script,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    if ended.returncode not in (0, 1):
        raise SystemExit(f"shellcheck failed: {ended.stderr.strip()}")
    comments: list[dict[str, Any]] = json.loads(ended.stdout)["comments"]
    shift = 1 if variables else 0
    return [Finding(one["line"] - shift, one["code"], one["message"]) for one in comments]


def complain(name: str, findings: list[Finding]) -> list[str]:
    return [f"{name}:{one.line}: SC{one.code} {one.message}" for one in findings]


def check_file(program: str, path: Path) -> list[str]:
    script = path.read_text()
    return complain(shown(path), check(program, script, expected(script), path.parent))


def check_part(program: str, path: Path) -> list[str]:
    """Whether a part of the builder's script names the variables that it expects."""
    script = path.read_text()
    findings = check(program, script, expected(script), path.parent)
    wrong = [one for one in findings if one.code == UNASSIGNED or one.line == 0]
    return complain(shown(path), wrong)


def check_builders_script(program: str) -> list[str]:
    """The parts, joined in their order, after the assignments that script.rs renders."""
    places: list[tuple[Path, int]] = [(pull_script.RENDERER, 0)]
    for path in pull_script.parts():
        lines = path.read_text().splitlines()
        places += [(path, number) for number in range(1, len(lines) + 1)]
    findings = check(program, pull_script.text(), pull_script.assigned(), pull_script.FOLDER)
    told = []
    for one in findings:
        path, line = places[one.line]
        told += complain(shown(path), [one._replace(line=line)])
    return told


def shown(path: Path) -> str:
    path = path.resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def scripts_in(path: Path) -> list[Path]:
    """The path itself, or every *.sh below it that is not a part of the builder's script."""
    if not path.is_dir():
        return [path]
    below = (one for one in path.rglob("*.sh") if "node_modules" not in one.parts)
    return sorted(one for one in below if one.resolve().parent != pull_script.FOLDER)


def main(arguments: list[str]) -> int:
    program, *places = arguments
    scripts = [script for place in places for script in scripts_in(Path(place))]
    complaints = check_builders_script(program)
    for part in pull_script.parts():
        complaints += check_part(program, part)
    for script in scripts:
        complaints += check_file(program, script)
    told = f"{len(scripts)} scripts and the builder's: {len(complaints) or 'no'} complaints"
    print("\n".join([*complaints, told]))
    return 1 if complaints or not scripts else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
