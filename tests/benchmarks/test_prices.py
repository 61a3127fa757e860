"""Tests of the costs of builds and months."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.parts.cost import between
from bench.prices import (
    BuildFacts,
    User,
    build_dollars,
    copied_gb,
    fast_restore_dollars,
    initialization_dollars,
    month_dollars,
    stored_gb,
    waiting_dollars,
)

FACTS = BuildFacts(600.0, transitions=100, gigabyte_seconds=10, function_calls=50)
DAILY = User("daily", 1, 1, 1, node_launches_a_day=10)


def test_ten_minutes_of_a_builder_are_three_cents() -> None:
    bill = build_dollars(FACTS, 60, 125)
    assert bill["builder"] == pytest.approx(0.032)
    assert bill["Step Functions"] == pytest.approx(0.0025)
    assert bill["Lambda"] == pytest.approx(10 * 0.0000166667 + 50 * 0.0000002)
    assert bill["its volume"] == pytest.approx(60 * 0.08 * 600 / (730 * 3600))


def test_a_builder_is_billed_for_a_minute_at_least() -> None:
    short = replace(FACTS, builder_seconds=20.0)
    assert build_dollars(short, 60, 125)["builder"] == pytest.approx(0.192 / 60)


def test_throughput_above_the_gp3_baseline_is_billed() -> None:
    plain, fast = (build_dollars(FACTS, 60, rate)["its volume"] for rate in (125, 500))
    assert fast - plain == pytest.approx(375 * 0.04 * 600 / (730 * 3600))


def test_full_snapshots_hold_everything_each_time() -> None:
    assert DAILY.kept == 8
    assert stored_gb(DAILY, incremental=False) == 8 * 15
    assert copied_gb(DAILY, incremental=False) == 15


def test_a_chain_holds_one_full_snapshot_and_the_changes() -> None:
    assert stored_gb(DAILY, incremental=True) == pytest.approx(15 + 7 * 0.75)
    busy = replace(DAILY, builds_a_day=20)
    assert busy.kept == 141
    assert stored_gb(busy, incremental=True) == pytest.approx(8 * 15 + 133 * 0.75)


def test_the_first_build_of_a_chain_is_copied_whole() -> None:
    assert copied_gb(DAILY, incremental=True) == pytest.approx((15 + 19 * 0.75) / 20)
    assert copied_gb(replace(DAILY, links=1), incremental=True) == 15


def test_a_month_is_builds_storage_and_transfer() -> None:
    user = replace(DAILY, caches=2, regions=3, builds_a_day=2)
    bill = month_dollars(user, {"all": 0.01}, incremental=False)
    assert bill["builds"] == pytest.approx(120 * 0.01)
    assert bill["snapshot storage"] == pytest.approx(2 * 3 * 15 * 15 * 0.05)
    assert bill["transfer to regions"] == pytest.approx(120 * 2 * 15 * 0.02)


def test_fast_restore_is_billed_by_zone_and_hour_independent_of_launches() -> None:
    assert fast_restore_dollars(DAILY) == pytest.approx(3 * 730 * 0.75)
    assert fast_restore_dollars(replace(DAILY, node_launches_a_day=0)) > 1_600


def test_the_cost_of_nodes_grows_with_their_launches() -> None:
    assert initialization_dollars(DAILY) == pytest.approx(300 * 15 * 0.0036)
    assert waiting_dollars(DAILY, 120.0) == pytest.approx(300 * 120 / 3600 * 0.192)


def test_values_between_two_measured_sizes_are_interpolated() -> None:
    assert between({1: 100.0, 10: 1000.0, 30: 2000.0}, 10) == 1000.0
    assert between({1: 100.0, 10: 1000.0, 30: 2000.0}, 4) == pytest.approx(400.0)
