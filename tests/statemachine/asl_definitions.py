"""Loads the state machine definitions and the template that deploys them."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEFINITIONS = {name: ROOT / "statemachine" / f"{name}.asl.json" for name in ("pipeline", "build")}
TEMPLATE = ROOT / "infra" / "template.yaml"
OPERATIONS = ROOT / "docs" / "operations.md"
ERROR_NAMES_SOURCE = ROOT / "shared" / "domain" / "src" / "error.rs"
PHASES_SOURCE = ROOT / "shared" / "domain" / "src" / "phases.rs"
SUBSTITUTION = re.compile(r"\$\{(\w+)\}")


class TemplateLoader(yaml.SafeLoader):
    """Reads CloudFormation's short forms as `{"!Tag": value}`."""


def _short_form(loader: yaml.Loader, tag: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {f"!{tag}": loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {f"!{tag}": loader.construct_sequence(node, deep=True)}
    return {f"!{tag}": loader.construct_mapping(node, deep=True)}


TemplateLoader.add_multi_constructor("!", _short_form)


def load_definition(name: str) -> dict[str, Any]:
    """The definition as written, with its substitutions not filled in."""
    return json.loads(DEFINITIONS[name].read_text())


def fill_definition(name: str, values: dict[str, str]) -> str:
    """The definition's text with every `${name}` replaced. Raises KeyError for an unknown name."""
    return SUBSTITUTION.sub(lambda found: values[found[1]], DEFINITIONS[name].read_text())


def load_template() -> dict[str, Any]:
    return yaml.load(TEMPLATE.read_text(), Loader=TemplateLoader)


def template_substitutions(template: dict[str, Any]) -> dict[str, set[str]]:
    """Definition name -> the substitutions that the template defines for it."""
    found = {}
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Serverless::StateMachine":
            name = Path(properties["DefinitionUri"]).name.removesuffix(".asl.json")
            found[name] = set(properties["DefinitionSubstitutions"])
    return found


def rust_error_names(source: str) -> set[str]:
    """The names of the errors in the Rust source."""
    return set(rust_error_classes(source))


def rust_error_classes(source: str) -> dict[str, str]:
    """The class of each error name in `Error::name_and_class` of the Rust source."""
    body = source.partition("fn name_and_class(&self)")[2].partition("\n    }\n")[0]
    classes = dict(re.findall(r'=> \("(\w+)", Class::(\w+)\)', body))
    if not classes:
        raise ValueError(f"{ERROR_NAMES_SOURCE} has no fn name_and_class(&self) that gives names")
    return classes


def rust_fields(struct: str, source: str) -> list[str]:
    """The public fields of a struct of the Rust source, in order."""
    body = source.partition(f"pub struct {struct} {{")[2].partition("\n}\n")[0]
    return re.findall(r"pub (\w+):", body)


def rust_retryable_names(source: str) -> set[str]:
    """The error names for whose class `Error::retryable` of the Rust source is true."""
    body = source.partition("fn retryable(&self)")[2].partition("=> true")[0]
    retryable = set(re.findall(r"Class::(\w+)", body))
    return {name for name, of in rust_error_classes(source).items() if of in retryable}
