"""What an upgrade must leave as it was; each rule compares two templates, returns its complaints.

It is looked at in the templates, since no emulator can be trusted to replace what AWS replaces.
"""

from __future__ import annotations

import json
import re
from typing import Any

from .templates import Template

# What keeps state, and what people name elsewhere: in policies, key policies, alarms, bookmarks.
# A change of one of these properties makes a new resource (CloudFormation template reference,
# "Update requires: Replacement").
REPLACED_WITH = {
    "AWS::DynamoDB::Table": ("TableName", "KeySchema", "LocalSecondaryIndexes"),
    "AWS::IAM::InstanceProfile": ("InstanceProfileName", "Path"),
    "AWS::IAM::Role": ("RoleName", "Path"),
    "AWS::Logs::LogGroup": ("LogGroupName",),
    "AWS::SQS::Queue": ("QueueName", "FifoQueue"),
    "AWS::SSM::Parameter": ("Name",),
    "AWS::Serverless::Function": ("FunctionName", "PackageType"),
    "AWS::Serverless::StateMachine": ("Name", "Type"),
}
# What a new one of is made before the old one goes, under a name of its own: with the same one, the
# upgrade finds it taken (aws-cdk#28520).
NAMED_BY = {"AWS::Events::EventBusPolicy": ("StatementId", "EventBusName")}
# Parameters that went, and why nobody misses them.
GONE_PARAMETERS = {
    "EventSource": "only the local cloud ever set it",
    "EventBusName": "on another bus than default, the account's own pushes never came",
}
# Likewise outputs.
GONE_OUTPUTS = {"EventBusArn": "source accounts that still send there are let in no more"}


def replaces_nothing_that_is_kept(old: Template, new: Template) -> list[str]:
    """Under its id, each is of the same type, with the same properties that make a new one."""
    complaints = []
    for name, resource in old["Resources"].items():
        if resource["Type"] not in REPLACED_WITH:
            continue
        now = new["Resources"].get(name, {})
        if now.get("Type") != resource["Type"]:
            complaints.append(f"{name} is gone")
            continue
        if "Condition" in now and now["Condition"] != resource.get("Condition"):
            complaints.append(f"{name} is gone where {now['Condition']} does not hold")
        for key in REPLACED_WITH[resource["Type"]]:
            before, after = (one.get("Properties", {}).get(key) for one in (resource, now))
            if before != after:
                complaints.append(f"{name} is replaced for its {key}")
        if _attribute_types(resource).items() - _attribute_types(now).items():
            complaints.append(f"{name} is replaced for its attributes")
    return complaints


def renames_what_it_replaces(old: Template, new: Template) -> list[str]:
    """What is made anew, and has a name, has another one."""
    complaints = []
    for name, resource in old["Resources"].items():
        named, replaced = NAMED_BY.get(resource["Type"], ("", ""))
        now = new["Resources"].get(name, {}).get("Properties", {})
        before = resource.get("Properties", {})
        if named and now and now[replaced] != before[replaced] and now[named] == before[named]:
            complaints.append(f"{name} is made anew under the same {named}")
    return complaints


def _attribute_types(table: dict[str, Any]) -> dict[str, str]:
    attributes = table.get("Properties", {}).get("AttributeDefinitions", [])
    return {one["AttributeName"]: one["AttributeType"] for one in attributes}


def takes_the_parameters_that_were_given(old: Template, new: Template) -> list[str]:
    """Each is still there, with the same default, and takes at least what it took."""
    complaints = []
    for name, parameter in old["Parameters"].items():
        if name in GONE_PARAMETERS and name not in new["Parameters"]:
            continue
        now = new["Parameters"].get(name)
        if now is None:
            complaints.append(f"{name} is gone")
            continue
        if (now["Type"], now.get("Default")) != (parameter["Type"], parameter.get("Default")):
            complaints.append(f"{name} has another type or default")
        lost = set(parameter.get("AllowedValues", [])) - set(now.get("AllowedValues", []))
        if "AllowedValues" in now and lost:
            complaints.append(f"{name} takes no {', '.join(map(str, lost))} any more")
        default = str(parameter.get("Default", ""))
        if default and not re.fullmatch(now.get("AllowedPattern", ".*"), default):
            complaints.append(f"{name} does not take its old default")
    for name in new["Parameters"].keys() - old["Parameters"].keys():
        if "Default" not in new["Parameters"][name]:
            complaints.append(f"{name} is new, and `sam deploy` knows no value for it")
    return complaints


def tells_what_it_told(old: Template, new: Template) -> list[str]:
    """Each output is there and means the same resource."""
    kept = {n: one for n, one in old["Outputs"].items() if n not in GONE_OUTPUTS}
    return [
        f"{name} is gone or means something else"
        for name, output in kept.items()
        if name not in new["Outputs"]
        or _meaning(new["Outputs"][name]["Value"], new) != _meaning(output["Value"], old)
    ]


def _meaning(value: Any, template: Template) -> set[str]:
    """The resources of the template that a value names."""
    names = set(re.findall(r"\w+", json.dumps(value)))
    return names & template["Resources"].keys()


def keeps_its_tags_and_keys(old: Template, new: Template) -> list[str]:
    """What the functions find their own things by: stack, path, and the leases' key."""
    complaints = []
    variables = ("FRONTLOAD_STACK", "FRONTLOAD_PREFIX", "FRONTLOAD_LEASE_TABLE")
    for name in variables:
        before, after = (
            one["Globals"]["Function"]["Environment"]["Variables"].get(name) for one in (old, new)
        )
        if before != after:
            complaints.append(f"{name} was {before} and is {after}")
    return complaints
