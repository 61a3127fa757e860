"""The arm64 functions answer every event as the x86_64 ones do.

Both run under the Lambda runtime emulator of aws-sam-cli, arm64's bootstrap under qemu-user. Both
use one local cloud with the scripted builder host. Only arm64 does a step that changes the world.
When the step is ready, both are called once more. A step may be called again, so both must give
the same answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from local_cloud import ACCOUNT, ECR_HOST, REGION
from local_cloud.cloud import LocalCloud
from local_cloud.images import Layer, Layout
from local_cloud.ministack import LAYER_SERVICES
from local_cloud.runtime_emulator import EmulatedFunction, emulated

from tools.release.versions import ROOT

from .conftest import QUICK, Start

EVENTS = {
    path.stem: json.loads(path.read_text()) for path in (ROOT / "tests/events").glob("*.json")
}
EXECUTION = f"arn:aws:states:{REGION}:{ACCOUNT}:execution:frontload-pipeline:release"
TABLE = "leases"
PAUSE_SECONDS = 0.1
MOST_CALLS = 100

Facts = dict[str, Any]
Answers = dict[str, tuple[str, str]]
"""Name of a case -> the raw answers of arm64 and x86_64."""

REQUESTS = {
    "build": "InvalidRequest",
    "ecr-archive": "0 builds",
    "ecr-delete": "0 builds",
    "ecr-pull-through": "0 builds",
    "ecr-pull-through-failed": "0 builds",
    "ecr-push": "4 builds",
    "ecr-push-failed": "0 builds",
    "ecr-push-index": "4 builds",
    "ecr-push-multi-tag-1": "0 builds",
    "ecr-push-multi-tag-2": "0 builds",
    "ecr-push-new-fields": "4 builds",
    "ecr-push-other-account": "0 builds",
    "ecr-push-unknown-repository": "0 builds",
    "ecr-push-untagged": "0 builds",
    "ecr-replication": "4 builds",
    "ecr-replication-failed": "0 builds",
    "ecr-scan": "0 builds",
    "execution-aborted": "0 builds",
    "request-cache": "2 builds",
    "request-caches": "0 builds",
    "request-reconcile": "4 builds",
    "snapshot-published": "InvalidRequest",
}
"""Every file of `tests/events`, and the outcome when the pipeline gets it as a request."""

STEPS: dict[str, Callable[[Facts], dict[str, Any]]] = {
    "claim": lambda facts: {"request": facts["request"], "executionId": EXECUTION},
    "preflight": lambda facts: {"build": facts["build"]},
    "launch": lambda facts: {"build": facts["build"]},
    "pull": lambda facts: {"build": facts["build"], "instanceId": facts["instanceId"]},
    "end": lambda facts: {
        "build": facts["build"],
        "instanceId": facts["instanceId"],
        "volumeId": facts["volumeId"],
    },
    "snapshot": lambda facts: {
        "build": facts["build"],
        "pulled": facts["pulled"],
        "volumeId": facts["volumeId"],
    },
    "replicate": lambda facts: {
        "build": facts["build"],
        "snapshotId": facts["snapshotId"],
        "region": facts["build"]["regions"][0],
    },
    "publish": lambda facts: {
        "build": facts["build"],
        "token": facts["token"],
        "pulled": facts["pulled"],
        "replicas": [facts["replica"]],
    },
    "prune": lambda facts: {"prune": {"cache": facts["build"]["cache"]}},
    "clean_up": lambda facts: {"request": facts["request"], "build": facts["build"]},
}
"""The steps of a build in their order, with the payload that the state machine sends to each."""

FUNCTIONS = ["plan", *STEPS, "rollback", "reap"]
OF_A_REPORT = ("ready", "waitSeconds", "progress")


def outcome(answer: str) -> str:
    """An answer in brief: the error's name, how many builds, or whether it is ready."""
    told = json.loads(answer)
    if "errorType" in told:
        return told["errorType"]
    if "removed" in told:
        return "reaped"
    if "builds" in told:
        return f"{len(told['builds'])} builds"
    return "ready" if told["ready"] else "waiting"


class Pair:
    """One function on both architectures."""

    def __init__(self, arm64: EmulatedFunction, x86_64: EmulatedFunction) -> None:
        self._arm64 = arm64
        self._x86_64 = x86_64

    def ask(self, payload: dict[str, Any]) -> tuple[str, str]:
        """Call arm64, then x86_64; returns both answers."""
        return self._arm64.answer(payload), self._x86_64.answer(payload)

    def settle(self, payload: dict[str, Any]) -> tuple[str, str]:
        """Call arm64 until it is ready or fails, as a state machine would; then `ask` both."""
        waited = 0
        for _ in range(MOST_CALLS):
            answer = self._arm64.answer({**payload, "waitedSeconds": waited})
            if outcome(answer) != "waiting":
                return self.ask({**payload, "waitedSeconds": waited})
            said = json.loads(answer)
            waited += said["waitSeconds"]
            payload |= {name: value for name, value in said.items() if name not in OF_A_REPORT}
            time.sleep(PAUSE_SECONDS)
        raise AssertionError(f"not ready after {MOST_CALLS} calls: {answer}")


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    """Two caches for both architectures, and their image in ECR."""
    with LocalCloud("scripted", settings=QUICK) as running:
        key = "cacheAndArchitecture"
        running.client("dynamodb").create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
        )
        layout = Layout(running.state_dir / "layout")
        layout.add_image("app", [Layer("mixed", "app")], ("x86_64", "arm64"))
        running.push(layout, "app", "team/app", "v1")
        document = {
            "images": [f"{ECR_HOST}/team/app:v1"],
            "architectures": ["x86_64", "arm64"],
            "variant": "aws-k8s-1.35",
            "builder": {"volumeGib": 20},
        }
        for name in ("default", "gpu"):
            running.client("ssm").put_parameter(
                Name=f"/frontload/caches/{name}", Value=json.dumps(document), Type="String"
            )
        yield running


@pytest.fixture(scope="module")
def answers(
    cloud: LocalCloud,
    start: Start,
    tmp_path_factory: pytest.TempPathFactory,
    report_line: Callable[[str], None],
) -> Answers:
    """The answers of every function to every case, on both architectures."""
    directory = tmp_path_factory.mktemp("emulators")
    programs = [start(architecture) for architecture in ("arm64", "x86_64")]

    @contextmanager
    def pair(handler: str) -> Iterator[Pair]:
        arm64, x86_64 = (
            emulated(runner.program, handler, directory / f"{handler}-{number}.log", **aws(cloud))
            for number, runner in enumerate(programs)
        )
        with arm64 as one, x86_64 as other:
            yield Pair(one, other)

    said = ask_everything(pair)
    for runner in programs:
        report_line(
            f"{len(said)} cases of {len(FUNCTIONS)} functions: {runner.how}, runtime emulator"
        )
    return said


def aws(cloud: LocalCloud) -> dict[str, str]:
    """The environment variables by which the functions find AWS and the leases."""
    return {
        "AWS_ENDPOINT_URL": cloud.url,
        **{f"AWS_ENDPOINT_URL_{service}": cloud.layer_url for service in LAYER_SERVICES},
        "FRONTLOAD_LEASE_TABLE": TABLE,
    }


def ask_everything(pair: Callable[[str], Any]) -> Answers:
    """Call `plan` with every file; then make a build, one function after the other."""
    said: Answers = {}
    with pair("plan") as plan:
        for name, event in EVENTS.items():
            request = {"request": event, "executionId": EXECUTION}
            said[f"plan {name}"] = plan.ask(request)
    facts = {"request": json.loads(said["plan request-cache"][0])["builds"][0]}
    for step, payload in STEPS.items():
        with pair(step) as function:
            said[f"{step} ecr-delete"] = function.ask(EVENTS["ecr-delete"])
            said[f"{step} of a build"] = function.settle(payload(facts))
        facts |= json.loads(said[f"{step} of a build"][0])
    with pair("rollback") as function:
        said["rollback ecr-delete"] = function.ask(EVENTS["ecr-delete"])
        rollback = {"cache": "default", "architecture": facts["build"]["architecture"]}
        order = {"rollback": rollback, "executionId": EXECUTION}
        said["rollback of a build"] = function.settle(order)
    with pair("reap") as function:
        said["reap execution-aborted"] = function.ask(EVENTS["execution-aborted"])
    return said


CASES = [
    *[(f"plan {name}", wanted) for name, wanted in REQUESTS.items()],
    *[(f"{step} ecr-delete", "InvalidRequest") for step in (*STEPS, "rollback")],
    *[(f"{step} of a build", "ready") for step in STEPS],
    ("rollback of a build", "NothingToRollBack"),
    ("reap execution-aborted", "reaped"),
]


def test_every_event_and_every_function_has_cases(answers: Answers) -> None:
    assert sorted(answers) == sorted(name for name, _ in CASES)
    assert sorted(EVENTS) == sorted(REQUESTS)


@pytest.mark.parametrize(("case", "wanted"), CASES, ids=[name for name, _ in CASES])
def test_arm64_answers_as_x86_64_does(answers: Answers, case: str, wanted: str) -> None:
    arm64, x86_64 = answers[case]
    assert outcome(arm64) == wanted, arm64
    assert arm64 == x86_64


def test_the_case_table_has_every_function_of_the_program() -> None:
    source = Path(ROOT, "functions", "src", "steps", "mod.rs").read_text()
    assert [name for name in FUNCTIONS if f'"{name}" =>' not in source] == []
    assert source.count('" =>') == len(FUNCTIONS)
