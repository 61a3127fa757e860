"""Tests of filling the page with figures."""

from __future__ import annotations

import re

import pytest

from bench.documents import document, figure, table
from bench.quotas import Measured, quota_rows
from bench.report import BLOCKS, PAGE, WHERE, filled

CONTENT = {
    "lambda": {
        **document(
            "lambda",
            {"initMs": figure("milliseconds", [5.0, 6.0, 30.0], 10.0),
             "plan.initMs": figure("milliseconds", [5.0])},
            [table("Sizes", ["what", "a|b"], [["x", "y\nz"]])],
            ["Under an emulator."],
        ),
        "machine": {"processors": 2, "loadBefore": 0.5, "loadAfter": 1.0},
    }
}  # fmt: skip


def page(name: str) -> str:
    return f"Before.\n<!-- begin {name} -->\nold\n<!-- end {name} -->\nAfter.\n"


def test_only_the_text_between_the_markers_is_replaced() -> None:
    assert filled(page("lambda"), CONTENT) == (
        "Before.\n<!-- begin lambda -->\n"
        "| figure | min | median | max | runs | wanted |  |\n|---|---|---|---|---|---|---|\n"
        "| `initMs` | 5.0 ms | 6.0 ms | 30.0 ms | 3 | ≤ 10.0 ms | as wanted |\n"
        "<!-- end lambda -->\nAfter.\n"
    )


def test_the_block_of_an_unmeasured_part_stays() -> None:
    assert filled(page("pull"), CONTENT) == page("pull")


def test_an_unknown_block_is_refused() -> None:
    with pytest.raises(KeyError, match="speed"):
        filled(page("speed"), CONTENT)


def test_special_characters_stay_inside_their_cell() -> None:
    assert "| what | a\\|b |\n|---|---|\n| x | y z |" in filled(page("lambda.tables"), CONTENT)


def test_a_headline_shows_its_limit_and_whether_it_was_measured() -> None:
    rows = filled(page("headlines"), CONTENT)
    assert "| `lambda.initMs` | ≤ 10 | 5 | 6 | 30 | as wanted |" in rows
    assert "| `node.speedup` | ≥ 30 | – | – | – | not measured |" in rows


def test_a_headline_that_was_not_measured_again_stays() -> None:
    before = "| a node | `node.speedup` | ≥ 30 | 31 | 32 | 33 | as wanted |"
    rows = filled(page("headlines").replace("old", before), CONTENT)
    assert before in rows
    assert rows.count("node.speedup") == 1


def test_the_page_has_only_known_blocks_and_each_one_ends() -> None:
    text = PAGE.read_text()
    begun = re.findall(r"<!-- begin ([\w.]+) -->", text)
    assert begun == [found["name"] for found in WHERE.finditer(text)]
    assert set(begun) <= set(BLOCKS)


def test_an_exceeded_quota_is_marked() -> None:
    measured = Measured(25_001, 10, 2.0, 4096, 20, 30, {"ssm:PutParameter": 2})
    rows = {row[0]: row[3] for row in quota_rows(measured)}
    assert rows["history events of an execution"] == "100% OVER"
    assert rows["bytes of an advanced parameter"] == "50%"
    assert rows["PutParameter a second"] == "67%"
