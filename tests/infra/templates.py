"""Loads the templates, and the statements of every policy in them."""

import copy
import functools
from collections.abc import Iterator
from typing import Any

import yaml
from statemachine.asl_definitions import ROOT, TemplateLoader

TEMPLATES = {
    name: ROOT / "infra" / f"{name}.yaml" for name in ("template", "consumer", "source-account")
}

Template = dict[str, Any]
Statement = dict[str, Any]


def load_template(name: str) -> Template:
    """A copy of the template, with CloudFormation's short forms read as `{"!Tag": value}`."""
    return copy.deepcopy(_parse(name))


@functools.cache
def _parse(name: str) -> Template:
    return yaml.load(TEMPLATES[name].read_text(), Loader=TemplateLoader)


def policies_of(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every policy that grants something to a role, with its name."""
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        if resource["Type"] in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
            yield name, properties["PolicyDocument"]
        if resource["Type"] == "AWS::IAM::Role":
            for policy in properties.get("Policies", []):
                yield name, policy["PolicyDocument"]


def statements_of(template: Template) -> Iterator[tuple[str, Statement]]:
    """Every statement that allows something."""
    for name, policy in policies_of(template):
        allowing = (one for one in policy["Statement"] if one["Effect"] == "Allow")
        yield from ((name, statement) for statement in allowing)


def trusts_of(template: Template) -> Iterator[tuple[str, Statement]]:
    """Every statement that says who may assume a role."""
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::IAM::Role":
            trust = resource["Properties"]["AssumeRolePolicyDocument"]
            yield from ((name, statement) for statement in trust["Statement"])


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def functions_of(template: Template) -> dict[str, dict[str, Any]]:
    """The functions' properties by logical id."""
    return {
        name: resource["Properties"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }
