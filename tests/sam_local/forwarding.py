"""Points the Lambda tasks of the deployed state machines at `sam local`.

`sam deploy` deploys the stack as usual. Then `forwarding_function.py` replaces the code of each of
its functions in MiniStack. The state machines stay as they were deployed.
"""

from __future__ import annotations

import io
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from end_to_end.stack import STACK, wait_until
from local_cloud.cloud import LocalCloud

PROGRAM = Path(__file__).with_name("forwarding_function.py")
URL_VARIABLE = "FRONTLOAD_SAM_LOCAL"


@dataclass(frozen=True)
class DeployedFunction:
    """A function as CloudFormation made it."""

    name: str
    variables: dict[str, str]


def deployed_functions(cloud: LocalCloud) -> dict[str, DeployedFunction]:
    """The stack's functions by logical id."""
    resources = cloud.client("cloudformation").describe_stack_resources(StackName=STACK)
    found = {}
    for one in resources["StackResources"]:
        if one["ResourceType"] == "AWS::Lambda::Function":
            name = one["PhysicalResourceId"]
            shown = cloud.client("lambda").get_function_configuration(FunctionName=name)
            found[one["LogicalResourceId"]] = DeployedFunction(
                name, shown["Environment"]["Variables"]
            )
    return found


def package(program: str) -> bytes:
    """A deployment package whose bootstrap is a Python program, run by this Python."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        bootstrap = zipfile.ZipInfo("bootstrap")
        bootstrap.external_attr = 0o755 << 16
        archive.writestr(bootstrap, f"#!{sys.executable}\n{program}")
    return packed.getvalue()


def forward(cloud: LocalCloud, functions: dict[str, DeployedFunction], sam_local: str) -> None:
    """Make every function in MiniStack forward its events to `sam local` at this URL."""
    client = cloud.client("lambda")
    code = package(PROGRAM.read_text())
    for logical_id, function in functions.items():
        url = f"{sam_local}/2015-03-31/functions/{logical_id}/invocations"
        client.update_function_configuration(
            FunctionName=function.name,
            Environment={"Variables": {**function.variables, URL_VARIABLE: url}},
        )
    _await_updates(client, functions)
    for function in functions.values():
        client.update_function_code(FunctionName=function.name, ZipFile=code)
    _await_updates(client, functions)


def _await_updates(client: Any, functions: dict[str, DeployedFunction]) -> None:
    def updated() -> bool:
        shown = [client.get_function_configuration(FunctionName=f.name) for f in functions.values()]
        return all(one["LastUpdateStatus"] == "Successful" for one in shown)

    wait_until(updated, "the update of the functions in MiniStack")
