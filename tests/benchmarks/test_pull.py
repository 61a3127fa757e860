"""Tests of which combinations are measured, in which order, and of their figures."""

from __future__ import annotations

import base64
import re
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.frame import Bench, BenchError
from bench.image_sets import PushedImage, PushedLayer
from bench.parts import floor, node, pull
from bench.parts.pull import (
    Combination,
    Rounds,
    as_document,
    chosen_combinations,
    measure_combination,
)

IMAGE = PushedImage(
    "bench/a", "v1", "sha256:" + "a" * 64, "sha256:c", (PushedLayer("sha256:" + "1" * 64, 7),)
)
LARGER = PushedImage(
    "bench/b", "v1", "sha256:" + "b" * 64, "sha256:d", (PushedLayer("sha256:" + "2" * 64, 9),)
)


def test_all_combinations_are_measured_unless_some_are_chosen() -> None:
    assert len(chosen_combinations({})) == 3 * 2 * 3
    one = {"PULL_SETS": "large", "PULL_LINKS": "shaped", "PULL_VERSIONS": "1.7,1.6"}
    names = [combination.name for combination in chosen_combinations(one)]
    assert names == ["large.shaped.1.7", "large.shaped.1.6"]


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(BenchError, match=r"PULL_SETS names smal; there are sharing"):
        chosen_combinations({"PULL_SETS": "smal"})


class FakeHost:
    """A host on which ours takes 2 s and theirs 4 s; it records the order."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.checks = 0

    @contextmanager
    def builder(self, user_data, link):
        yield self

    def seconds_of(self, way) -> float:
        self.order.append(way.name)
        return 2.0 if way.name == "ours" else 4.0

    def check(self, builder, images) -> None:
        self.checks += 1


def test_ours_and_theirs_take_turns_to_run_first(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pull, "our_way", lambda images: pull.Way("ours", "", ""))
    host = FakeHost()
    bench = Bench(tmp_path, lambda text: None, 3)
    rounds = measure_combination(bench, host, Combination("sharing", "shaped", "2.1"), [IMAGE])
    assert host.order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert rounds.ratios == [0.5] * 3
    assert host.checks == 2 + 1


def test_the_headlines_limit_is_a_half_and_every_other_ratios_is_one() -> None:
    results = {
        Combination("sharing", "unshaped", "2.1"): Rounds([1.0], [2.0]),
        Combination("sharing", "shaped", "1.7"): Rounds([3.0], [2.0]),
    }
    figures = as_document(results, {"sharing": [IMAGE, LARGER]})["figures"]
    ratios = {name: one for name, one in figures.items() if name.endswith(".ratio")}
    assert {name: (one["values"], one["wanted"]) for name, one in ratios.items()} == {
        "sharing.unshaped.2.1.ratio": ([0.5], 0.5),
        "sharing.shaped.1.7.ratio": ([1.5], 1.02),
    }


def test_a_failed_combination_comes_first_in_the_notes() -> None:
    results = {Combination("sharing", "shaped", "2.1"): Rounds([1.0], [2.0])}
    notes = as_document(results, {"sharing": [IMAGE]}, ["NOT MEASURED: large"])["notes"]
    assert notes == ["NOT MEASURED: large", *pull.NOTES]


def test_the_floor_pulls_every_distinct_layer_once_starting_with_the_largest() -> None:
    way = floor.floor_way([IMAGE, LARGER, IMAGE])
    script = base64.b64decode(re.search(r"echo (\S+) \|", way.command)[1]).decode()
    layers = re.search(r"layers='([^']*)'", script)[1].splitlines()
    assert layers == [f"bench/b sha256:{'2' * 64}", f"bench/a sha256:{'1' * 64}"]


def test_a_node_s_speedup_is_shown_without_and_with_the_boot() -> None:
    cold = {size: [node.Start(1.0, 5.0, 1.0)] for size in node.SIZES_MB}
    cached = {size: [node.Start(1.0, 0.0, 0.2)] for size in node.SIZES_MB}
    figures = node.as_document(cold, cached, {10: IMAGE})["figures"]
    assert figures["speedup"]["values"] == [pytest.approx(30.0)]
    assert figures["speedupWithBoot"]["values"] == [pytest.approx(7 / 1.2)]
    assert figures["curve.300.cold.seconds"]["values"] == [6.0]
