"""The spread of the runs and the table."""

from __future__ import annotations

import pytest

from .__main__ import demo_runs, in_order
from .figures import Spread, show_value, table, verdict
from .runtime_emulator import BenchError


def test_a_spread_has_the_median_of_an_even_number_of_runs() -> None:
    assert Spread.of([4.0, 1.0, 10.0, 2.0]) == Spread(1.0, 3.0, 10.0, 4)


def test_without_a_run_there_is_no_spread() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        Spread.of([])


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("lambda.initMs", 9.123, "9.1 ms"),
        ("lambda.zipBytes", 3_456_789, "3.46 MB"),
        ("localCloud.readySeconds", 2.04, "2.0 s"),
        ("demo.seconds", 61.0, "61.0 s"),
    ],
)
def test_a_value_is_shown_in_the_unit_of_its_name(name: str, value: float, shown: str) -> None:
    assert show_value(name, value) == shown


def test_the_limit_itself_is_as_wanted() -> None:
    assert verdict(15, 15.0) == "as wanted"
    assert verdict(15, 15.1) == "MORE THAN WANTED"
    assert verdict(None, 15.1) == ""


def test_the_table_shows_the_limit_beside_the_figure_and_a_part_without() -> None:
    spreads = {
        "lambda.initMs": Spread(8.0, 9.0, 30.0, 14),
        "lambda.clean_up.initMs": Spread(8.0, 16.0, 30.0, 7),
    }
    assert table(spreads) == [
        "                              min   median      max  runs      wanted",
        "cold start, all functions  8.0 ms   9.0 ms  30.0 ms    14  <= 15.0 ms  as wanted",
        "  clean_up                 8.0 ms  16.0 ms  30.0 ms     7",
    ]


def test_each_functions_cold_start_follows_the_one_of_all() -> None:
    one = Spread.of([1.0])
    names = ("lambda.zipBytes", "lambda.plan.initMs", "lambda.initMs")
    assert list(in_order(dict.fromkeys(names, one))) == [
        "lambda.initMs",
        "lambda.plan.initMs",
        "lambda.zipBytes",
    ]


def test_runs_that_are_no_number_are_refused() -> None:
    assert demo_runs("3") == 3
    with pytest.raises(BenchError, match="RUNS is '-1'"):
        demo_runs("-1")
