"""Checks that CloudFormation accepts the built template, and that the stack exists."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from .account import Account, Options
from .created import OBJECTS, CreatedResources
from .table import Answer, CheckError, Question, Skipped, Table

LARGEST_BODY = 51_200
"""The most bytes that CloudFormation takes without S3 (its API reference, `TemplateBody`)."""
STACK = Question(
    "stack",
    "cloudformation:DescribeStacks, cloudformation:ListStackResources",
    "The roles and the instance profile below are those of this stack.",
    "There is no deployed stack to be checked. Deploy it, or name another with --stack.",
)
TEMPLATE = Question(
    "template",
    "cloudformation:ValidateTemplate of the built template",
    "CloudFormation can read the template.",
    "`sam deploy` would be refused with the same words.",
)


def ask_stack(account: Account, options: Options, table: Table) -> Stack | None:
    """Ask the row of the stack; returns the stack, or None."""
    return table.ask(STACK, lambda: _find_stack(account, options.stack))


class Stack:
    """A deployed Frontload."""

    def __init__(self, name: str, described: dict[str, Any], ids: dict[str, str]) -> None:
        self.name = name
        self.ids = ids
        """The physical ids of the template's resources, by their logical id."""
        self.outputs = _pairs(described, "Outputs", "Output")
        self.parameters = _pairs(described, "Parameters", "Parameter")

    @property
    def profile(self) -> str:
        """The builders' instance profile."""
        return self.outputs["BuilderInstanceProfileName"]

    @property
    def prefix(self) -> str:
        """The path in Parameter Store."""
        return self.outputs["ParameterPrefix"]


def _pairs(described: dict[str, Any], field: str, name: str) -> dict[str, str]:
    return {one[f"{name}Key"]: one.get(f"{name}Value", "") for one in described.get(field, [])}


def _find_stack(account: Account, name: str) -> Answer:
    formation = account.client("cloudformation")
    (described,) = formation.describe_stacks(StackName=name)["Stacks"]
    status = described["StackStatus"]
    if not status.endswith("_COMPLETE") or status.startswith(("DELETE", "ROLLBACK")):
        raise CheckError(f"stack {name} is {status}")
    pages = formation.get_paginator("list_stack_resources").paginate(StackName=name)
    ids = {
        one["LogicalResourceId"]: one.get("PhysicalResourceId", "")
        for page in pages
        for one in page["StackResourceSummaries"]
    }
    stack = Stack(name, described, ids)
    if lacking := {"BuilderInstanceProfileName", "ParameterPrefix"} - set(stack.outputs):
        raise CheckError(f"stack {name} has no output {', '.join(sorted(lacking))}")
    version = stack.outputs.get("Version", "?")
    return Answer(f"{status}, version {version}, {len(ids)} resources", stack)


def ask_template(
    account: Account, options: Options, table: Table, created: CreatedResources
) -> None:
    """Ask the row of the template."""
    table.ask(TEMPLATE, lambda: _validate(account, options, created))


def _validate(account: Account, options: Options, created: CreatedResources) -> Answer:
    if not options.template.exists():
        raise Skipped(f"{options.template} does not exist", "Build it with `make build`.")
    body = options.template.read_bytes()
    formation = account.client("cloudformation")
    if len(body) <= LARGEST_BODY:
        answer = formation.validate_template(TemplateBody=body.decode())
    elif options.template_bucket is None:
        raise Skipped(
            f"the template has {len(body):,} bytes, and more than {LARGEST_BODY:,} must come from "
            "S3",
            "Name a bucket of this region with --template-bucket; the template is put there under "
            f"{OBJECTS}/ and deleted again.",
        )
    else:
        url = _put_template(account, options.template_bucket, body, created)
        answer = formation.validate_template(TemplateURL=url)
    needs = ", ".join(answer.get("Capabilities", [])) or "no capabilities"
    count = len(answer.get("Parameters", []))
    return Answer(f"valid: {len(body):,} bytes, {count} parameters, needs {needs}")


def _put_template(account: Account, bucket: str, body: bytes, created: CreatedResources) -> str:
    key = f"{OBJECTS}/{account.run}/template.yaml"
    s3 = account.client("s3")
    created.note("object", key)
    try:
        s3.put_object(Bucket=bucket, Key=key, Body=body)
    except ClientError as error:
        told = error.response["Error"]
        raise CheckError(f"the template could not be put into {bucket}: {told['Code']}") from error
    return f"{s3.meta.endpoint_url}/{bucket}/{key}"
