"""Tests of what the part `growth` computes from its counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.counts import Counts
from bench.parts.growth import SIZES, Outcome, axis_table, growth_of, quota_table, sizes_of

COUNTS = Counts(30.0, 100, 130, 400, 40, 3.5, 0.75, 2)


def outcomes(**calls: list[int]) -> dict[tuple[str, int], Outcome]:
    """Outcomes of each axis, with these numbers of calls."""
    written = {"ssm:PutParameter": [1.0, 1.04, 1.5]}
    return {
        (axis, size): Outcome(replace(COUNTS, calls=number), written, 900)
        for axis, numbers in calls.items()
        for size, number in zip(SIZES[axis], numbers, strict=False)
    }


def test_calls_in_proportion_to_the_size_grow_with_its_first_power() -> None:
    assert growth_of("regions", outcomes(regions=[100, 1000, 3000])) == pytest.approx(1.0)


def test_calls_that_grow_faster_are_above_one_and_slower_ones_below() -> None:
    assert growth_of("regions", outcomes(regions=[100, 1000, 9000])) == pytest.approx(2.0)
    assert growth_of("regions", outcomes(regions=[100, 1000, 2000])) < 1.0
    assert growth_of("images", outcomes(images=[100, 100, 100])) == 0.0


def test_a_size_that_could_not_be_built_is_left_out() -> None:
    found = outcomes(consumers=[100, 500])
    assert sizes_of("consumers", found) == [1, 10]
    assert [row[0] for row in axis_table("consumers", found)["rows"]] == ["1", "10"]


def test_the_greatest_sizes_are_compared_with_the_quotas() -> None:
    found = outcomes(**dict.fromkeys(SIZES, [100, 200, 300]))
    found["regions", 30] = replace(
        found["regions", 30], counts=replace(COUNTS, events=5000), manifest_bytes=4096
    )
    shares = {row[0]: row[3] for row in quota_table(found)["rows"]}
    assert shares["history events of an execution"] == "20%"
    assert shares["bytes of an advanced parameter"] == "50%"
    assert shares["PutParameter a second"] == "67%"
