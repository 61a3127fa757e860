"""Fixtures for the whole run: a local cloud, and in front of it `sam local` with every function.

The state machines call `sam local`. The report is written at the end of the run.
"""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from end_to_end.conftest import QUICK, WAIT_SCALE
from end_to_end.inspector import Inspector
from end_to_end.stack import BUILD_DIR, ROOT, Cache, Frontload, deploy_home, real_cloud
from local_cloud.cloud import LocalCloud
from local_cloud.images import BUSYBOX, Layer, Layout
from local_cloud.janitor import Janitor
from local_cloud.ministack import LAYER_SERVICES

from .base_image import Base, find_base, remove_stand_in
from .docker_engine import Docker, Network, find_docker, own_network
from .forwarding import DeployedFunction, deployed_functions, forward
from .relay import relayed
from .report import Report
from .service import SamLocal, Setting, describe_emulator, native_architecture, sam_local

LOGS = ROOT / "target" / "sam-local"
EVENTS = ROOT / "tests" / "events"
REPORT = pytest.StashKey[Report]()
BEGUN = time.monotonic()
_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPORT] = Report(native_architecture())


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Report:
    return pytestconfig.stash[REPORT]


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """A function that prints what takes long, although pytest captures output."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def print_line(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n[{time.monotonic() - BEGUN:5.1f} s] {line}", end="", flush=True)

    return print_line


@pytest.fixture(scope="session")
def logs() -> Path:
    """The directory that keeps the logs of `sam local` and dockerd."""
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    return LOGS


@pytest.fixture(scope="session")
def directory() -> Iterator[tuple[Path, Callable[[int], None]]]:
    """A directory with a name short enough for a socket in it, and the janitor's `watch`.

    `watch` takes the id of a process that must not outlive this one.
    """
    made = Path(tempfile.mkdtemp(prefix="frontload-docker-"))
    janitor = Janitor(made)
    yield made, janitor.watch
    janitor.finish()


@pytest.fixture(scope="session")
def docker(
    directory: tuple[Path, Callable[[int], None]],
    logs: Path,
    say: Callable[[str], None],
    report: Report,
) -> Iterator[Docker]:
    with find_docker(directory[0], logs, directory[1], say) as found:
        report.docker = found.describe()
        yield found


@pytest.fixture(scope="session")
def base(docker: Docker, say: Callable[[str], None], report: Report) -> Iterator[Base]:
    found = find_base(docker, native_architecture(), say)
    say(f"base image: {found}")
    kind = "stand-in" if found.is_stand_in else "AWS"
    report.base = {"kind": kind, "image": found.image, "shown": str(found)}
    yield found
    if found.is_stand_in:
        remove_stand_in(docker)


@pytest.fixture(scope="session")
def network(docker: Docker) -> Iterator[Network]:
    with own_network(docker) as made:
        yield made


@pytest.fixture(scope="session")
def cloud(say: Callable[[str], None], report: Report) -> Iterator[LocalCloud]:
    say("starting the local cloud, and deploying the stack with sam")
    with real_cloud(WAIT_SCALE, QUICK) as running:
        deploy_home(running)
        report.cloud = {
            "EC2, SSM, ECR, KMS, STS": f"moto {version('moto')} with our own layer",
            "Step Functions and others": f"MiniStack {version('ministack')}",
            "Lambda": "sam local; MiniStack's functions are stand-ins that forward to it",
        }
        yield running


@pytest.fixture(scope="session")
def deployed(cloud: LocalCloud) -> dict[str, DeployedFunction]:
    """The stack's functions as CloudFormation made them."""
    return deployed_functions(cloud)


@pytest.fixture(scope="session")
def sam(
    cloud: LocalCloud,
    deployed: dict[str, DeployedFunction],
    docker: Docker,
    base: Base,
    network: Network,
    directory: tuple[Path, Callable[[int], None]],
    logs: Path,
    say: Callable[[str], None],
    report: Report,
) -> Iterator[SamLocal]:
    """`sam local` with a container for every function; they reach the local cloud by relays."""
    report.emulator = describe_emulator()
    with ExitStack() as stack:
        ministack, layer = (
            stack.enter_context(relayed(network.gateway, int(url.rpartition(":")[2]))).url
            for url in (cloud.url, cloud.layer_url)
        )
        endpoints = {f"AWS_ENDPOINT_URL_{service}": layer for service in LAYER_SERVICES}
        setting = Setting(
            BUILD_DIR,
            docker,
            network,
            base,
            {logical_id: function.variables for logical_id, function in deployed.items()},
            {"AWS_ENDPOINT_URL": ministack, **endpoints},
        )
        say(f"starting sam local with {len(deployed)} containers")
        running = stack.enter_context(sam_local(setting, directory[0], logs, directory[1]))
        say("sam local is ready")
        yield running
        report.calls = dict(running.calls())


@pytest.fixture(scope="session")
def layout(cloud: LocalCloud) -> Layout:
    """Two images that start: `app` and `other`."""
    made = Layout(cloud.state_dir / "layout")
    base = [BUSYBOX, Layer("mixed", "base", 2)]
    made.add_image("app", [*base, Layer("random", "app", 1)])
    made.add_image("other", [*base, Layer("random", "other", 1)])
    return made


@pytest.fixture(scope="session")
def frontload(
    cloud: LocalCloud, deployed: dict[str, DeployedFunction], sam: SamLocal, layout: Layout
) -> Frontload:
    """The state machines; `sam local` answers their Lambda tasks."""
    forward(cloud, deployed, sam.url)
    return Frontload(cloud, layout)


@pytest.fixture
def inspector(cloud: LocalCloud) -> Inspector:
    return Inspector(cloud)


@pytest.fixture
def cache(cloud: LocalCloud, frontload: Frontload) -> Iterator[Cache]:
    """A test's own cache, without a document; afterwards nothing runs and no fault is planted."""
    made = Cache(frontload, f"sam-local-{next(_numbers)}")
    yield made
    try:
        frontload.wait_until_idle()
    finally:
        cloud.control.clear_faults()
        frontload.delete_cache(made.name)


def read_event(name: str) -> Any:
    """An event of `tests/events`, such as `ecr-push` or `steps/claim`."""
    return json.loads((EVENTS / f"{name}.json").read_text())


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Write the report; print it if containers ran something."""
    told = config.stash[REPORT]
    outcomes = ("passed", "failed", "error", "skipped")
    told.tests = {name: len(terminalreporter.stats.get(name, [])) for name in outcomes}
    told.seconds = round(time.monotonic() - BEGUN, 1)
    told.write(LOGS / "report.json")
    if told.calls:
        terminalreporter.section("what was run on what")
        for line in told.lines():
            terminalreporter.write_line(line)
        terminalreporter.write_line(f"report: {(LOGS / 'report.json').relative_to(ROOT)}")
