"""Points are found, written as text, and read again."""

from __future__ import annotations

import pytest
from local_cloud.fault_proxy import FAULTS, Call, Fault

from .points import DELIVERIES, STEPS, STOP, Point, all_points, in_order, parse

CALL = Call("ec2", "CreateSnapshot", "123456789012", "us-east-1", 2)
OTHER = Call("ssm", "GetParameter", "210987654321", "eu-west-1", 14)


def test_the_points_are_every_fault_of_every_call_every_stop_and_every_delivery() -> None:
    points = all_points([CALL, OTHER], ["PullImages"])
    assert len(points) == 2 * len(FAULTS) + 1 + len(STEPS) * len(DELIVERIES)
    assert Point("PullImages", STOP) in points


@pytest.mark.parametrize("point", all_points([CALL, OTHER], ["PullImages"]), ids=str)
def test_a_point_is_read_back_from_its_text(point: Point) -> None:
    assert parse(str(point)) == point
    assert (point.call_fault is None) == bool(point.mishap)


def test_a_point_of_a_call_plants_its_fault() -> None:
    assert Point(str(CALL), "500 once").call_fault == Fault(CALL, "500 once")


@pytest.mark.parametrize("text", ["", "PullImages", "PullImages, 500 once", f"{CALL}, stopped"])
def test_a_text_that_is_not_a_point_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no point of the sweep"):
        parse(text)


def test_the_order_follows_the_seed_and_begins_with_points_that_ever_failed() -> None:
    points = all_points([CALL, OTHER], [])
    failed = [Point(str(OTHER), "500 once")]
    first, second = (in_order(points, failed, seed) for seed in (1, 2))
    assert first[0] == second[0] == failed[0]
    assert first != second
    assert sorted(first) == sorted(second) == points
    assert in_order(points, failed, 1) == first
