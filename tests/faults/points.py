"""The points of the sweep: each is one thing that can go wrong with a run."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from local_cloud.fault_proxy import FAULTS, Call, Fault
from statemachine.asl_definitions import DEFINITIONS

_FUNCTION = re.compile(r"\$\{(\w+)FunctionArn\}")
STEPS = (*sorted(set(_FUNCTION.findall(DEFINITIONS["build"].read_text()))), "Plan")
"""The functions of a build and of its plan, by their names in the template."""
DELIVERIES = ("delivered twice", "delivered twice at once")
STOP = "stopped there"
_CALL = re.compile(
    r"(?P<service>\w+):(?P<action>\w+) #(?P<number>\d+) in (?P<account>\d+)/(?P<region>[\w-]+)"
)


@dataclass(frozen=True, order=True)
class Point:
    """One thing that goes wrong: a fault of a call, a stop in a state, or a delivery of a step."""

    what: str
    """A `Call` as text, the name of a state, or the name of a step."""
    fault: str

    def __str__(self) -> str:
        return f"{self.what}, {self.fault}"

    @property
    def row(self) -> str:
        """The row of the report's table that counts it: the call without number and place."""
        return self.what.partition(" ")[0]

    @property
    def call_fault(self) -> Fault | None:
        """The fault for the proxy; None for a stop or a delivery."""
        found = _CALL.fullmatch(self.what)
        if found is None:
            return None
        call = Call(
            found["service"],
            found["action"],
            found["account"],
            found["region"],
            int(found["number"]),
        )
        return Fault(call, self.fault)

    @property
    def mishap(self) -> dict[str, Any]:
        """The order for the executions; empty for a fault of a call."""
        if self.fault == STOP:
            return {"stopIn": self.what}
        if self.fault in DELIVERIES:
            return {"twice": f"{self.what}Function", "atOnce": self.fault == DELIVERIES[1]}
        return {}


def parse(text: str) -> Point:
    """The point with this text. Raises ValueError when no point of the sweep has it."""
    what, comma, fault = text.rpartition(", ")
    point = Point(what, fault)
    known = fault in FAULTS if point.call_fault else fault in (STOP, *DELIVERIES)
    if not comma or not known:
        raise ValueError(f"{text!r} is no point of the sweep, such as 'PullImages, {STOP}'")
    return point


def all_points(calls: Iterable[Call], states: Iterable[str]) -> list[Point]:
    """Every call with every fault, every state stopped, every step delivered twice."""
    found = [Point(str(call), fault) for call in calls for fault in FAULTS]
    found += [Point(state, STOP) for state in states]
    found += [Point(step, delivery) for step in STEPS for delivery in DELIVERIES]
    return sorted(set(found))


def in_order(points: Iterable[Point], first: Iterable[Point], seed: int) -> list[Point]:
    """The points of `first` come first; the seed shuffles the others."""
    first = list(first)
    others = sorted(set(points) - set(first))
    random.Random(seed).shuffle(others)
    return first + others
