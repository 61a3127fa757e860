"""Tests of the part `cost` on the documents of other parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.documents import document, figure, table, write_document
from bench.frame import Bench, BenchError
from bench.parts.cost import USERS, bills_of, builder_seconds, facts_of, measure

PHASES = table(
    "Where the time of a later build goes, seconds",
    ["phase", "took", "physical", "added"],
    [["launch", "50.0", "46.0", "4.0"], ["pull", "125.0", "120.0", "5.0"]],
)


def growth() -> dict[str, Any]:
    names = {"transitions": 100, "gigabyteSeconds": 4, "functionCalls": 40}
    return document(
        "growth",
        {f"regions.{size}.{name}": figure("count", [value * size])
         for name, value in names.items() for size in (1, 10, 30)},
    )  # fmt: skip


def test_a_builder_is_billed_from_its_launch_until_the_snapshot_begins() -> None:
    assert builder_seconds(document("orchestration", {}, [PHASES])) == 50 + 125 + 20


def test_counts_follow_the_users_regions() -> None:
    facts = facts_of(USERS[1], growth(), document("orchestration", {}, [PHASES]))
    assert USERS[1].regions == 3
    assert (facts.transitions, facts.function_calls) == (300, 120)


def test_chains_cost_less_than_full_snapshots_and_fast_restore_more_than_both() -> None:
    for user in USERS:
        bills = bills_of(user, {"all": 0.02})
        assert bills["incremental"] < bills["full"]
        assert bills["fastRestore"] > bills["initialization"]


def test_every_user_has_a_bill_for_a_build_and_for_a_month(tmp_path: Path) -> None:
    write_document(tmp_path / "growth.json", growth())
    write_document(tmp_path / "orchestration.json", document("orchestration", {}, [PHASES]))
    found = measure(Bench(tmp_path, lambda line: None))
    assert [row[0] for row in found["tables"][0]["rows"]] == [user.name for user in USERS]
    assert found["figures"]["10x3.month.full"]["values"][0] > 1_000


def test_without_the_counts_there_is_no_bill(tmp_path: Path) -> None:
    write_document(tmp_path / "growth.json", growth())
    with pytest.raises(BenchError, match="measure them first"):
        measure(Bench(tmp_path, lambda line: None))
