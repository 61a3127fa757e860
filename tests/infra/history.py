"""The previous templates, which a stack is upgraded from.

They are those of the last release (the newest tag `v…` in HEAD's past) if its templates or state
machines differ from the current ones, otherwise those of the last commit where they differ.
Comments make no difference. FRONTLOAD_UPGRADE_FROM names another commit.
"""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from statemachine.asl_definitions import DEFINITIONS, ROOT, TemplateLoader

from .templates import TEMPLATES, Template

DEPLOYED = ("infra", "statemachine")
SECONDS = 60


class HistoryError(Exception):
    """No git history is available; the message says what to do."""


def _git(*arguments: str) -> str:
    # The owner of the clone may be another user than the one who runs the tests.
    command = ["git", "-c", "safe.directory=*", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise HistoryError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


def is_cut_off() -> bool:
    """Whether this is a copy of the files or a shallow clone, without earlier commits."""
    try:
        return _git("rev-parse", "--is-shallow-repository") == "true"
    except HistoryError:
        return True


needs_history = pytest.mark.skipif(
    is_cut_off(), reason="there is no history to upgrade from: git fetch --unshallow --tags"
)


@functools.cache
def previous_commit() -> str:
    """The commit to upgrade from. Raises HistoryError, also when the history is cut off."""
    if wanted := os.environ.get("FRONTLOAD_UPGRADE_FROM"):
        return _git("rev-parse", "--verify", f"{wanted}^{{commit}}")
    if is_cut_off():
        raise HistoryError("the history is cut off: git fetch --unshallow --tags")
    releases = _git("tag", "--list", "v*", "--merged", "HEAD", "--sort=-creatordate")
    changes = _git("log", "--format=%H", "HEAD", "--", *DEPLOYED)
    candidates = [*releases.splitlines()[:1], "HEAD", *(f"{one}^" for one in changes.splitlines())]
    for candidate in candidates:
        if _is_another(candidate):
            return _git("rev-parse", f"{candidate}^{{commit}}")
    raise HistoryError("the templates and state machines have never been others")


def _is_another(commit: str) -> bool:
    """Whether the commit deploys something else than the current files."""
    return any(
        _deployed(_git("show", f"{commit}:{path.relative_to(ROOT)}")) != _deployed(path.read_text())
        for path in (*TEMPLATES.values(), *DEFINITIONS.values())
    )


def _deployed(text: str) -> Any:
    """The resources of a template, or the whole of a definition."""
    read = _read(text)
    return read.get("Resources", read)


def _read(text: str) -> Any:
    """Parse a template or a definition; JSON is YAML, too."""
    return yaml.load(text, Loader=TemplateLoader)


def extract_previous(directory: Path) -> Path:
    """Write infra/ and statemachine/ of the previous commit to the directory; returns it."""
    archive = directory / "previous.tar"
    _git("archive", f"--output={archive}", previous_commit(), *DEPLOYED)
    subprocess.run(
        ["tar", "--extract", "--file", archive, "--directory", directory],
        timeout=SECONDS,
        check=True,
    )
    return directory


def load_previous(name: str) -> Template:
    """A template of the previous commit, short forms read as `{"!Tag": value}`."""
    path = TEMPLATES[name].relative_to(ROOT)
    return _read(_git("show", f"{previous_commit()}:{path}"))
