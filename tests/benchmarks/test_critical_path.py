"""Tests of the physical waits of a build, and of the time added to them."""

from __future__ import annotations

from typing import Any

import pytest

from bench.critical_path import PhysicalWaits, published_at, waits_of_build


def snapshot(build: str, seconds: float, copy_of: str | None = None) -> dict[str, Any]:
    return {"tags": {"frontload:build": build}, "seconds": seconds, "copyOf": copy_of}


STATE = {
    "instances": {
        "i-1": {"tags": {"frontload:build": "b1"}, "bootSeconds": 46.0},
        "i-2": {"tags": {"frontload:build": "b2"}, "bootSeconds": 99.0},
    },
    "commands": [
        {"instanceId": "i-1", "seconds": 0.1},
        {"instanceId": "i-1", "seconds": 120.0},
        {"instanceId": "i-1", "seconds": None},
        {"instanceId": "i-2", "seconds": 500.0},
    ],
}
SNAPSHOTS = [
    snapshot("b1", 180.0),
    snapshot("b1", 200.0, "snap-1"),
    snapshot("b1", 300.0, "snap-1"),
    snapshot("b2", 900.0),
]


def test_only_the_builds_own_waits_and_its_slowest_copy_count() -> None:
    waits = waits_of_build(STATE, SNAPSHOTS, "b1", 30.0)
    assert waits == PhysicalWaits(46.0, 120.0, 30.0, 180.0, 300.0)
    assert waits.total == 676.0


def test_without_another_region_nothing_is_copied() -> None:
    assert waits_of_build(STATE, SNAPSHOTS, "b2", 30.0).copies == 0.0


def test_a_build_without_builder_or_snapshot_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 builders and 0 snapshots of b3"):
        waits_of_build(STATE, SNAPSHOTS, "b3", 30.0)


def test_overhead_is_the_time_beyond_the_physical_waits() -> None:
    assert PhysicalWaits(10.0, 20.0, 5.0, 25.0, 40.0).overhead(108.0) == pytest.approx(0.08)


def test_a_cache_is_published_with_its_last_parameter() -> None:
    def call(time: float, name: str, action: str = "PutParameter") -> dict[str, Any]:
        return {"time": time, "action": action, "parameters": {"Name": name}}

    calls = [
        call(1.0, "/frontload/a/x86_64/manifest"),
        call(5.0, "/frontload/a/x86_64/snapshot-id"),
        call(6.0, "/frontload/a/x86_64/snapshot-id", "LabelParameterVersion"),
        call(7.0, "/frontload/a/x86_64/snapshot-id", "GetParameter"),
        call(8.0, "/frontload/ab/x86_64/snapshot-id"),
    ]
    assert published_at(calls, "a", 0.0) == 6.0
    with pytest.raises(ValueError, match="cache a was not published"):
        published_at(calls, "a", 6.5)
