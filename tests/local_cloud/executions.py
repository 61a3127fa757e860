"""Shows a person the progress of a pipeline execution and of the builds that it starts.

The source is Step Functions' history, so it shows what the state machines did.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

POLL_SECONDS = 0.25
ENDED = ("SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED")


@dataclass(frozen=True)
class Moment:
    """Where an execution is: the name of its state and the text of the last report."""

    state: str
    progress: str

    def __str__(self) -> str:
        return f"{self.state}: {self.progress}" if self.progress else self.state


def machine_arns(sfn: Any) -> tuple[str, str]:
    """The ARNs of the pipeline's and the build's state machine."""
    machines = {m["name"].lower(): m["stateMachineArn"] for m in _list_machines(sfn)}
    pipeline = next(arn for name, arn in machines.items() if "pipeline" in name)
    build = next(arn for name, arn in machines.items() if "build" in name)
    return pipeline, build


def _list_machines(sfn: Any) -> list[dict[str, Any]]:
    return sfn.list_state_machines()["stateMachines"]


def find_execution(sfn: Any, machine: str, digest: str, tag: str, seconds: float) -> str:
    """The ARN of the execution that the push of this digest under this tag started.

    Raises TimeoutError when there is none after `seconds`.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for execution in sfn.list_executions(stateMachineArn=machine)["executions"]:
            arn = execution["executionArn"]
            event = json.loads(sfn.describe_execution(executionArn=arn)["input"])
            detail = event.get("detail", {})
            if (detail.get("image-digest"), detail.get("image-tag")) == (digest, tag):
                return arn
        time.sleep(POLL_SECONDS)
    raise TimeoutError(f"the push of {tag} ({digest}) started no execution in {seconds:.0f} s")


def watch(sfn: Any, arn: str, build_machine: str, seconds: float) -> Iterator[list[Moment]]:
    """At each poll, yields where the execution and its running builds are, until it has ended.

    Raises TimeoutError when it has not ended after `seconds`.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield [_moment(sfn, one) for one in [arn, *_running(sfn, build_machine)]]
        if sfn.describe_execution(executionArn=arn)["status"] in ENDED:
            return
        time.sleep(POLL_SECONDS)
    raise TimeoutError(f"execution {arn} did not end in {seconds:.0f} s")


def _running(sfn: Any, machine: str) -> list[str]:
    found = sfn.list_executions(stateMachineArn=machine, statusFilter="RUNNING")
    return [execution["executionArn"] for execution in found["executions"]]


def _moment(sfn: Any, arn: str) -> Moment:
    events = sfn.get_execution_history(executionArn=arn, maxResults=1000)["events"]
    entered = [e["stateEnteredEventDetails"] for e in events if "stateEnteredEventDetails" in e]
    left = [e["stateExitedEventDetails"] for e in events if "stateExitedEventDetails" in e]
    # The states between two calls of a step are internal to the machine.
    steps = [e for e in entered if not e["name"].startswith(("Is", "Are", "Await"))]
    progress = json.loads(left[-1].get("output") or "{}") if left else {}
    report = progress.get("Payload", {}) if isinstance(progress, dict) else {}
    return Moment(steps[-1]["name"] if steps else "starting", report.get("progress", ""))
