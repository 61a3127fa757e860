"""A template as CloudFormation sees it: translated by SAM, with parameters and conditions resolved.

SAM's own translator translates. `resolve` knows the functions that the templates use. It raises
ValueError for another function and for an unknown name.
"""

from __future__ import annotations

import copy
import functools
import logging
import os
import re
from typing import Any
from unittest.mock import patch

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

from .templates import TEMPLATES, Template

ACCOUNT = "123456789012"
STACK = "frontload"
# Partition: one of its regions, and the suffix of its host names.
PARTITIONS = {
    "aws": ("us-east-1", "amazonaws.com"),
    "aws-cn": ("cn-north-1", "amazonaws.com.cn"),
    "aws-us-gov": ("us-gov-west-1", "amazonaws.com"),
}
# SAM requires code and definitions to be where `sam package` puts them.
PACKAGED = "s3://bucket/key"
_NOTHING = object()
# SAM logs at exit, after the tests' last line, that nobody collects its metrics.
logging.getLogger("samtranslator.metrics.metrics").setLevel(logging.ERROR)


class _NoPolicies:
    """Replaces SAM's look-up of AWS managed policies, because the templates use none."""

    def load(self) -> dict[str, str]:
        return {}


def translate(name: str, partition: str = "aws") -> Template:
    """The template after SAM's transform, functions in long form, nothing resolved."""
    return copy.deepcopy(_translate(name, partition))


@functools.cache
def _translate(name: str, partition: str) -> Template:
    template = yaml_parse(TEMPLATES[name].read_text())
    if "Globals" in template:
        template["Globals"]["Function"]["CodeUri"] = PACKAGED
    for resource in template["Resources"].values():
        if "DefinitionUri" in resource.get("Properties", {}):
            resource["Properties"]["DefinitionUri"] = PACKAGED
    if "Transform" not in template:
        return template
    region, _ = PARTITIONS[partition]
    with patch.dict(os.environ, AWS_DEFAULT_REGION=region):
        return transform(template, {}, _NoPolicies())


def resolve(template: Template, partition: str = "aws", **given: str) -> dict[str, Any]:
    """The resources of a stack with these parameters, by logical id, with all values resolved.

    Values that exist only once the stack does become `<LogicalId>` or `<LogicalId.Attribute>`.
    Raises ValueError for an unknown parameter.
    """
    unknown = given.keys() - template["Parameters"].keys()
    if unknown:
        raise ValueError(f"no parameters of the template: {sorted(unknown)}")
    return _Stack(template, partition, given).resources()


class _Stack:
    def __init__(self, template: Template, partition: str, given: dict[str, str]) -> None:
        self._template = template
        region, suffix = PARTITIONS[partition]
        self._values: dict[str, Any] = {
            "AWS::Partition": partition,
            "AWS::Region": region,
            "AWS::URLSuffix": suffix,
            "AWS::AccountId": ACCOUNT,
            "AWS::StackName": STACK,
            "AWS::StackId": f"arn:{partition}:cloudformation:{region}:{ACCOUNT}:stack/{STACK}/1",
            "AWS::NoValue": _NOTHING,
        }
        for name, parameter in template["Parameters"].items():
            text = given.get(name, str(parameter.get("Default", f"<{name}>")))
            is_list = parameter["Type"] == "CommaDelimitedList"
            self._values[name] = text.split(",") if is_list else text

    def resources(self) -> dict[str, Any]:
        """The resources whose conditions are true."""
        return {
            name: self._value({key: one for key, one in resource.items() if key != "Condition"})
            for name, resource in self._template["Resources"].items()
            if "Condition" not in resource or self._holds(resource["Condition"])
        }

    def _holds(self, condition: str) -> bool:
        return self._value(self._template["Conditions"][condition])

    def _value(self, node: Any) -> Any:
        if isinstance(node, list):
            return [one for one in map(self._value, node) if one is not _NOTHING]
        if not isinstance(node, dict):
            return node
        function = next(iter(node), "")
        if len(node) == 1 and (function == "Ref" or function.startswith("Fn::")):
            return self._call(function.removeprefix("Fn::"), node[function])
        values = {key: self._value(one) for key, one in node.items()}
        return {key: one for key, one in values.items() if one is not _NOTHING}

    def _call(self, function: str, argument: Any) -> Any:
        match function, argument:
            case "Ref", name:
                return self._named(name)
            case "GetAtt", path:
                path = path if isinstance(path, str) else ".".join(path)
                self._named(path.partition(".")[0])
                return f"<{path}>"
            case "If", [condition, yes, no]:
                return self._value(yes if self._holds(condition) else no)
            case "Equals", [left, right]:
                return self._value(left) == self._value(right)
            case "And" | "Or", conditions:
                decide = all if function == "And" else any
                return decide(map(self._value, conditions))
            case "Not", [condition]:
                return not self._value(condition)
            case "Split", [mark, text]:
                return self._value(text).split(mark)
            case "Select", [index, values]:
                found = self._value(values)
                # An attribute that does not exist yet cannot be split: it stays one part.
                return found[int(index)] if int(index) < len(found) else found[0]
            case "Sub", _:
                text, names = argument if isinstance(argument, list) else (argument, {})
                return self._fill(text, {key: self._value(one) for key, one in names.items()})
        raise ValueError(f"the templates' tests know no {function} of {argument}")

    def _fill(self, text: str, names: dict[str, Any]) -> str:
        def fill(found: re.Match[str]) -> str:
            name = found[1]
            if name in names:
                return names[name]
            return self._call("GetAtt" if "." in name else "Ref", name)

        return re.sub(r"\$\{([\w:.]+)\}", fill, text).replace("${!", "${")

    def _named(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        if name not in self._template["Resources"]:
            raise ValueError(f"{name} stands for nothing")
        return f"<{name}>"
