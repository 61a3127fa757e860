"""What can go wrong with a run, one thing at a time."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from local_cloud.fault_proxy import FAULTS, Call, Fault

STEPS = (
    "Claim",
    "Preflight",
    "Launch",
    "Pull",
    "Snapshot",
    "Replicate",
    "Publish",
    "Prune",
    "CleanUp",
    "Plan",
)
"""The functions of a build and of its plan, as the template names them."""
DELIVERIES = ("delivered twice", "delivered twice at once")
STOP = "stopped there"
_CALL = re.compile(
    r"(?P<service>\w+):(?P<action>\w+) #(?P<number>\d+) in (?P<account>\d+)/(?P<region>[\w-]+)"
)


@dataclass(frozen=True, order=True)
class Point:
    """What goes wrong: a call with a fault, a state with its stop, a step with a delivery."""

    what: str
    """A `Call` as text, a state's name, or a step's."""
    fault: str

    def __str__(self) -> str:
        return f"{self.what}, {self.fault}"

    @property
    def row(self) -> str:
        """Where it is counted in the report's table: the call without number and place."""
        return self.what.partition(" ")[0]

    @property
    def call_fault(self) -> Fault | None:
        """For the proxy; None for a stop or a delivery."""
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
        """For the executions; empty for a call."""
        if self.fault == STOP:
            return {"stopIn": self.what}
        if self.fault in DELIVERIES:
            return {"twice": f"{self.what}Function", "atOnce": self.fault == DELIVERIES[1]}
        return {}


def parse(text: str) -> Point:
    """The point that is written so. Raises ValueError."""
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
    """Those that ever failed first, the others shuffled by the seed."""
    first = list(first)
    others = sorted(set(points) - set(first))
    random.Random(seed).shuffle(others)
    return first + others
