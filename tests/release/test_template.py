"""The packaged template differs only in its architecture and in where code and definitions are."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from infra.templates import functions_of
from statemachine.asl_definitions import ROOT, TEMPLATE, TemplateLoader

from tools.release.dist import BESIDE
from tools.release.template import TemplateError, packaged

SOURCE = TEMPLATE.read_text()
PACKAGE = "bootstrap-arm64.zip"


def load(text: str) -> dict[str, Any]:
    return yaml.load(text, Loader=TemplateLoader)


@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_packaging_changes_nothing_else_in_the_template(architecture: str) -> None:
    made, wanted = load(packaged(SOURCE, architecture, PACKAGE)), load(SOURCE)
    wanted["Parameters"]["Architecture"] |= {
        "Default": architecture,
        "AllowedValues": [architecture],
    }
    del wanted["Globals"]["Function"]["CodeUri"]
    for resource in wanted["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            del resource["Metadata"]
            resource["Properties"]["CodeUri"] = PACKAGE
        if resource["Type"] == "AWS::Serverless::StateMachine":
            uri = resource["Properties"]["DefinitionUri"]
            resource["Properties"]["DefinitionUri"] = uri.removeprefix("../statemachine/")
    assert made == wanted
    assert len(functions_of(made)) == 13


def test_files_named_by_the_template_lie_beside_it() -> None:
    made = load(packaged(SOURCE, "arm64", PACKAGE))
    named = [
        resource["Properties"]["DefinitionUri"]
        for resource in made["Resources"].values()
        if resource["Type"] == "AWS::Serverless::StateMachine"
    ]
    beside = {name.rpartition("/")[2]: name for name in BESIDE}
    assert sorted(named) == ["build.asl.json", "pipeline.asl.json"]
    assert all((ROOT / beside[name]).exists() for name in named)


@pytest.mark.parametrize(
    ("find", "replace"),
    [
        ("    CodeUri: ../\n", "    CodeUri: ../functions\n"),
        ("        Binary: bootstrap\n", "        Binary: plan\n"),
        ("../statemachine/build.asl.json", "../other/build.asl.json"),
        ("    AllowedValues: [arm64, x86_64]\n", ""),
        ("    Description: Processor", "    ../Description: Processor"),
    ],
)
def test_a_template_that_cannot_be_fully_converted_is_refused(find: str, replace: str) -> None:
    assert find in SOURCE
    with pytest.raises(TemplateError):
        packaged(SOURCE.replace(find, replace, 1), "arm64", PACKAGE)
