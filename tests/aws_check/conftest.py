"""Fixtures: one local cloud with the deployed stack, and checks of it."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from end_to_end.conftest import QUICK
from end_to_end.stack import BUILD_DIR, STACK, deploy_home, real_cloud
from local_cloud.cloud import LocalCloud

from tools.aws_check import local
from tools.aws_check.account import Options
from tools.aws_check.progress import Progress
from tools.aws_check.rust import why_stale

from .planting import LIMITS, Checks, PlantedAnswers


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    if stale := why_stale():
        pytest.fail(stale, pytrace=False)
    with real_cloud(0.05, QUICK) as running:
        # These tests assume and change roles, so their grants do not count.
        running.keeps_grants = False
        deploy_home(running, built=BUILD_DIR)
        yield running


@pytest.fixture(scope="module")
def options(cloud: LocalCloud) -> Options:
    return local.local_options(cloud, Options(STACK, BUILD_DIR / "template.yaml"))


@pytest.fixture
def planted(cloud: LocalCloud) -> Iterator[PlantedAnswers]:
    hooks = PlantedAnswers(cloud)
    yield hooks
    hooks.clear()
    cloud.control.clear_faults()


@pytest.fixture
def checks(cloud: LocalCloud, options: Options, planted: PlantedAnswers) -> Checks:
    account = local.local_account(cloud, Progress(io.StringIO()), LIMITS)
    return Checks(cloud, options, account, planted)
