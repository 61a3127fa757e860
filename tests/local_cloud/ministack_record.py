"""Records what MiniStack does not report, and adds the latencies of AWS that MiniStack lacks.

MiniStack's history omits the events inside a Map and the durations of Lambda calls. MiniStack does
not count a function's requests to DynamoDB and Step Functions either. This module wraps MiniStack's
own functions to record all of that; `/_local/record` returns it.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from ministack.services import stepfunctions

from .request_check import is_of_function

VARIABLE = "FRONTLOAD_LOCAL_LATENCIES"
KINDS = ("Pass", "Task", "Choice", "Wait", "Map")


@dataclass(frozen=True)
class Latencies:
    """Seconds to wait in addition to the time that MiniStack itself takes."""

    transition_seconds: float = 0.0
    """Before each state."""
    cold_seconds: float = 0.0
    """Before an execution's first call of a function."""
    warm_seconds: float = 0.0
    """Before the execution's other calls of that function."""

    @classmethod
    def of_environment(cls) -> Latencies:
        """The latencies that `MiniStack` was started with."""
        return cls(**json.loads(os.environ.get(VARIABLE, "{}")))


@dataclass
class Record:
    """What was done since the last `take`."""

    states: dict[str, Counter[str]] = field(default_factory=dict)
    """By execution: how often a state of each kind was entered, at the top and inside Maps. A Task
    that starts an execution counts as `StartExecution`. `Iteration` counts the items of Maps.
    `Execution` counts the execution itself, which ends in one more state."""
    functions: list[dict[str, Any]] = field(default_factory=list)
    """Each call of a function: its name, the execution, when it began (Unix time), how many seconds
    it took, and whether it was the execution's first of that function."""
    requests: Counter[str] = field(default_factory=Counter)
    """Functions' requests to MiniStack, by target."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    _called: set[tuple[str, str]] = field(default_factory=set)

    def enter(self, execution: str, kind: str) -> None:
        """Count a state."""
        with self.lock:
            self.states.setdefault(execution, Counter())[kind] += 1

    def is_first(self, execution: str, function: str) -> bool:
        """Whether the execution has not called the function before this call."""
        with self.lock:
            first = (execution, function) not in self._called
            self._called.add((execution, function))
            return first

    def call(self, **facts: Any) -> None:
        """Add a call of a function."""
        with self.lock:
            self.functions.append(facts)

    def request(self, headers: list[tuple[bytes, bytes]]) -> bool:
        """Count a request if a function sent it, not a test or MiniStack; returns whether."""
        named = {name.lower(): value.decode(errors="replace") for name, value in headers}
        functions_own = is_of_function(named.get(b"user-agent", ""))
        if functions_own:
            with self.lock:
                self.requests[named.get(b"x-amz-target", "other")] += 1
        return functions_own

    def take(self) -> dict[str, Any]:
        """Return everything so far, and forget it."""
        with self.lock:
            taken = {
                "states": self.states,
                "functions": self.functions,
                "requests": self.requests,
            }
            self.states, self.functions, self.requests = {}, [], Counter()
        return taken


RECORD = Record()
EXECUTION: ContextVar[str] = ContextVar("execution", default="")


class WatchedStates(dict[str, Any]):
    """The states of a Map's iteration. MiniStack ends one without a function that we could wrap."""

    execution = ""

    def get(self, name: str, default: Any = None) -> Any:  # type: ignore[override]
        """Return the entered state; counts the kinds for which MiniStack calls no function."""
        state = super().get(name, default)
        if state and state["Type"] not in KINDS:
            RECORD.enter(self.execution, state["Type"])
        return state


def install(latencies: Latencies) -> None:
    """Record, and add the latencies, from now on."""
    for kind in KINDS:
        name = f"_execute_{kind.lower()}"
        setattr(stepfunctions, name, _state(kind, getattr(stepfunctions, name), latencies))
    stepfunctions._run_sub_machine = _iteration(stepfunctions._run_sub_machine)
    stepfunctions._run_execution = _execution(stepfunctions._run_execution)
    stepfunctions._call_lambda = _function(stepfunctions._call_lambda, latencies)


def _state(kind: str, execute: Callable[..., Any], latencies: Latencies) -> Callable[..., Any]:
    def entered(state: Any, given: Any, *more: Any) -> Any:
        execution = more[-1]["Execution"]["Id"]
        starts = kind == "Task" and ":startExecution" in state["Resource"]
        RECORD.enter(execution, "StartExecution" if starts else kind)
        EXECUTION.set(execution)
        time.sleep(latencies.transition_seconds)
        return execute(state, given, *more)

    return entered


def _iteration(run: Callable[..., Any]) -> Callable[..., Any]:
    def iterated(states: Any, start: str, given: Any, execution: Any, context: Any) -> Any:
        watched = WatchedStates(states)
        watched.execution = context["Execution"]["Id"]
        RECORD.enter(watched.execution, "Iteration")
        return run(watched, start, given, execution, context)

    return iterated


def _execution(run: Callable[..., Any]) -> Callable[..., Any]:
    def executed(arn: str) -> Any:
        RECORD.enter(arn, "Execution")
        return run(arn)

    return executed


def _function(call: Callable[..., Any], latencies: Latencies) -> Callable[..., Any]:
    def called(reference: Any, event: Any) -> Any:
        name, execution = str(reference).rpartition(":")[2], EXECUTION.get()
        first = RECORD.is_first(execution, name)
        time.sleep(latencies.cold_seconds if first else latencies.warm_seconds)
        began, begun = time.time(), time.monotonic()
        try:
            return call(reference, event)
        finally:
            seconds = time.monotonic() - begun
            RECORD.call(
                function=name, execution=execution, first=first, began=began, seconds=seconds
            )

    return called
