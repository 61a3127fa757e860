"""The spread of the runs, and figures on the screen."""

from __future__ import annotations

import pytest

from bench.documents import figure
from bench.figures import Spread, figure_lines, show_value, verdict


def test_a_spread_has_the_median_of_an_even_number_of_runs() -> None:
    assert Spread.of([4.0, 1.0, 10.0, 2.0]) == Spread(1.0, 3.0, 10.0, 4)


def test_without_a_run_there_is_no_spread() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        Spread.of([])


@pytest.mark.parametrize(
    ("unit", "value", "shown"),
    [
        ("milliseconds", 9.123, "9.1 ms"),
        ("bytes", 3_456_789, "3.46 MB"),
        ("seconds", 61.04, "61.0 s"),
        ("ratio", 0.4567, "0.457"),
        ("count", 25000.0, "25,000"),
        ("dollars", 0.01234, "$0.0123"),
        ("dollars", 1640.256, "$1,640.26"),
    ],
)
def test_a_value_is_shown_with_its_unit(unit: str, value: float, shown: str) -> None:
    assert show_value(unit, value) == shown


def test_a_figure_equal_to_its_limit_is_as_wanted() -> None:
    assert verdict("initMs", 15, 15.0) == "as wanted"
    assert verdict("initMs", 15, 15.1) == "MORE THAN WANTED"
    assert verdict("initMs", None, 15.1) == ""


def test_a_speedup_above_its_limit_is_as_wanted() -> None:
    assert verdict("speedup", 30, 31.0) == "as wanted"
    assert verdict("speedup", 30, 29.0) == "LESS THAN WANTED"


def test_the_table_shows_figures_with_and_without_a_limit() -> None:
    figures = {
        "initMs": figure("milliseconds", [8.0, 9.0, 30.0], 10.0),
        "warmMs": figure("milliseconds", [1.0]),
        "speedup": figure("ratio", [31.0], 30.0),
    }
    assert figure_lines(figures) == [
        "            min  median      max  runs      wanted",
        "initMs   8.0 ms  9.0 ms  30.0 ms     3  <= 10.0 ms  as wanted",
        "warmMs   1.0 ms  1.0 ms   1.0 ms     1",
        "speedup  31.000  31.000   31.000     1   >= 30.000  as wanted",
    ]
