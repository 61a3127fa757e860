"""Harmless real calls: Frontload relies on their answers, and no dry run gives them."""

from __future__ import annotations

import json

from .account import Account, Options
from .created import PARAMETERS, TAG, CreatedResources
from .rust import Os
from .table import Answer, CheckError, Question, Table

LABEL, VALUE = "current", "of version 1"
LABELLED = Question(
    "parameter by label",
    f"ssm:PutParameter twice, LabelParameterVersion, GetParameter of <name>:{LABEL}, and deleted",
    "Consumers can read a publication by its label, and Frontload its own.",
    "What is published cannot be read or moved as Frontload does it.",
)
RELEASE = Question(
    "Bottlerocket's parameters",
    "ssm:GetParameter of image_id and image_version under /aws/service/bottlerocket",
    "Frontload finds the newest Bottlerocket of this variant.",
    "Every build of this variant fails before anything is launched. Try another --variant.",
)
EVENT = Question(
    "event",
    "events:PutEvents of one event from frontload.check, which no rule waits for",
    "Publications can be announced on the default bus.",
    "A publication succeeds, and nobody is told of it.",
)
AGENTS = Question(
    "agents of SSM",
    "ssm:DescribeInstanceInformation",
    "Frontload can see which builders are online.",
    "A builder is never seen online, and every build fails in the step LaunchBuilder.",
)


def ask_calls(
    account: Account, options: Options, table: Table, created: CreatedResources
) -> Os | None:
    """Ask the rows of these calls; returns the newest Bottlerocket, or None."""
    table.ask(LABELLED, lambda: _labelled(account, created))
    os = table.ask(RELEASE, lambda: _release(account, options))
    table.ask(EVENT, lambda: _event(account))
    table.ask(AGENTS, lambda: _agents(account))
    return os


def _labelled(account: Account, created: CreatedResources) -> Answer:
    name = f"{PARAMETERS}/{account.run}/parameter"
    created.note("parameter", name)
    ssm = account.ssm
    ssm.put_parameter(
        Name=name, Value=VALUE, Type="String", Tags=[{"Key": TAG, "Value": account.run}]
    )
    ssm.label_parameter_version(Name=name, ParameterVersion=1, Labels=[LABEL])
    ssm.put_parameter(Name=name, Value="of version 2", Type="String", Overwrite=True)
    found = ssm.get_parameter(Name=f"{name}:{LABEL}")["Parameter"]
    if (found["Version"], found["Value"]) != (1, VALUE):
        raise CheckError(f"the label names version {found['Version']}, and was given to version 1")
    ssm.delete_parameter(Name=name)
    return Answer("the labelled version 1, although version 2 is newer")


def _release(account: Account, options: Options) -> Answer:
    path = f"/aws/service/bottlerocket/{options.variant}/{options.architecture}/latest"
    image, version = (
        account.ssm.get_parameter(Name=f"{path}/{name}")["Parameter"]["Value"]
        for name in ("image_id", "image_version")
    )
    return Answer(f"{options.variant} {version} is {image}", Os(image, version))


def _event(account: Account) -> Answer:
    return Answer(f"event {put_event(account, account.run)} is taken")


def put_event(account: Account, run: str) -> str:
    """Put an event of a run on the default bus; returns its id. Raises CheckError if refused."""
    entry = {
        "Source": "frontload.check",
        "DetailType": "Frontload Check",
        "Detail": json.dumps({"run": run}),
        "EventBusName": "default",
    }
    (result,) = account.client("events").put_events(Entries=[entry])["Entries"]
    if "EventId" not in result:
        raise CheckError(f"{result.get('ErrorCode')}: {result.get('ErrorMessage')}")
    return result["EventId"]


def _agents(account: Account) -> Answer:
    listed = account.ssm.describe_instance_information(MaxResults=10)
    count = len(listed["InstanceInformationList"])
    return Answer(f"{'10 or more' if count > 9 else count} instances with an agent")
