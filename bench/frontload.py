"""Frontload in a local cloud for the benchmarks: deploys it, writes caches and pushes images.

The waits are long enough for builds that take as long as on AWS.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from typing import Any

from local_cloud import ACCOUNT, ECR_HOST
from local_cloud.cloud import LocalCloud
from local_cloud.executions import machine_arns
from local_cloud.images import BUSYBOX, Layer, Layout
from local_cloud.layouts import ARCHITECTURE

from .frame import BUILD, ROOT, BenchError

EXTERNAL_ID = "agreed-12345"
POLL_SECONDS = 0.5
LIMIT_SECONDS = 60.0


def consumer_accounts(count: int) -> list[str]:
    """Account ids other than the home account's."""
    return [f"2109876{number:05}" for number in range(count)]


class Frontload:
    """The deployed stack, and Frontload's role in each of the consumer accounts."""

    def __init__(self, cloud: LocalCloud, accounts: Sequence[str]) -> None:
        self.cloud = cloud
        if not (BUILD / "template.yaml").exists():
            raise BenchError(f"{BUILD} holds no built application: make build")
        cloud.deploy(BUILD, {"Architecture": ARCHITECTURE, "ConsumerExternalId": EXTERNAL_ID})
        role = {"FrontloadAccount": ACCOUNT, "ExternalId": EXTERNAL_ID}
        template = (ROOT / "infra" / "consumer.yaml").read_text()
        for account in accounts:
            # Not with sam, which takes seconds for each account; the template is the same.
            cloud.client("cloudformation", account=account).create_stack(
                StackName="frontload-consumer",
                TemplateBody=template,
                Capabilities=["CAPABILITY_NAMED_IAM"],
                Parameters=[
                    {"ParameterKey": name, "ParameterValue": value} for name, value in role.items()
                ],
            )
        self._executions = cloud.client("stepfunctions")
        self._pipeline, self.build_machine = machine_arns(self._executions)
        self._layout = Layout(cloud.state_dir / "layout")
        self._images: set[str] = set()
        self._making = threading.Lock()

    def prepare(self, image: str, repositories: Sequence[str]) -> None:
        """Push an image to repositories that no cache has yet.

        Waits for the executions that the events start: they would find a cache that is written
        meanwhile.
        """
        known = set(self.pipelines())
        digests = [(self.push(repository, image), repository) for repository in repositories]
        for digest, repository in digests:
            self.wait(self.started_by(digest, repository, known), LIMIT_SECONDS)

    def put_cache(self, name: str, images: Sequence[str], **more: Any) -> None:
        """Write a cache's document; `images` are repositories, each with the tag v1."""
        document = {
            "images": [f"{ECR_HOST}/{repository}:v1" for repository in images],
            "architectures": [ARCHITECTURE],
            "variant": "aws-k8s-1.35",
            "builder": {"volumeGib": 20},
            "debounce": {"quietSeconds": 0},
            **more,
        }
        self.cloud.client("ssm").put_parameter(
            Name=f"/frontload/caches/{name}",
            Value=json.dumps(document),
            Type="String",
            Tier="Intelligent-Tiering",
            Overwrite=True,
        )

    def push(self, repository: str, image: str) -> str:
        """Push an image as v1 of a repository, made on first use; returns its digest."""
        with self._making:
            if image not in self._images:
                self._layout.add_image(image, [BUSYBOX, Layer("random", image, 1)])
                self._images.add(image)
        return self.cloud.push(self._layout, image, repository, "v1")

    def pipelines(self) -> list[str]:
        """ARNs of all executions of the pipeline, newest first."""
        pages = self._executions.get_paginator("list_executions")
        found = pages.paginate(stateMachineArn=self._pipeline)
        return [one["executionArn"] for page in found for one in page["executions"]]

    def started_by(self, digest: str, repository: str, known: set[str]) -> str:
        """The ARN of the execution that a push started; skips the executions in `known`.

        Raises BenchError when none appears within 30 s.
        """
        end = time.monotonic() + 30
        while time.monotonic() < end:
            for arn in set(self.pipelines()) - known:
                shown = self._executions.describe_execution(executionArn=arn)
                detail = json.loads(shown["input"]).get("detail", {})
                if (detail.get("image-digest"), detail.get("repository-name")) == (
                    digest,
                    repository,
                ):
                    return arn
            time.sleep(POLL_SECONDS)
        raise BenchError(f"the push to {repository} started no execution")

    def ask(self, request: dict[str, Any]) -> tuple[str, str]:
        """The error and cause with which the pipeline refuses a request, empty if it accepts it.

        Raises BenchError when the execution takes longer than a minute.
        """
        arn = self._executions.start_execution(
            stateMachineArn=self._pipeline, input=json.dumps(request)
        )["executionArn"]
        end = time.monotonic() + LIMIT_SECONDS
        while time.monotonic() < end:
            shown = self._executions.describe_execution(executionArn=arn)
            if shown["status"] != "RUNNING":
                return shown.get("error") or "", shown.get("cause") or ""
            time.sleep(POLL_SECONDS)
        raise BenchError(f"{arn} did not end within {LIMIT_SECONDS:.0f} s")

    def wait(self, arn: str, seconds: float) -> dict[str, Any]:
        """Wait for an execution and return its output.

        Raises BenchError when it does not succeed, or does not end within `seconds`.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            shown = self._executions.describe_execution(executionArn=arn)
            if shown["status"] == "SUCCEEDED":
                return json.loads(shown["output"])
            if shown["status"] != "RUNNING":
                raise BenchError(f"{arn} {shown['status']}: {shown.get('cause')}")
            time.sleep(POLL_SECONDS)
        raise BenchError(f"{arn} did not end within {seconds:.0f} s")

    def entered(self, build: str) -> dict[str, float]:
        """When a build first entered each of its states, as Unix time; a Map is one state."""
        arn = f"{self.build_machine.replace(':stateMachine:', ':execution:')}:{build}"
        pages = self._executions.get_paginator("get_execution_history")
        events = [event for page in pages.paginate(executionArn=arn) for event in page["events"]]
        times: dict[str, float] = {}
        for event in events:
            if "stateEnteredEventDetails" in event:
                name = event["stateEnteredEventDetails"]["name"]
                times.setdefault(name, event["timestamp"].timestamp())
        return times
