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


def test_what_stands_between_the_markers_is_made_anew_and_nothing_else() -> None:
    assert filled(page("lambda"), CONTENT) == (
        "Before.\n<!-- begin lambda -->\n"
        "| figure | min | median | max | runs | wanted |  |\n|---|---|---|---|---|---|---|\n"
        "| `initMs` | 5.0 ms | 6.0 ms | 30.0 ms | 3 | ≤ 10.0 ms | as wanted |\n"
        "<!-- end lambda -->\nAfter.\n"
    )


def test_a_block_of_a_part_that_was_not_measured_stays() -> None:
    assert filled(page("pull"), CONTENT) == page("pull")


def test_a_block_that_nobody_makes_is_refused() -> None:
    with pytest.raises(KeyError, match="speed"):
        filled(page("speed"), CONTENT)


def test_no_text_ends_its_cell() -> None:
    assert "| what | a\\|b |\n|---|---|\n| x | y z |" in filled(page("lambda.tables"), CONTENT)


def test_a_headline_says_what_was_wanted_and_what_is_missing() -> None:
    rows = filled(page("headlines"), CONTENT)
    assert "| `lambda.initMs` | ≤ 10 | 5 | 6 | 30 | as wanted |" in rows
    assert "| `node.speedup` | ≥ 30 | – | – | – | not measured |" in rows


def test_a_headline_that_was_not_measured_again_stays() -> None:
    before = "| a node | `node.speedup` | ≥ 30 | 31 | 32 | 33 | as wanted |"
    rows = filled(page("headlines").replace("old", before), CONTENT)
    assert before in rows
    assert rows.count("node.speedup") == 1


def test_the_page_has_only_blocks_that_can_be_made_each_ended() -> None:
    text = PAGE.read_text()
    begun = re.findall(r"<!-- begin ([\w.]+) -->", text)
    assert begun == [found["name"] for found in WHERE.finditer(text)]
    assert set(begun) <= set(BLOCKS)


def test_a_quota_that_is_exceeded_is_marked() -> None:
    measured = Measured(25_001, 10, 2.0, 4096, 20, 30, {"ssm:PutParameter": 2})
    rows = {row[0]: row[3] for row in quota_rows(measured)}
    assert rows["history events of an execution"] == "100% OVER"
    assert rows["bytes of an advanced parameter"] == "50%"
    assert rows["PutParameter a second"] == "67%"
