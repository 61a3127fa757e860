"""Rules that make the templates a product; each returns its complaints.

They cover parameters, names, trust, what a deleted stack leaves, and permissions boundaries.
"""

import re
from collections.abc import Iterator
from typing import Any

from .templates import Template, trusts_of

INTERFACE = "AWS::CloudFormation::Interface"
# These have no default, because no value fits more than one user.
ASKED_WITHOUT_DEFAULT = {"FrontloadAccount", "ExternalId", "FrontloadBusArn"}
# Types that lose no state when they are recreated. All others need both policies.
STATELESS = {
    "AWS::CloudWatch::Alarm",
    "AWS::ECR::RegistryPolicy",
    "AWS::Events::EventBus",
    "AWS::Events::EventBusPolicy",
    "AWS::Events::Rule",
    "AWS::IAM::InstanceProfile",
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::Policy",
    "AWS::IAM::Role",
    "AWS::Lambda::Permission",
    "AWS::SQS::QueuePolicy",
    "AWS::Scheduler::Schedule",
    "AWS::Serverless::Function",
    "AWS::Serverless::StateMachine",
}
# An upgrade that replaces these keeps the old ones for a person; the others guard a name.
KEPT_WHEN_REPLACED = {"AWS::DynamoDB::Table", "AWS::Logs::LogGroup", "AWS::SQS::Queue"}
# A region has only one of these, under any name.
SINGLETONS = {"AWS::ECR::RegistryPolicy"}
# EventBusName and MetricName refer to something that exists; they name no new resource.
NAME_PROPERTY = re.compile(r"(?!(?:EventBus|Metric)Name$)\w*Name|StatementId|Sid")
# An inline policy is identified by the role's name and its own, so it cannot collide.
INLINE = "AWS::IAM::Policy"
# The same in every partition, except EC2 (aws-cdk, `region-info`, "Services with a partitional
# principal"; IAM of China refuses EC2's other name, kops#27).
PRINCIPALS = [
    "events.amazonaws.com",
    "lambda.amazonaws.com",
    "scheduler.amazonaws.com",
    "states.amazonaws.com",
    {"!Sub": "ec2.${AWS::URLSuffix}"},
]
BOUNDARY = {
    "!If": [
        "HasPermissionsBoundary",
        {"!Ref": "PermissionsBoundaryArn"},
        {"!Ref": "AWS::NoValue"},
    ]
}


def explains_every_parameter(template: Template) -> list[str]:
    """Each parameter has a description, a constraint, and a sentence for a value that breaks it."""
    complaints = []
    for name, parameter in template["Parameters"].items():
        if not parameter.get("Description", "").endswith("."):
            complaints.append(f"{name} has no description, or one that is no sentence")
        if not {"AllowedPattern", "AllowedValues"} & parameter.keys():
            complaints.append(f"{name} takes anything")
        pattern = parameter.get("AllowedPattern")
        if pattern and not (pattern.startswith("^") and pattern.endswith("$")):
            complaints.append(f"{name} takes anything with its pattern inside")
        if "ConstraintDescription" not in parameter:
            complaints.append(f"{name} does not say what would be right")
        if parameter.get("NoEcho"):
            complaints.append(f"{name} is a secret: none belongs into a parameter")
    return complaints


def offers_defaults_that_it_takes(template: Template) -> list[str]:
    complaints = []
    for name, parameter in template["Parameters"].items():
        if name in ASKED_WITHOUT_DEFAULT:
            continue
        if "Default" not in parameter:
            complaints.append(f"{name} has no default")
            continue
        default = parameter["Default"]
        if "AllowedValues" in parameter and default not in parameter["AllowedValues"]:
            complaints.append(f"{name} does not take its default {default}")
        if not re.fullmatch(parameter.get("AllowedPattern", ".*"), str(default)):
            complaints.append(f"{name} does not take its default {default!r}")
        if default == "" and not re.search(r"\bempty\b", parameter["Description"]):
            complaints.append(f"{name} does not say what nothing means")
    return complaints


def groups_every_parameter(template: Template) -> list[str]:
    """The console's form has each parameter once, in the order of `sam deploy --guided`."""
    interface = template["Metadata"][INTERFACE]
    groups = interface["ParameterGroups"]
    asked = [name for group in groups for name in group["Parameters"]]
    complaints = []
    if asked != list(template["Parameters"]):
        complaints.append(f"the form asks for {asked}")
    if list(interface["ParameterLabels"]) != asked:
        complaints.append("the labels are not those of the parameters, in order")
    return complaints


def names_nothing_alike_in_two_stacks(template: Template) -> list[str]:
    """Every name contains the stack's name or a parameter, which another stack sets differently."""
    complaints = []
    for name, resource in template["Resources"].items():
        if resource["Type"] in SINGLETONS and "Condition" not in resource:
            complaints.append(f"{name} exists once in a region, and cannot be left out")
        if resource["Type"] == INLINE:
            continue
        for key, value in resource.get("Properties", {}).items():
            if NAME_PROPERTY.fullmatch(key) and not _differs(value, template):
                complaints.append(f"{name} has a {key} that another stack has, too: {value}")
    return complaints


def _differs(value: Any, template: Template) -> bool:
    """Whether a value comes from the stack's name, from a parameter or from another resource."""
    changing = {"AWS::StackName", "AWS::StackId", *template["Parameters"], *template["Resources"]}
    named = [value["!Ref"]] if isinstance(value, dict) and "!Ref" in value else []
    if isinstance(value, dict) and "!Sub" in value:
        named = re.findall(r"\$\{([\w:]+)\}", str(value["!Sub"]))
    return bool(changing & set(named))


def says_what_is_left_of_it(template: Template) -> list[str]:
    """Each stateful resource sets its policy for the stack's deletion and for replacement."""
    complaints = []
    for name, resource in template["Resources"].items():
        if resource["Type"] in STATELESS:
            continue
        for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
            if resource.get(policy) not in ("Delete", "Retain"):
                complaints.append(f"{name} has no {policy}")
        kept = resource.get("UpdateReplacePolicy") == "Retain"
        if kept != (resource["Type"] in KEPT_WHEN_REPLACED):
            complaints.append(f"{name} is {'kept' if kept else 'lost'} when it is replaced")
    return complaints


def bounds_every_role(template: Template) -> list[str]:
    """Each role has the permissions boundary; a role that SAM generates would have none."""
    complaints = []
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        if (
            resource["Type"] == "AWS::IAM::Role"
            and properties.get("PermissionsBoundary") != BOUNDARY
        ):
            complaints.append(f"{name} has no permissions boundary")
        if resource["Type"].startswith("AWS::Serverless::") and "Role" not in properties:
            complaints.append(f"{name} has a role that SAM makes")
    return complaints


def trusts_services_by_the_names_of_all_partitions(template: Template) -> list[str]:
    return [
        f"{name} trusts {statement['Principal']['Service']}"
        for name, statement in trusts_of(template)
        if "Service" in statement["Principal"]
        and statement["Principal"]["Service"] not in PRINCIPALS
    ]


def writes_no_partition_down(template: Template) -> list[str]:
    """No ARN and no host name contains a literal partition."""
    return [
        f"{text} is of one partition"
        for text in _texts(template["Resources"])
        if "arn:aws" in text or ("amazonaws.com" in text and text not in PRINCIPALS)
    ]


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, (dict, list)):
        for one in node.values() if isinstance(node, dict) else node:
            yield from _texts(one)
