"""Tests of what the part `orchestration` computes from its rounds."""

from __future__ import annotations

from bench.critical_path import PhysicalWaits
from bench.parts.orchestration import Build, BuildByHand, Round, phase_table, seconds_figures

WAITS = PhysicalWaits(46.0, 120.0, 30.0, 180.0, 300.0)


def build(seconds: float, pull: float = 125.0) -> Build:
    return Build(seconds, WAITS, {"preflight": 0.5, "pull": pull, "end": 33.0, "publish": 2.0})


ROUNDS = [
    Round(build(710.0), build(680.0, pull), BuildByHand(400.0, 960.0, WAITS))
    for pull in (121, 124, 190)
]


def test_a_phase_shows_its_median_its_physical_wait_and_the_rest() -> None:
    shown = phase_table("Later", ROUNDS, lambda one: one.later)
    assert shown["rows"] == [
        ["preflight", "0.5", "", "0.5"],
        ["pull", "124.0", "120.0", "4.0"],
        ["end", "33.0", "30.0", "3.0"],
        ["publish", "2.0", "", "2.0"],
    ]


def test_the_two_ways_are_compared_round_by_round() -> None:
    figures = seconds_figures("short.", ROUNDS)
    assert figures["short.ratio"]["values"] == [680.0 / 960.0] * 3
    assert figures["short.physicalSeconds"]["values"] == [676.0] * 3
    assert figures["short.byHand.overhead"]["values"] == [(960.0 - 676.0) / 676.0] * 3
