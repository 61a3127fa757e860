"""docs/threat-model.md names tests and resources that exist, and each threat names one."""

import re

import pytest
from statemachine.asl_definitions import ROOT

from .templates import TEMPLATES, load_template

DOCUMENT = ROOT / "docs" / "threat-model.md"
REFERENCE = re.compile(r"`([\w./-]+)::(\w+)`")
# File name extension: how a test of that name begins.
TESTS = {
    ".py": r"^def (?=test_){name}\(",
    ".rs": r"#\[(?:tokio::)?test\]\n(?: *#\[.*\]\n)* *(?:async )?fn {name}\(",
}
NOTHING = r"(?!)"
UNANSWERED = ("**Not answered**", "**Left to")


def complaints(text: str) -> list[str]:
    """What the document names and is not there, and the threats that nothing answers unsaid."""
    named = sorted(set(REFERENCE.findall(text)))
    return [f"{file}::{name} is not there" for file, name in named if not exists(file, name)] + [
        f"nothing holds: {threat}"
        for threat, answer, held_by in threats(text)
        if not REFERENCE.search(held_by) and not answer.startswith(UNANSWERED)
    ]


def exists(file: str, name: str) -> bool:
    path = ROOT / file
    if path in TEMPLATES.values():
        return name in load_template(path.stem)["Resources"]
    pattern = TESTS.get(path.suffix, NOTHING).format(name=name)
    return path.is_file() and re.search(pattern, path.read_text(), re.MULTILINE) is not None


def threats(text: str) -> list[list[str]]:
    """Threat, answer, and what holds it: the cells of every row under "Threats"."""
    rows = [
        [cell.strip() for cell in re.split(r"(?<= )\|", line.strip("|"))]
        for line in text.partition("\n## Threats\n")[2].splitlines()
        if line.startswith("| ")
    ]
    return [row for row in rows if row[0] != "threat"]


def test_everything_that_the_threat_model_names_exists() -> None:
    text = DOCUMENT.read_text()
    assert complaints(text) == []
    assert len(threats(text)) > 40


@pytest.mark.parametrize(
    ("reference", "is_there"),
    [
        ("infra/template.yaml::BuilderRole", True),
        ("infra/template.yaml::BuilderRoll", False),
        ("functions/src/reap/tests.rs::what_tells_no_execution_is_told_and_left_alone", True),
        ("functions/src/reap/tests.rs::put_builder", False),
        ("shared/src/prune/properties.rs::the_random_worlds_reach_every_reason", True),
        ("tests/infra/test_threat_model.py::test_what_is_not_there_is_noticed", True),
        ("tests/infra/test_threat_model.py::exists", False),
        ("tests/infra/no_file.py::exists", False),
        ("Makefile::tools", False),
    ],
)
def test_what_is_not_there_is_noticed(reference: str, is_there: bool) -> None:
    row = f"\n## Threats\n| forged | not believed | `{reference}` |\n"
    assert complaints(row) == ([] if is_there else [f"{reference} is not there"])


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("not believed", ["nothing holds: forged"]),
        ("**Not answered**: believed", []),
        ("**Left to AWS**", []),
    ],
)
def test_a_threat_without_an_answer_is_noticed(answer: str, wanted: list[str]) -> None:
    assert complaints(f"\n## Threats\n| forged | {answer} | |\n") == wanted
