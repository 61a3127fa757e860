"""What a request cost in calls, transitions, history events and Lambda seconds.

Pure: computed from the records of the local cloud. Where AWS counts differently than MiniStack,
these counts are AWS's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MEMORY_GB = 0.25
"""Memory of each function, as in infra/template.yaml."""
OVERHEAD_SECONDS = 0.005
INIT_SECONDS = 0.02
"""Time of an invocation besides its AWS calls, and the additional time of a cold start."""
EVENTS = {
    "Pass": 2,  # entered, exited
    "Choice": 2,
    "Wait": 2,
    "Task": 5,  # entered, scheduled, started, succeeded, exited
    "StartExecution": 6,  # those of a Task, and submitted
    "Map": 4,  # entered, started, succeeded, exited
    "Iteration": 2,  # started, succeeded
    "Succeed": 2,
    "Fail": 1,
    "Execution": 4,  # started, succeeded, and the two events of its last state
}
"""Number of history events that Step Functions writes for each."""
NOT_STATES = ("Iteration",)


@dataclass(frozen=True)
class Counts:
    """The counts of everything that one request started."""

    seconds: float
    """From the request to the end."""
    calls: int
    """AWS calls, including those to DynamoDB, Step Functions and EventBridge."""
    transitions: int
    """States entered."""
    events: int
    """History events of the longest execution."""
    function_calls: int
    gigabyte_seconds: float
    longest_call_seconds: float
    functions_at_once: int


def count(
    seconds: float, record: Mapping[str, Any], layer_calls: int, call_seconds: float
) -> Counts:
    """The counts of one request.

    `record` comes from `ministack_record.Record.take`. `layer_calls` is the number of calls that
    the AWS layer saw. `call_seconds` is the assumed duration of a call.
    """
    states: Mapping[str, Mapping[str, int]] = record["states"]
    functions: Sequence[Mapping[str, Any]] = record["functions"]
    calls = layer_calls + sum(record["requests"].values())
    return Counts(
        seconds=seconds,
        calls=calls,
        transitions=sum(map(transitions, states.values())),
        events=max(map(events, states.values()), default=0),
        function_calls=len(functions),
        gigabyte_seconds=gigabyte_seconds(functions, calls * call_seconds),
        longest_call_seconds=max((call["seconds"] for call in functions), default=0.0),
        functions_at_once=most_at_once((c["began"], c["began"] + c["seconds"]) for c in functions),
    )


def transitions(states: Mapping[str, int]) -> int:
    """States that an execution entered; the `Execution` entry counts as the last one."""
    return sum(number for kind, number in states.items() if kind not in NOT_STATES)


def events(states: Mapping[str, int]) -> int:
    """Number of history events that an execution has on AWS."""
    return sum(EVENTS[kind] * number for kind, number in states.items())


def gigabyte_seconds(functions: Sequence[Mapping[str, Any]], waited_seconds: float) -> float:
    """GB-seconds billed for the invocations, if they waited `waited_seconds` for AWS in total.

    Not measured with this machine's clock: its processors are busy with the emulators. Assumes that
    a function makes its calls one after the other, which not all functions do.
    """
    cold = sum(call["first"] for call in functions)
    seconds = waited_seconds + len(functions) * OVERHEAD_SECONDS + cold * INIT_SECONDS
    return seconds * MEMORY_GB


def most_at_once(spans: Iterable[tuple[float, float]]) -> int:
    """The greatest number of time spans that overlap."""
    changes = Counter[tuple[float, int]]()
    for begin, end in spans:
        changes[begin, 1] += 1
        changes[end, -1] += 1
    most = now = 0
    # At the same moment an end sorts before a begin.
    for (_, change), number in sorted(changes.items()):
        now += change * number
        most = max(most, now)
    return most


def busiest(times: Sequence[float], seconds: float = 1.0) -> int:
    """The greatest number of times within any span of `seconds`."""
    ordered = sorted(times)
    most = first = 0
    for last, time in enumerate(ordered):
        while time - ordered[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most
