"""Every place that names the version names the same one."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from infra.templates import load_template

from tools.release.versions import ROOT, current_release, releases, workspace_version


def test_the_changelog_begins_with_the_version_of_the_workspace() -> None:
    changelog = releases((ROOT / "CHANGELOG.md").read_text())
    assert changelog[0].version == workspace_version()
    assert current_release() == changelog[0]


def test_the_changelog_lists_every_release_once_with_the_newest_first() -> None:
    changelog = releases((ROOT / "CHANGELOG.md").read_text())
    numbers = [tuple(map(int, version.split("."))) for version, _ in changelog]
    assert numbers == sorted(set(numbers), reverse=True)
    assert [date for _, date in changelog] == sorted((d for _, d in changelog), reverse=True)


def test_every_crate_has_the_version_of_the_workspace() -> None:
    for manifest in ROOT.glob("*/Cargo.toml"):
        package = tomllib.loads(manifest.read_text())["package"]
        assert package["version"] == {"workspace": True}, manifest


def test_the_stack_shows_the_version_of_the_workspace() -> None:
    assert load_template("template")["Outputs"]["Version"]["Value"] == workspace_version()


def test_the_sample_event_has_the_version_of_the_workspace() -> None:
    sample = json.loads((ROOT / "tests" / "events" / "snapshot-published.json").read_text())
    assert sample["frontload"] == workspace_version()


@pytest.mark.parametrize(
    "changelog", ["## [Unreleased]\n", "## [0.0.9] - 2026-01-01\n\n## [1.2.3] - 2025-01-01\n"]
)
def test_another_version_at_the_top_of_the_changelog_is_refused(
    tmp_path: Path, changelog: str
) -> None:
    (tmp_path / "Cargo.toml").write_text('[workspace.package]\nversion = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text(changelog)
    with pytest.raises(ValueError, match=r"Cargo.toml is at 1\.2\.3, CHANGELOG.md begins with"):
        current_release(tmp_path)


def test_unreleased_changes_may_stand_above_the_latest_release(tmp_path: Path) -> None:
    (tmp_path / "Cargo.toml").write_text('[workspace.package]\nversion = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text("## [Unreleased]\n\n## [1.2.3] - 2025-01-02\n")
    assert current_release(tmp_path).date.isoformat() == "2025-01-02T00:00:00+00:00"
