"""Counting what a request cost."""

from __future__ import annotations

from typing import Any

from bench.counts import busiest, count, events, gigabyte_seconds, most_at_once

BUILD = {"Execution": 1, "Pass": 1, "Task": 3, "Choice": 3, "Wait": 2, "Map": 1,
         "Iteration": 2, "Succeed": 2}  # fmt: skip


def call(seconds: float, first: bool = False, began: float = 0.0) -> dict[str, Any]:
    return {"seconds": seconds, "first": first, "began": began}


def test_a_task_writes_five_events_and_an_item_of_a_map_two() -> None:
    assert events({"Task": 1}) == 5
    assert events({"Map": 1, "Iteration": 10}) == 4 + 20
    assert events(BUILD) == 4 + 2 + 15 + 6 + 4 + 4 + 4 + 4


def test_states_of_all_executions_count_and_the_events_of_the_longest() -> None:
    record = {
        "states": {"build": BUILD, "pipeline": {"Execution": 1, "StartExecution": 1}},
        "functions": [call(0.1), call(2.0, began=0.05)],
        "requests": {"DynamoDB.GetItem": 3},
    }
    counts = count(60.0, record, 10, 0.1)
    assert (counts.transitions, counts.events) == (13 + 2, 43)
    assert (counts.calls, counts.function_calls) == (13, 2)
    assert counts.gigabyte_seconds == (1.3 + 2 * 0.005) * 0.25
    assert (counts.longest_call_seconds, counts.functions_at_once) == (2.0, 2)


def test_functions_are_billed_for_waits_and_cold_starts() -> None:
    calls = [call(9.0), call(9.0, first=True)]
    assert gigabyte_seconds(calls, 2.0) == (2.0 + 2 * 0.005 + 0.02) * 0.25


def test_consecutive_calls_do_not_overlap() -> None:
    assert most_at_once([(0.0, 1.0), (1.0, 2.0)]) == 1
    assert most_at_once([(0.0, 3.0), (1.0, 2.0), (1.5, 4.0)]) == 3
    assert most_at_once([]) == 0


def test_the_busiest_window_may_begin_at_any_time() -> None:
    assert busiest([0.0, 0.9, 1.1, 1.8, 5.0]) == 3
    assert busiest([0.0, 0.9, 1.1, 1.8, 5.0], 0.5) == 2
    assert busiest([]) == 0
