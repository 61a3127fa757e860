"""The version and date of the release: `Cargo.toml` has the version, `CHANGELOG.md` both."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
HEADING = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})$", re.MULTILINE)


class Release(NamedTuple):
    """A version and the day of its release, at midnight UTC."""

    version: str
    date: datetime


def workspace_version(root: Path = ROOT) -> str:
    """The version of every crate of the workspace."""
    return tomllib.loads((root / "Cargo.toml").read_text())["workspace"]["package"]["version"]


def releases(changelog: str) -> list[Release]:
    """Every release of a changelog in its order, the newest first."""
    return [
        Release(version, datetime.fromisoformat(date).replace(tzinfo=UTC))
        for version, date in HEADING.findall(changelog)
    ]


def current_release(root: Path = ROOT) -> Release:
    """The release of these sources. Raises ValueError unless both files agree."""
    version = workspace_version(root)
    told = releases((root / "CHANGELOG.md").read_text())
    if not told or told[0].version != version:
        first = told[0].version if told else "no version"
        raise ValueError(f"Cargo.toml is at {version}, CHANGELOG.md begins with {first}")
    return told[0]
