"""What an upgrade must not change; each rule compares two templates and returns its complaints.

The rules compare templates, because no emulator reliably replaces what AWS replaces.
"""

from __future__ import annotations

import json
import re
from typing import Any

from .templates import Template

# Types that keep state, or that people name elsewhere: policies, key policies, alarms, bookmarks.
# A change of one of these properties replaces the resource (CloudFormation template reference,
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
# Type: its name, and the property that replaces it. CloudFormation creates the new one before it
# deletes the old one, so under the same name the upgrade fails: it is taken (aws-cdk#28520).
NAMED_BY = {"AWS::Events::EventBusPolicy": ("StatementId", "EventBusName")}
# Removed parameters, and why nobody misses them.
GONE_PARAMETERS = {
    "EventSource": "only the local cloud ever set it",
    "EventBusName": "on another bus than default, the account's own pushes never came",
}
# Removed outputs, likewise.
GONE_OUTPUTS = {"EventBusArn": "source accounts that still send there are let in no more"}


def replaces_nothing_that_is_kept(old: Template, new: Template) -> list[str]:
    """Each resource keeps its id, its type, and the properties whose change replaces it."""
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
    """A resource that is replaced and has a name gets another name."""
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
    """Each parameter still exists, has the same default, and accepts what it accepted before."""
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


def keeps_its_outputs(old: Template, new: Template) -> list[str]:
    """Each output still exists and refers to the same resource."""
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
    """The values that functions find their resources by stay: stack, path, and the leases' key."""
    complaints = []
    variables = ("FRONTLOAD_STACK", "FRONTLOAD_PREFIX", "FRONTLOAD_LEASE_TABLE")
    for name in variables:
        before, after = (
            one["Globals"]["Function"]["Environment"]["Variables"].get(name) for one in (old, new)
        )
        if before != after:
            complaints.append(f"{name} was {before} and is {after}")
    return complaints
