"""A release deploys from its directory with only `sam deploy`, and builds a snapshot.

Template, state machines and functions are the real ones, on the local cloud. Builder host and
registry are the scripted stand-ins. arm64's functions run under qemu-user on another machine.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from end_to_end.stack import STACK, Cache, Frontload
from local_cloud.cloud import LocalCloud
from local_cloud.ecr_events import EVENT_SOURCE
from local_cloud.images import Layer, Layout

from tools.release.bootstraps import FLAGS
from tools.release.versions import workspace_version

from .conftest import QUICK, Start
from .emulation import Runner

WAIT_SCALE = 0.05


@dataclass(frozen=True)
class DeployedRelease:
    """A release that runs in a local cloud of its own."""

    cloud: LocalCloud
    frontload: Frontload
    runner: Runner


def startable(dist: Path, architecture: str, runner: Runner, directory: Path) -> None:
    """Copy the release; replace its program by the script that starts it here, if it needs one."""
    shutil.copytree(dist, directory)
    package = directory / f"bootstrap-{architecture}.zip"
    if runner.program.name != "bootstrap":
        with zipfile.ZipFile(package, "w") as archive:
            entry = zipfile.ZipInfo("bootstrap")
            entry.external_attr = 0o755 << 16
            archive.writestr(entry, runner.program.read_bytes())


@pytest.fixture(scope="module", params=list(FLAGS))
def deployed(
    request: pytest.FixtureRequest,
    dist: Path,
    start: Start,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[DeployedRelease]:
    """A release that is deployed with neither the sources nor a compiler."""
    architecture, runner = request.param, start(request.param)
    directory = tmp_path_factory.mktemp("release") / architecture
    startable(dist, architecture, runner, directory)
    with LocalCloud("scripted", WAIT_SCALE, QUICK) as cloud:
        overrides = {"EventSource": EVENT_SOURCE}
        cloud.deploy(directory, overrides, STACK, template=f"template-{architecture}.yaml")
        layout = Layout(cloud.state_dir / "layout")
        layout.add_image("app", [Layer("mixed", "app")])
        yield DeployedRelease(cloud, Frontload(cloud, layout), runner)


def test_a_push_is_published_by_the_packaged_functions(
    deployed: DeployedRelease, report_line: Callable[[str], None]
) -> None:
    cache = Cache(deployed.frontload, "released")
    cache.put()
    pushed = cache.push("app").execution
    assert pushed.status == "SUCCEEDED", pushed.cause
    _, manifest_parameter = cache.parameters
    answer = deployed.cloud.client("ssm").get_parameter(Name=manifest_parameter)
    manifest = json.loads(answer["Parameter"]["Value"])
    assert manifest["frontload"] == workspace_version()
    report_line(
        f"a push was published by the packaged functions: {deployed.runner.how}; Runtime API and"
        " state machines of MiniStack, scripted builder host"
    )


def test_the_stack_shows_its_version(deployed: DeployedRelease) -> None:
    (stack,) = deployed.cloud.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
    outputs = {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}
    assert outputs["Version"] == workspace_version()


def test_every_function_has_the_packages_architecture(deployed: DeployedRelease) -> None:
    functions = deployed.cloud.client("lambda").list_functions()["Functions"]
    shown = {re.sub(r"-[^-]*$", "", one["FunctionName"]): one["Architectures"] for one in functions}
    assert len(shown) == 13
    wanted = "arm64" if deployed.runner.how.startswith("arm64") else "x86_64"
    assert set(map(tuple, shown.values())) == {(wanted,)}
