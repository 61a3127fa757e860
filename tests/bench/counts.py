"""What a request cost in calls, transitions, history events and Lambda seconds.

Pure: from the records of the local cloud. Where AWS counts differently than MiniStack, it is
reckoned as AWS does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MEMORY_GB = 0.25
"""Of each function, as infra/template.yaml gives it."""
INIT_SECONDS = 0.02
"""Billed besides the call at a cold start."""
EVENTS = {
    "Pass": 2,  # entered, exited
    "Choice": 2,
    "Wait": 2,
    "Task": 5,  # entered, scheduled, started, succeeded, exited
    "StartExecution": 6,  # besides: submitted
    "Map": 4,  # entered, started, succeeded, exited
    "Iteration": 2,  # started, succeeded
    "Succeed": 2,
    "Fail": 1,
    "Execution": 4,  # started, succeeded, and the two of its last state
}
"""History events that Step Functions writes for each."""
NOT_STATES = ("Iteration",)


@dataclass(frozen=True)
class Counts:
    """Of everything that one request started."""

    seconds: float
    """From the request to the end."""
    calls: int
    """AWS calls, those of DynamoDB, Step Functions and EventBridge included."""
    transitions: int
    """States entered."""
    events: int
    """History events of the longest execution."""
    function_calls: int
    gigabyte_seconds: float
    longest_call_seconds: float
    functions_at_once: int


def count(seconds: float, record: Mapping[str, Any], layer_calls: int) -> Counts:
    """From `ministack_record.Record.take` and how many calls the AWS layer saw."""
    states: Mapping[str, Mapping[str, int]] = record["states"]
    functions: Sequence[Mapping[str, Any]] = record["functions"]
    return Counts(
        seconds=seconds,
        calls=layer_calls + sum(record["requests"].values()),
        transitions=sum(map(transitions, states.values())),
        events=max(map(events, states.values()), default=0),
        function_calls=len(functions),
        gigabyte_seconds=sum(map(gigabyte_seconds, functions)),
        longest_call_seconds=max((call["seconds"] for call in functions), default=0.0),
        functions_at_once=most_at_once((c["began"], c["began"] + c["seconds"]) for c in functions),
    )


def transitions(states: Mapping[str, int]) -> int:
    """States that an execution entered; the execution stands for its last one."""
    return sum(number for kind, number in states.items() if kind not in NOT_STATES)


def events(states: Mapping[str, int]) -> int:
    """History events that an execution has on AWS."""
    return sum(EVENTS[kind] * number for kind, number in states.items())


def gigabyte_seconds(call: Mapping[str, Any]) -> float:
    """What a call of a function is billed: whole milliseconds, the cold start included."""
    seconds = call["seconds"] + (INIT_SECONDS if call["first"] else 0.0)
    return math.ceil(seconds * 1000) / 1000 * MEMORY_GB


def most_at_once(spans: Iterable[tuple[float, float]]) -> int:
    """The most of some spans of time that overlap."""
    changes = Counter[tuple[float, int]]()
    for begin, end in spans:
        changes[begin, 1] += 1
        changes[end, -1] += 1
    most = now = 0
    # At the same moment an end comes before a begin.
    for (_, change), number in sorted(changes.items()):
        now += change * number
        most = max(most, now)
    return most


def busiest_second(times: Sequence[float]) -> int:
    """The most moments within any one second."""
    ordered = sorted(times)
    most = first = 0
    for last, time in enumerate(ordered):
        while time - ordered[first] >= 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


def marginal(sizes: Sequence[int], totals: Sequence[float]) -> list[float]:
    """What each further unit cost between every size and the next."""
    return [(totals[i + 1] - totals[i]) / (sizes[i + 1] - sizes[i]) for i in range(len(sizes) - 1)]
