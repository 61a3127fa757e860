"""Fixtures: the release that `make dist` made, and the report of how it ran."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.release.dist import DIST
from tools.release.packages import SUMS

from .emulation import NotHereError, Runner, runner, unpack

QUICK = {
    "instance_running_seconds": 0.1,
    "agent_online_seconds": 0.2,
    "shutting_down_seconds": 0.1,
    "snapshot_seconds": 0.2,
}
REPORT = pytest.StashKey[list[str]]()

Start = Callable[[str], Runner]


def leave_out(why: str) -> None:
    """Skip the test, or fail it if FRONTLOAD_REQUIRE_DIST says that it must run."""
    if os.environ.get("FRONTLOAD_REQUIRE_DIST"):
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


@pytest.fixture(scope="session")
def dist() -> Path:
    """The files of the release."""
    if not (DIST / SUMS).exists():
        leave_out(f"{DIST} holds no release: make dist")
    return DIST


@pytest.fixture(scope="session")
def start(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """A function that returns how to start an architecture's program here."""
    made: dict[str, Runner] = {}

    def prepare(architecture: str) -> Runner:
        if architecture not in made:
            directory = tmp_path_factory.mktemp("programs") / architecture
            bootstrap = unpack(dist / f"bootstrap-{architecture}.zip", directory)
            try:
                made[architecture] = runner(bootstrap, architecture)
            except NotHereError as error:
                leave_out(str(error))
        return made[architecture]

    return prepare


@pytest.fixture(scope="session")
def report_line(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """A function that adds a line to the report at the end: what ran on what."""
    return pytestconfig.stash.setdefault(REPORT, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what ran on what."""
    for line in terminalreporter.config.stash.get(REPORT, []):
        terminalreporter.write_line(f"release: {line}")
