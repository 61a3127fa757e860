"""`sam local start-lambda`: the functions of the built template, each in a container of its own."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import yaml
from end_to_end.stack import Answer
from local_cloud import ACCOUNT, REGION
from local_cloud.clients import make_client
from local_cloud.deploy import find_sam
from local_cloud.processes import (
    Process,
    StartError,
    accepts_connections,
    clean_environment,
    free_ports,
)

from .base_image import Base
from .docker_engine import Docker, Network

READY_SECONDS = 90.0
START_ATTEMPTS = 3
# sam writes this before it passes an event to a container.
INVOKED = re.compile(r"Invoking (\w+) \(provided\.al2023\)")
Template = dict[str, Any]


def native_architecture() -> str:
    """Lambda's name of this machine's architecture."""
    return "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"


def functions_of(template: Template) -> dict[str, str]:
    """Handler -> logical id of every function of a SAM template."""
    return {
        resource["Properties"]["Handler"]: logical_id
        for logical_id, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }


def prepare_template(template: Template, directory: Path, names: list[str]) -> Template:
    """Prepare the template that `sam build` put into `directory` for `sam local`.

    The result can be read from anywhere, and declares the environment variables `names`:
    `sam local` sets only variables that the template declares.
    """
    prepared = json.loads(json.dumps(template))
    for logical_id in functions_of(prepared).values():
        properties = prepared["Resources"][logical_id]["Properties"]
        properties["CodeUri"] = str(directory / properties["CodeUri"])
        variables = properties.setdefault("Environment", {}).setdefault("Variables", {})
        variables |= dict.fromkeys(names, "")
    return prepared


def describe_emulator() -> dict[str, str]:
    """The Lambda runtime emulator that sam puts into the containers, for the report."""
    wheel = Path(find_sam()).resolve().parent.parent
    (packages,) = wheel.glob("lib/python*/site-packages")
    (sam,) = (d for d in distributions(path=[str(packages)]) if d.name == "aws-sam-cli")
    program = packages / f"samcli/local/rapid/aws-lambda-rie-{native_architecture()}"
    digest = hashlib.sha256(program.read_bytes()).hexdigest()
    return {"sam": sam.version, "program": program.name, "sha256": digest}


@dataclass(frozen=True)
class Setting:
    """What `sam local` runs on, and the environment variables of the functions.

    `deployed` are the variables that CloudFormation gave to each function, by logical id.
    `endpoints` are those of the local cloud.
    """

    build: Path
    docker: Docker
    network: Network
    base: Base
    deployed: dict[str, dict[str, str]]
    endpoints: dict[str, str]


class SamLocal:
    """A running `sam local start-lambda`, called by an AWS SDK."""

    def __init__(self, url: str, functions: dict[str, str], process: Process) -> None:
        self.url = url
        self.functions = functions
        """Handler -> logical id."""
        self.client = make_client("lambda", url, ACCOUNT, attempts=1)
        self._process = process

    def invoke(self, handler: str, payload: Any) -> Answer:
        """Call a function and wait for its answer."""
        answer = self.client.invoke(
            FunctionName=self.functions[handler], Payload=json.dumps(payload).encode()
        )
        body = json.load(answer["Payload"])
        if "FunctionError" in answer:
            return Answer(error=body["errorType"], message=body["errorMessage"])
        return Answer(result=body)

    def calls(self) -> Counter[str]:
        """How often each handler was called so far, by any caller."""
        return Counter(INVOKED.findall(self._process.log.read_text(errors="replace")))


@contextmanager
def sam_local(
    setting: Setting, directory: Path, logs: Path, watch: Callable[[int], None]
) -> Iterator[SamLocal]:
    """Run it with a ready container for every function. Raises StartError if it does not start."""
    template = yaml.safe_load((setting.build / "template.yaml").read_text())
    prepared, variables = directory / "template.json", directory / "variables.json"
    names = sorted(setting.endpoints)
    prepared.write_text(json.dumps(prepare_template(template, setting.build, names)))
    variables.write_text(json.dumps({"Parameters": setting.endpoints, **setting.deployed}))
    (port,) = free_ports(1)
    environment = clean_environment(
        directory,
        SAM_CLI_TELEMETRY="0",
        AWS_ACCESS_KEY_ID=ACCOUNT,
        AWS_SECRET_ACCESS_KEY="local",
        AWS_DEFAULT_REGION=REGION,
        **setting.docker.environment(),
    )
    command = [
        *(find_sam(), "local", "start-lambda"),
        *("--template-file", str(prepared), "--env-vars", str(variables)),
        *("--parameter-overrides", f"Architecture={native_architecture()}"),
        *("--host", "127.0.0.1", "--port", str(port), "--region", REGION),
        *("--docker-network", setting.network.name, "--warm-containers", "EAGER", "--no-watch"),
        *setting.base.sam_options,
    ]
    process = _start(command, environment, logs / "sam.log", watch, port)
    try:
        yield SamLocal(f"http://127.0.0.1:{port}", functions_of(template), process)
    finally:
        process.stop()


def _start(
    command: list[str],
    environment: dict[str, str],
    log: Path,
    watch: Callable[[int], None],
    port: int,
    attempts: int = START_ATTEMPTS,
) -> Process:
    """Start the process, and return it when it listens. Raises StartError after `attempts` tries.

    sam draws one of 4,000 ports for each container and does not reserve it. So in one start of 70,
    two of eleven containers draw the same port.
    """
    process = Process("sam local start-lambda", command, environment, log)
    try:
        watch(process.pid)
        process.wait_until_ready(lambda: accepts_connections(port), READY_SECONDS)
        return process
    except BaseException as error:
        process.stop()
        if not isinstance(error, StartError) or attempts == 1:
            raise
    return _start(command, environment, log, watch, port, attempts - 1)
