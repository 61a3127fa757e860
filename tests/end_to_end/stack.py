"""The deployed stack: its caches, its executions, and the pushes and events that start them."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from local_cloud import ACCOUNT, ECR_HOST, REGION
from local_cloud.builder_host.containerd_host import check_machine
from local_cloud.builder_host.interface import CapacityError
from local_cloud.cloud import LocalCloud
from local_cloud.ecr_events import Arrival, Event, envelope, pushed
from local_cloud.images import Layout

ROOT = Path(__file__).parents[2]
BUILD_DIR = ROOT / ".aws-sam" / "build"
STACK = "frontload"
PREFIX = "/frontload"
EXECUTION_SECONDS = 120.0
POLL_SECONDS, MOST_POLL_SECONDS = 0.1, 1.0
STARTED_SECONDS = 30.0
UNTAKEN_SECONDS = 5.0

OnPoll = Callable[[], Any]


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Poll until the condition returns something true, and return that.

    The interval grows with the wait, because each poll takes processor time from others. Raises
    TimeoutError, which names `what` was awaited.
    """
    begun = time.monotonic()
    while not (found := condition()):
        waited = time.monotonic() - begun
        if waited > seconds:
            raise TimeoutError(f"{what} did not come within {seconds:.0f} s")
        time.sleep(min(max(POLL_SECONDS, waited / 10), MOST_POLL_SECONDS))
    return found


@contextmanager
def real_cloud(wait_scale: float, settings: dict[str, Any]) -> Iterator[LocalCloud]:
    """A local cloud with the real builder host, for tests.

    Skips the tests where the machine cannot run that host, or fails them when
    FRONTLOAD_REQUIRE_CONTAINERD is set. Fails them when nothing is built.
    """
    try:
        check_machine()
        check_built()
    except CapacityError as error:
        if os.environ.get("FRONTLOAD_REQUIRE_CONTAINERD"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    except FileNotFoundError as error:
        pytest.fail(str(error), pytrace=False)
    with LocalCloud("containerd", wait_scale, settings) as running:
        yield running


def check_built() -> None:
    """Raises FileNotFoundError unless `make build` has been run."""
    if not (BUILD_DIR / "template.yaml").exists():
        raise FileNotFoundError(f"{BUILD_DIR} holds no built application: make build")


def machine_architecture() -> str:
    """Lambda's name of this machine's processor architecture."""
    return "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"


def deploy_home(
    cloud: LocalCloud, stack: str = STACK, built: Path = BUILD_DIR, **overrides: str
) -> None:
    """Deploy the built Frontload to the home account, with these parameters."""
    check_built()
    machine = machine_architecture()
    cloud.deploy(built, {"Architecture": machine, **overrides}, stack)


def held_leases(cloud: LocalCloud) -> list[str]:
    """The cache and architecture of every lease that a build holds."""
    tables = cloud.client("dynamodb")
    names = [one for one in tables.list_tables()["TableNames"] if one.startswith(STACK)]
    items = [item for name in names for item in tables.scan(TableName=name)["Items"]]
    return sorted(item["cacheAndArchitecture"]["S"] for item in items if "heldBy" in item)


@dataclass(frozen=True)
class Execution:
    """An execution that has ended."""

    arn: str
    status: str
    input: dict[str, Any]
    output: dict[str, Any]
    error: str
    cause: str

    @property
    def results(self) -> list[dict[str, Any]]:
        """The result of each build, for a pipeline that built."""
        return [build["result"] for build in self.output["builds"]]


@dataclass(frozen=True)
class Push:
    """A pushed image, and the pipeline's execution that its event started."""

    digest: str
    execution: Execution


@dataclass(frozen=True)
class Answer:
    """A function's response: its result, or its error's name and message."""

    result: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    message: str = ""


class Frontload:
    """The stack in one local cloud. Every wait has a time limit and raises TimeoutError."""

    def __init__(
        self, cloud: LocalCloud, layout: Layout, stack: str = STACK, prefix: str = PREFIX
    ) -> None:
        self._cloud = cloud
        self.prefix = prefix
        self._layout = layout
        self._ssm = cloud.client("ssm")
        self._executions = cloud.client("stepfunctions")
        formation = cloud.client("cloudformation")
        (found,) = formation.describe_stacks(StackName=stack)["Stacks"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in found["Outputs"]}
        self.pipeline = outputs["PipelineStateMachineArn"]
        self.build_machine = outputs["BuildStateMachineArn"]
        resources = formation.describe_stack_resources(StackName=stack)["StackResources"]
        self._ids = {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in resources}
        self._subscribe()

    def resource(self, logical_id: str) -> str:
        """The physical id of a resource of the template."""
        return self._ids[logical_id]

    # Caches

    def put_cache(self, name: str, document: dict[str, Any] | str) -> str:
        """Write a cache document, which may be invalid; returns the parameter's name."""
        text = document if isinstance(document, str) else json.dumps(document)
        parameter = f"{self.prefix}/caches/{name}"
        self._ssm.put_parameter(Name=parameter, Value=text, Type="String", Overwrite=True)
        return parameter

    def delete_cache(self, name: str) -> None:
        """Delete the document; no error when there is none."""
        self._ssm.delete_parameters(Names=[f"{self.prefix}/caches/{name}"])

    # Executions

    def ask(self, **request: Any) -> Execution:
        """Send the pipeline a request as a person does, and wait for the end."""
        started = self._executions.start_execution(
            stateMachineArn=self.pipeline, input=json.dumps(request)
        )
        return self.wait(started["executionArn"])

    def start(self, cache: str) -> str:
        """Ask for a cache as a person does; returns the execution's ARN."""
        answer = self._executions.start_execution(
            stateMachineArn=self.pipeline, input=json.dumps({"cache": cache})
        )
        return answer["executionArn"]

    def run(self, cache: str) -> Execution:
        """Ask for a cache and wait for the end."""
        return self.wait(self.start(cache))

    def wait(self, arn: str, on_poll: OnPoll = lambda: None) -> Execution:
        """Wait for the end of an execution, calling `on_poll` at every poll."""

        def ended() -> dict[str, Any] | None:
            on_poll()
            shown = self._executions.describe_execution(executionArn=arn)
            return shown if shown["status"] != "RUNNING" else None

        shown = wait_until(ended, f"the end of {arn}", EXECUTION_SECONDS)
        return Execution(
            arn,
            shown["status"],
            json.loads(shown["input"]),
            json.loads(shown.get("output") or "{}"),
            shown.get("error") or "",
            shown.get("cause") or "",
        )

    def builds_of(self, pipeline: Execution) -> list[Execution]:
        """The builds that an execution of the pipeline ran."""
        starter = "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID"
        builds = [self.wait(arn) for arn in self.executions(self.build_machine)]
        return [build for build in builds if build.input[starter] == pipeline.arn]

    def facts(self, build: Execution) -> dict[str, Any]:
        """All facts that the steps of a build reported. The last report of a fact wins."""
        told: dict[str, Any] = {}
        for event in self.history(build.arn):
            output = event.get("taskSucceededEventDetails", {}).get("output", "{}")
            told |= json.loads(output).get("Payload", {})
        return told

    def history(self, arn: str) -> list[dict[str, Any]]:
        """The events of an execution, oldest first."""
        pages = self._executions.get_paginator("get_execution_history")
        return [event for page in pages.paginate(executionArn=arn) for event in page["events"]]

    def wait_until_idle(self) -> None:
        """Return when nothing runs any more."""
        for machine in (self.pipeline, self.build_machine):
            for arn in self.executions(machine):
                self.wait(arn)

    def executions(self, machine: str) -> list[str]:
        """ARNs of all executions of a state machine."""
        pages = self._executions.get_paginator("list_executions")
        found = pages.paginate(stateMachineArn=machine)
        return [one["executionArn"] for page in found for one in page["executions"]]

    # What starts the pipeline from outside

    def push(
        self,
        image: str,
        repository: str,
        tag: str,
        on_poll: OnPoll = lambda: None,
        arrival: Arrival = pushed,
    ) -> Push:
        """Push an image of the layout and wait for the execution that its arrival started."""
        digest, arn = self.push_only(image, repository, tag, arrival)
        return Push(digest, self.wait(arn, on_poll))

    def push_only(
        self, image: str, repository: str, tag: str, arrival: Arrival = pushed
    ) -> tuple[str, str]:
        """Push an image; returns its digest and the execution that its arrival started."""
        before = set(self.executions(self.pipeline))
        digest = self._cloud.push(self._layout, image, repository, tag, arrival)

        def is_ours(event: dict[str, Any]) -> bool:
            detail = event.get("detail", {})
            wanted = (repository, tag, digest)
            keys = ("repository-name", "image-tag", "image-digest")
            return tuple(detail.get(key) for key in keys) == wanted

        arn = self._started_by(is_ours, before, f"the execution of the push of {repository}:{tag}")
        return digest, arn

    def manifest(self, digest: str) -> dict[str, Any]:
        """The manifest of an image of the layout."""
        path = self._layout.directory / "blobs" / digest.replace(":", "/")
        return json.loads(path.read_text())

    def send_event(self, detail_type: str, detail: dict[str, Any]) -> Execution:
        """Put an ECR event on the bus and wait for the execution that it started."""
        return self.send_whole_event(envelope(detail_type, detail, ACCOUNT, REGION))

    def send_whole_event(self, event: Event | Path) -> Execution:
        """Put a whole event, or a fixture file, on the bus; it may be of another account.

        Waits for the execution that it started. Raises TimeoutError after UNTAKEN_SECONDS when no
        rule matches: a rule that matches starts its execution at once.
        """
        known = set(self.executions(self.pipeline))
        sent = self._cloud.send_event(event)
        return self.wait(
            self._started_by(
                lambda started: started.get("id") == sent["id"],
                known,
                f"the execution of event {sent['id']}",
                UNTAKEN_SECONDS,
            )
        )

    def run_schedule(self, logical_id: str) -> Execution:
        """Run a schedule of the stack now, and wait for the execution that it started."""
        known = set(self.executions(self.pipeline))
        name = self.resource(logical_id)
        self._cloud.run_schedule(name)
        arn = self._started_by(lambda _: True, known, f"the execution of schedule {name}")
        return self.wait(arn)

    def _started_by(
        self,
        is_ours: Callable[[dict[str, Any]], bool],
        known: set[str],
        what: str,
        seconds: float = STARTED_SECONDS,
    ) -> str:
        def started() -> str | None:
            for arn in self.executions(self.pipeline):
                if arn not in known:
                    known.add(arn)
                    shown = self._executions.describe_execution(executionArn=arn)
                    if is_ours(json.loads(shown["input"])):
                        return arn
            return None

        return wait_until(started, what, seconds)

    # Functions

    def invoke(self, step: str, payload: dict[str, Any]) -> Answer:
        """Call one function by the name of its step, such as `clean_up`."""
        logical = "".join(part.capitalize() for part in step.split("_")) + "Function"
        answer = self._cloud.client("lambda").invoke(
            FunctionName=self._ids[logical], Payload=json.dumps(payload).encode()
        )
        body = json.load(answer["Payload"])
        if "FunctionError" in answer:
            return Answer(error=body["errorType"], message=body["errorMessage"])
        return Answer(result=body)

    # Announcements

    def _subscribe(self) -> None:
        queues, events = self._cloud.client("sqs"), self._cloud.client("events")
        self._queue = queues.create_queue(QueueName="announcements")["QueueUrl"]
        attributes = queues.get_queue_attributes(QueueUrl=self._queue, AttributeNames=["QueueArn"])
        target = {"Id": "queue", "Arn": attributes["Attributes"]["QueueArn"]}
        events.put_rule(Name="announcements", EventPattern=json.dumps({"source": ["frontload"]}))
        events.put_targets(Rule="announcements", Targets=[target])
        self._announced: list[dict[str, Any]] = []

    def announcements(self, cache: str, count: int) -> list[dict[str, Any]]:
        """The events that announce publications of a cache; waits for `count` of them."""

        def arrived() -> list[dict[str, Any]]:
            answer = self._cloud.client("sqs").receive_message(
                QueueUrl=self._queue, MaxNumberOfMessages=10
            )
            # Not deleted: the queue hides what was read, and lives no longer than its readers.
            self._announced += [json.loads(m["Body"]) for m in answer.get("Messages", [])]
            found = [event for event in self._announced if event["detail"]["cache"] == cache]
            return found if len(found) >= count else []

        return wait_until(arrived, f"{count} announcements of cache {cache}")


@dataclass(frozen=True)
class Cache:
    """One test's cache and the repository of its images."""

    frontload: Frontload
    name: str
    architecture: str = "x86_64"

    @property
    def repository(self) -> str:
        """The repository of its images, in ECR and in other registries."""
        return f"team/{self.name}"

    def reference(self, tag: str = "v1") -> str:
        """The reference of an image of its repository in ECR, by tag."""
        return f"{ECR_HOST}/{self.repository}:{tag}"

    def by_digest(self, digest: str) -> str:
        """The reference of an image of its repository in ECR, by digest."""
        return f"{ECR_HOST}/{self.repository}@{digest}"

    def document(self, *references: str, **changes: Any) -> dict[str, Any]:
        """A valid document with these images, by default `v1` of the repository."""
        return {
            "images": list(references) or [self.reference()],
            "architectures": [self.architecture],
            "variant": "aws-k8s-1.35",
            "builder": {"volumeGib": 20},
            "debounce": {"quietSeconds": 1},
            **changes,
        }

    def put(self, *references: str, **changes: Any) -> None:
        """Write `document(...)`."""
        self.frontload.put_cache(self.name, self.document(*references, **changes))

    def push(self, image: str = "app", tag: str = "v1", on_poll: OnPoll = lambda: None) -> Push:
        """Push an image of the layout to the repository and wait for the execution it started."""
        return self.frontload.push(image, self.repository, tag, on_poll)

    @property
    def parameters(self) -> tuple[str, str]:
        """Names of its publication's parameters: snapshot id and manifest."""
        path = f"{self.frontload.prefix}/{self.name}/{self.architecture}"
        return f"{path}/snapshot-id", f"{path}/manifest"
