"""Every policy statement of a template, each text with its line number.

A statement is any mapping with an Effect and actions under Resources: in policies of roles, managed
policies, trust policies, and policies of buses, queues, registries, keys and buckets. A Lambda
permission counts as a statement, too. Not included: SAM's policy templates and AWS's managed
policies, which are only names here and AWS's own text, and boundaries, which are the user's.

Values that are known only once the stack exists become a sample or a pattern: a parameter becomes
its default, and a resource's ARN a sample ARN of its type.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::AccountId": "123456789012",
    "AWS::URLSuffix": "amazonaws.com",
}
_OURS = "us-east-1:123456789012"
# The value of `Fn::GetAtt <id>.Arn`, and for some types of `Ref`, too.
ARNS = {
    "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{_OURS}:table/x",
    "AWS::ECR::Repository": f"arn:aws:ecr:{_OURS}:repository/x",
    "AWS::Events::EventBus": f"arn:aws:events:{_OURS}:event-bus/x",
    "AWS::Events::Rule": f"arn:aws:events:{_OURS}:rule/x",
    "AWS::IAM::Role": "arn:aws:iam::123456789012:role/x",
    "AWS::KMS::Key": f"arn:aws:kms:{_OURS}:key/x",
    "AWS::Lambda::Function": f"arn:aws:lambda:{_OURS}:function:x",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{_OURS}:log-group:x:*",
    "AWS::S3::Bucket": "arn:aws:s3:::x",
    "AWS::Serverless::Function": f"arn:aws:lambda:{_OURS}:function:x",
    "AWS::Serverless::StateMachine": f"arn:aws:states:{_OURS}:stateMachine:x",
    "AWS::SQS::Queue": f"arn:aws:sqs:{_OURS}:x",
    "AWS::SNS::Topic": f"arn:aws:sns:{_OURS}:x",
    "AWS::StepFunctions::StateMachine": f"arn:aws:states:{_OURS}:stateMachine:x",
}
REF_IS_ARN = {
    "AWS::Serverless::StateMachine",
    "AWS::SNS::Topic",
    "AWS::StepFunctions::StateMachine",
}
UNKNOWN = "**"
"""A value that is unknown before the stack exists, or the resource of a policy attached to it.

It can be anything, and differs from an asterisk that the author wrote."""
_ARN_PATTERN = re.compile(r"arn:[^:]*:(?P<service>[\w-]+):")
_SUBSTITUTION = re.compile(r"\$\{(!?)([^}]*)\}")


class Text(str):
    """A text of a template with its line number."""

    line = 0


def text_at(line: int, value: str) -> Text:
    text = Text(value)
    text.line = line
    return text


class Condition(NamedTuple):
    operator: str
    key: Text
    values: list[Text]


class Statement(NamedTuple):
    """A statement with its intrinsic functions resolved."""

    where: str
    """Its owner: logical id, policy and number, such as `PlanRole, Plan, statement 2`."""
    effect: str
    actions: list[Text]
    excepts_actions: bool
    """Whether this is a NotAction: all actions but these."""
    resources: list[Text]
    conditions: list[Condition]


class _Loader(yaml.SafeLoader):
    """Reads texts with their line numbers, and short forms as long forms."""


def _construct_text(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Text:
    return text_at(node.start_mark.line + 1, node.value)


def _construct_short_form(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    name = tag if tag in ("Ref", "Condition") else f"Fn::{tag}"
    if isinstance(node, yaml.ScalarNode):
        return {name: _construct_text(loader, node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_constructor("tag:yaml.org,2002:str", _construct_text)
_Loader.add_multi_constructor("!", _construct_short_form)


def read_statements(path: Path) -> list[Statement]:
    """The statements of a template's file, YAML or JSON, or of a file that is one policy."""
    read = yaml.load(path.read_text(), Loader=_Loader)
    if "Statement" in read:
        read = {"Resources": {path.stem: {"Type": "AWS::IAM::Policy", "Properties": read}}}
    return list(_Template(read).statements())


class _Template:
    def __init__(self, template: dict[str, Any]) -> None:
        self._resources = template["Resources"]
        self._parameters = template.get("Parameters", {})

    def statements(self) -> Iterator[Statement]:
        for name, resource in self._resources.items():
            properties = resource.get("Properties", {})
            if resource["Type"] == "AWS::Lambda::Permission":
                yield self._statement(name, {"Effect": "Allow", **properties})
                continue
            numbers: Counter[str] = Counter()
            for policy, raw in _policy_statements(properties, ""):
                numbers[policy] += 1
                of_policy = f", {policy}" if policy else ""
                yield self._statement(f"{name}{of_policy}, statement {numbers[policy]}", raw)

    def _statement(self, where: str, raw: dict[str, Any]) -> Statement:
        actions = raw.get("Action", raw.get("NotAction"))
        conditions = [
            Condition(str(operator), key, self._texts(values))
            for block in self._branches(raw.get("Condition", {}))
            for operator, keys in block.items()
            for branch in self._branches(keys)
            for key, values in branch.items()
        ]
        # A policy that is attached to its resource need not name it.
        about = self._texts(raw.get("Resource", UNKNOWN))
        return Statement(
            where=where,
            effect=str(raw["Effect"]),
            actions=self._texts(actions),
            excepts_actions="NotAction" in raw,
            resources=[text_at(one.line, _without_variables(one)) for one in about],
            conditions=conditions,
        )

    def _branches(self, node: Any) -> list[dict[str, Any]]:
        """The mapping itself, or the mappings of an If."""
        if "Fn::If" in node:
            return [one for branch in node["Fn::If"][1:] for one in self._branches(branch)]
        return [] if "Ref" in node else [node]

    def _texts(self, node: Any) -> list[Text]:
        """All texts that a value can resolve to."""
        if isinstance(node, list):
            return [text for one in node for text in self._texts(one)]
        if not isinstance(node, dict):
            line = node.line if isinstance(node, Text) else 0
            return [text_at(line, str(node))]
        if "Fn::If" in node:
            return self._texts(node["Fn::If"][1:])
        if node == {"Ref": "AWS::NoValue"}:
            return []
        return [text_at(_line_of(node), self._call(*next(iter(node.items()))))]

    def _call(self, function: str, argument: Any) -> str:
        match function, argument:
            case "Ref", name:
                return self._ref(name)
            case "Fn::GetAtt", path:
                name, _, attribute = (path if isinstance(path, str) else ".".join(path)).partition(
                    "."
                )
                return self._arn(name) if attribute == "Arn" else UNKNOWN
            case "Fn::Sub", _:
                return self._fill(argument)
            case "Fn::Join", [mark, [*parts]]:
                return mark.join(text for one in parts for text in self._texts(one))
        return UNKNOWN

    def _ref(self, name: str) -> str:
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self._parameters:
            return self._parameter(self._parameters[name])
        if name not in self._resources:
            return UNKNOWN
        kind = self._resources[name]["Type"]
        # For the other types in ARNS, Ref is a name or an address.
        return "x" if kind in ARNS and kind not in REF_IS_ARN else self._arn(name)

    def _parameter(self, parameter: dict[str, Any]) -> str:
        """The parameter's default; without one, an ARN of the service in its pattern."""
        if default := str(parameter.get("Default", "")):
            return default
        asked = _ARN_PATTERN.search(str(parameter.get("AllowedPattern", "")))
        return f"arn:*:{asked['service']}:*:*:*" if asked else UNKNOWN

    def _arn(self, name: str) -> str:
        return ARNS.get(self._resources.get(name, {}).get("Type", ""), UNKNOWN)

    def _fill(self, argument: Any) -> str:
        """A Sub's text with its names filled in; `${!...}` becomes IAM's own variable."""
        text, names = argument if isinstance(argument, list) else (argument, {})

        def fill(found: re.Match[str]) -> str:
            name = found[2]
            if found[1]:
                return f"${{{name}}}"
            if name in names:
                return "".join(self._texts(names[name]))
            value = self._call("Fn::GetAtt" if "." in name else "Ref", name)
            return "*" if value == UNKNOWN else value

        return _SUBSTITUTION.sub(fill, text)


def _policy_statements(node: Any, policy: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement below the node, with the name of its policy."""
    if isinstance(node, list):
        for one in node:
            yield from _policy_statements(one, policy)
    elif isinstance(node, dict):
        if "Effect" in node and ("Action" in node or "NotAction" in node):
            yield policy, node
            return
        named = node.get("PolicyName", policy)
        policy = named if isinstance(named, str) else policy
        for key, one in node.items():
            below = "trust" if key == "AssumeRolePolicyDocument" else policy
            yield from _policy_statements(one, below)


def _without_variables(resource: str) -> str:
    """Replaces IAM's variables by patterns: `${*}` is one character, `${aws:username}` any text."""
    return _SUBSTITUTION.sub(lambda found: "?" if found[2] in "*?$" else "*", resource)


def _line_of(node: Any) -> int:
    """The line number of the first text below the node."""
    if isinstance(node, Text):
        return node.line
    below = list(node.values()) if isinstance(node, dict) else node
    if not isinstance(below, list):
        return 0
    return next((line for one in below if (line := _line_of(one))), 0)
