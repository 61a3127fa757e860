"""Both state machines deployed to MiniStack, with stand-ins for the Lambdas."""

import io
import json
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from .asl_definitions import fill_definition

EXECUTION_LIMIT_SECONDS = 60
STEPS = (
    *("plan", "claim", "preflight", "launch", "pull", "end", "snapshot", "replicate", "publish"),
    *("prune", "clean_up", "rollback"),
)
STAND_IN = Path(__file__).with_name("step_stand_in.py")
ROLE = "arn:aws:iam::123456789012:role/state-machine"


@dataclass
class ExecutionResult:
    """How one execution ended."""

    status: str
    output: Any
    error: str
    cause: str


class Machines:
    """The two deployed state machines, and the reports of their stand-in Lambdas.

    `evaluations` is the log that recording_ministack.py writes; it may not exist yet.
    """

    def __init__(self, endpoint: str, directory: Path) -> None:
        self._directory = directory
        self.evaluations = directory / "evaluations.jsonl"
        session = boto3.Session("123456789012", "test", region_name="us-east-1")
        self._lambda = session.client("lambda", endpoint_url=endpoint)
        self._states = session.client("stepfunctions", endpoint_url=endpoint)
        values = {"Partition": "aws"} | self._create_stand_ins()
        self._arns = {"build": self._create("build", values)}
        values["BuildStateMachineArn"] = self._arns["build"]
        self._arns["pipeline"] = self._create("pipeline", values)

    def record(self, reports: dict[str, list[Any]]) -> None:
        """Sets the reports of the stand-ins and deletes the record of calls."""
        (self._directory / "reports.json").write_text(json.dumps(reports))
        (self._directory / "calls.jsonl").write_text("")

    def calls(self, build: str | None = None) -> list[dict[str, Any]]:
        """Every call of a stand-in since `record`, oldest first."""
        lines = (self._directory / "calls.jsonl").read_text().splitlines()
        calls = [json.loads(line) for line in lines]
        return [call for call in calls if build is None or call["build"] == build]

    def steps(self, build: str | None = None) -> list[str]:
        return [call["step"] for call in self.calls(build)]

    def start(self, machine: str, document: Any, failure: str = "") -> str:
        """Starts an execution and returns its ARN.

        `failure` names a case of aws_failures.json that replaces what its Tasks do.
        """
        arn = self._arns[machine] + (f"#{failure}" if failure else "")
        started = self._states.start_execution(stateMachineArn=arn, input=json.dumps(document))
        return started["executionArn"]

    def wait(self, execution: str) -> ExecutionResult:
        """Waits until the execution has ended, at most EXECUTION_LIMIT_SECONDS."""
        deadline = time.monotonic() + EXECUTION_LIMIT_SECONDS
        while time.monotonic() < deadline:
            told = self._states.describe_execution(executionArn=execution)
            if told["status"] != "RUNNING":
                succeeded = told["status"] == "SUCCEEDED"
                output = json.loads(told["output"]) if succeeded else None
                return ExecutionResult(
                    told["status"], output, told.get("error", ""), told.get("cause", "")
                )
            time.sleep(0.05)
        raise TimeoutError(f"{execution} still runs after {EXECUTION_LIMIT_SECONDS} s")

    def run(self, machine: str, document: Any, failure: str = "") -> ExecutionResult:
        return self.wait(self.start(machine, document, failure))

    def _create_stand_ins(self) -> dict[str, str]:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            bootstrap = zipfile.ZipInfo("bootstrap")
            bootstrap.external_attr = 0o755 << 16
            archive.writestr(bootstrap, f"#!{sys.executable}\n{STAND_IN.read_text()}")
        values = {}
        for step in STEPS:
            made = self._lambda.create_function(
                FunctionName=f"stand-in-{step}",
                Runtime="provided.al2023",
                Role=ROLE,
                Handler=step,
                Code={"ZipFile": packed.getvalue()},
                Timeout=30,
                Environment={"Variables": {"FRONTLOAD_STAND_IN_DIR": str(self._directory)}},
            )
            camel = "".join(word.capitalize() for word in step.split("_"))
            values[f"{camel}FunctionArn"] = made["FunctionArn"]
        return values

    def _create(self, name: str, values: dict[str, str]) -> str:
        made = self._states.create_state_machine(
            name=name, definition=fill_definition(name, values), roleArn=ROLE
        )
        return made["stateMachineArn"]
