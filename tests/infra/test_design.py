"""Every safety rule that is cited exists in docs/design.md, and a test cites every rule there.

A rule is cited as S and its number, or in a name as in `test_s12_…`. Amazon S3 looks like a
citation of the third rule. That does no harm where only the rule's existence matters. A test cites
a rule in its name, in brackets, or where a text begins with it; nobody writes Amazon S3 so.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from statemachine.asl_definitions import ROOT

from .test_documents import missing

DESIGN = ROOT / "docs" / "design.md"
RULE = re.compile(r"^### (S\d+)\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
NOT_BUILT = "**Not built yet.**"
"""Stands in a rule of which nothing is built. No test cites such a rule."""

CITED = re.compile(r"(?<![A-Za-z0-9])S(\d{1,2})(?![A-Za-z0-9])|_s(\d{1,2})_")
CITED_BY_TEST = re.compile(r'(?:["(]|(?<=\d), )S(\d{1,2})(?=[:, ")])|_s(\d{1,2})_')

READ = {".rs", ".py", ".sh", ".cjs", ".md", ".json", ".yaml", ".yml", ".toml", ".tf", ""}
"""Suffixes of the files that are read for citations."""
LEFT_OUT = {".git", ".aws-sam", "target"}
DATA = (ROOT / "tests" / "hostile", ROOT / "tests" / "tools" / "package-lock.json")
"""Texts of any kind, which cite nothing."""
RUST_TESTS = re.compile(r"#\[cfg\(test\)\]\nmod \w+ \{.*", re.DOTALL)


def sources() -> Iterator[tuple[Path, str]]:
    """Every text file of the project, by its path from the root."""
    tops = [top for top in sorted(ROOT.iterdir()) if top.name not in LEFT_OUT]
    for top in tops:
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            is_data = any(path.is_relative_to(data) for data in DATA)
            if path.is_file() and path.suffix in READ and not is_data:
                yield path.relative_to(ROOT), path.read_text(errors="replace")


def cited(text: str) -> set[str]:
    """The rules that a text cites."""
    return {f"S{upper or lower}" for upper, lower in CITED.findall(text)}


def cited_by_tests(path: Path, text: str) -> set[str]:
    """The rules that the tests of a file cite."""
    found = CITED_BY_TEST.findall(part_for_tests(path, text))
    return {f"S{upper or lower}" for upper, lower in found}


def part_for_tests(path: Path, text: str) -> str:
    """The part of a file that belongs to tests."""
    if path.suffix == ".py" and path.parts[0] == "tests":
        return text if path.name.startswith("test_") or "faults" in path.parts else ""
    if path.suffix == ".rs" and "#[test]" in text:
        inner = RUST_TESTS.search(text)
        return inner.group() if inner else text
    return ""


def rules() -> dict[str, str]:
    """The text of each rule of the design."""
    return dict(RULE.findall(DESIGN.read_text()))


def uncited(rule: str, text: str, by_tests: set[str]) -> list[str]:
    """What is wrong with a rule, by the rules that tests cite."""
    if NOT_BUILT in text:
        return [f"{rule} is not built, and a test cites it"] if rule in by_tests else []
    return [] if rule in by_tests else [f"no test cites {rule}"]


def test_every_cited_rule_exists() -> None:
    known = rules().keys()
    unknown = {f"{path} cites {one}" for path, text in sources() for one in cited(text) - known}
    assert sorted(unknown) == []


def test_every_built_rule_is_cited_by_a_test() -> None:
    by_tests = set().union(*(cited_by_tests(path, text) for path, text in sources()))
    assert [told for rule, text in rules().items() for told in uncited(rule, text, by_tests)] == []


def test_every_test_that_the_design_names_exists() -> None:
    assert missing(DESIGN.read_text()) == []


# Written in parts: this file is read for citations, too.
ABSENT = 99


@pytest.mark.parametrize(
    "text",
    [
        f"/// S{ABSENT}: every region has a replica",
        f'yield f"S{ABSENT} builder {{identity}}"',
        f"keeps what others name (S{ABSENT}).",
        f"def test_s{ABSENT}_nothing_is_left() -> None:",
        f"fn what_s{ABSENT}_protects_is_kept()",
        f"the rules S1–S{ABSENT} of the design",
        f"[a rule](design.md#s1), S{ABSENT}",
    ],
)
def test_a_citation_is_noticed(text: str) -> None:
    assert f"S{ABSENT}" in cited(text)


@pytest.mark.parametrize(
    "text", [f"AWS{ABSENT}", f"snap-S{ABSENT}f", f"aws{ABSENT}_request", "S1x"]
)
def test_a_text_that_only_looks_like_a_citation_is_ignored(text: str) -> None:
    assert cited(text) == set()


@pytest.mark.parametrize(
    ("path", "text", "wanted"),
    [
        ("tests/end_to_end/test_a.py", '"""S6: no credential."""', {"S6"}),
        ("tests/end_to_end/test_a.py", '"""What is left (S4), once (S5)."""', {"S4", "S5"}),
        ("tests/faults/rules.py", '"""S5, S8: a build has one builder."""', {"S5", "S8"}),
        ("tests/end_to_end/test_a.py", "def test_s12_it_holds()", {"S12"}),
        ("tests/end_to_end/test_a.py", "# EBS fetches the blocks from S3 first.", set()),
        ("tests/local_cloud/networks.py", '"""Layers come from there (S3)."""', set()),
        ("a/src/lib.rs", "//! Prunes (S3).\n#[cfg(test)]\nmod tests {\n#[test]\n}", set()),
        ("a/src/lib.rs", "//! Prunes.\n#[cfg(test)]\nmod tests {\n/// (S3)\n#[test]\n}", {"S3"}),
        ("a/src/tests.rs", "//! Tests (S3).\n#[test]\nfn it_holds()", {"S3"}),
        ("a/src/lib.rs", "//! Prunes (S3).\n#[cfg(test)]\nmod tests;", set()),
    ],
)
def test_a_test_cites_a_rule_in_these_ways(path: str, text: str, wanted: set[str]) -> None:
    assert cited_by_tests(Path(path), text) == wanted


@pytest.mark.parametrize(
    ("text", "by_tests", "wanted"),
    [
        ("**It holds.**", {"S1"}, []),
        ("**It holds.**", {"S2"}, ["no test cites S1"]),
        (NOT_BUILT, set(), []),
        (NOT_BUILT, {"S1"}, ["S1 is not built, and a test cites it"]),
    ],
)
def test_a_rule_without_a_test_is_noticed(text: str, by_tests: set[str], wanted: list[str]) -> None:
    assert uncited("S1", text, by_tests) == wanted
