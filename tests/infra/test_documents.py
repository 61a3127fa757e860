"""The pages' links work, and the tests and resources that two documents name exist.

The documents are docs/security.md and docs/bottlerocket.md. Each threat and each fact there names
one, or says that there is none.
"""

import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from statemachine.asl_definitions import ROOT

from .templates import TEMPLATES, load_template

DOCUMENT = ROOT / "docs" / "security.md"
FACTS = ROOT / "docs" / "bottlerocket.md"
REFERENCE = re.compile(r"`([\w./-]+)::(\w+)`")
# File name extension: the pattern of a test with that name.
TESTS = {
    ".py": r"^def (?=test_){name}\(",
    ".rs": r"#\[(?:tokio::)?test\]\n(?: *#\[.*\]\n)* *(?:async )?fn {name}\(",
}
NOTHING = r"(?!)"
FOLDERS = ("docs", "examples", ".github", ".github/ISSUE_TEMPLATE")
READMES = [
    ROOT / folder / "README.md" for folder in ("bench", "tests", "tests/local_cloud", "tools")
]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(page for folder in FOLDERS for page in ROOT.glob(f"{folder}/*.md")),
        *READMES,
    ]
)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
UNANSWERED = ("**Not answered**", "**Left to")
NO_TEST = "**none here**"


def complaints(text: str) -> list[str]:
    """What the document names but does not exist, and threats with neither test nor remark."""
    return missing(text) + [
        f"nothing holds: {threat}"
        for threat, answer, held_by in threats(text)
        if not REFERENCE.search(held_by) and not answer.startswith(UNANSWERED)
    ]


def unproven(text: str) -> list[str]:
    """What the facts name but does not exist, and facts with neither test nor remark."""
    return missing(text) + [
        f"nothing shows: {fact}"
        for fact, _, shown_by in rows(text)
        if not REFERENCE.search(shown_by) and NO_TEST not in shown_by
    ]


def missing(text: str) -> list[str]:
    named = sorted(set(REFERENCE.findall(text)))
    return [f"{file}::{name} is not there" for file, name in named if not exists(file, name)]


def exists(file: str, name: str) -> bool:
    path = ROOT / file
    if path in TEMPLATES.values():
        return name in load_template(path.stem)["Resources"]
    pattern = TESTS.get(path.suffix, NOTHING).format(name=name)
    return path.is_file() and re.search(pattern, path.read_text(), re.MULTILINE) is not None


def threats(text: str) -> list[list[str]]:
    """Threat, answer, and its test: the cells of every row under "Threats"."""
    return rows(text.partition("\n## Threats\n")[2])


def rows(text: str) -> list[list[str]]:
    """The cells of every row of every table, without the headings."""
    return [
        [cell.strip() for cell in re.split(r"(?<= )\|", line.strip("|"))]
        for line, following in pairwise([*text.splitlines(), ""])
        if line.startswith("| ") and not following.startswith("|---")
    ]


def broken_links(page: Path) -> list[str]:
    """The page's links to files, or to headings of pages, that do not exist."""
    found = []
    for file, heading in LINK.findall(page.read_text()):
        target = page.parent / file if file else page
        if not target.exists() or (heading and heading not in anchors(target.read_text())):
            found.append(f"{page.name}: {file}#{heading}".rstrip("#"))
    return found


def anchors(text: str) -> set[str]:
    """The anchors that GitHub generates for a page's headings, and those written in the page."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return set(re.findall(r'<a id="([^"]+)">', text)) | {
        re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page, `here`\n[a](#a-page-here) [b](#there) [c](none.md) [d](https://e.org)"
    )
    assert broken_links(page) == ["page.md: #there", "page.md: none.md"]


def test_every_file_and_test_named_in_the_threat_model_exists() -> None:
    text = DOCUMENT.read_text()
    assert complaints(text) == []
    assert len(threats(text)) > 40


def test_every_file_and_test_named_in_the_facts_of_bottlerocket_exists() -> None:
    text = FACTS.read_text()
    assert unproven(text) == []
    assert len(rows(text)) > 60


@pytest.mark.parametrize(
    ("reference", "is_there"),
    [
        ("infra/template.yaml::BuilderRole", True),
        ("infra/template.yaml::BuilderRoll", False),
        (
            "functions/src/steps/reap/tests.rs::resources_without_an_execution_are_reported_and_kept",
            True,
        ),
        ("functions/src/steps/reap/tests.rs::put_builder", False),
        ("shared/domain/src/prune/properties.rs::the_random_inventories_reach_every_reason", True),
        ("tests/infra/test_documents.py::test_a_missing_file_or_test_is_noticed", True),
        ("tests/infra/test_documents.py::exists", False),
        ("tests/infra/no_file.py::exists", False),
        ("Makefile::tools", False),
    ],
)
def test_a_missing_file_or_test_is_noticed(reference: str, is_there: bool) -> None:
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


@pytest.mark.parametrize(
    ("shown_by", "wanted"),
    [
        ("`make aws-check`", ["nothing shows: it boots"]),
        ("**none here**; `make aws-check`", []),
        ("`infra/template.yaml::BuilderRole`", []),
        ("`Makefile::tools`", ["Makefile::tools is not there"]),
    ],
)
def test_a_fact_without_a_test_is_noticed(shown_by: str, wanted: list[str]) -> None:
    heading = "| what we rely on | source | the test |\n|---|---|---|\n"
    assert unproven(f"{heading}| it boots | its code | {shown_by} |\n") == wanted


def test_every_example_can_be_read_and_is_listed() -> None:
    folder = ROOT / "examples"
    examples = [path for path in sorted(folder.rglob("*.*")) if path.suffix != ".md"]
    for path in examples:
        if path.suffix in (".json", ".yaml"):
            assert isinstance(yaml.safe_load(path.read_text()), dict), path
    listed = {file for file, _ in LINK.findall((folder / "README.md").read_text())}
    names = {str(path.relative_to(folder)) for path in examples}
    assert len(names) >= 7
    assert names <= listed
    # A Rust test reads the examples with the product's own parser, and so what the README shows.
    assert (folder / "caches" / "minimal.json").read_text() in (ROOT / "README.md").read_text()
