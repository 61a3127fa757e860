"""Tries every point on several local clouds side by side, and reports what held.

Functions, state machines, template and leases are the real ones. The builder host and the registry
are the scripted stand-ins, which pull nothing. `tests/end_to_end/test_failures.py` tries what goes
wrong on a builder.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from local_cloud.fault_proxy import FAULTS
from statemachine.asl_definitions import load_definition
from statemachine.asl_rules import states_of

from .points import DELIVERIES, STOP, Point, all_points, in_order, parse
from .trial import Outcome, trials

TRIALS_PER_CLOUD = 40
"""Then a new cloud starts, because the state of an emulator grows with every run."""
STOPPABLE = ("Task", "Map", "Choice", "Wait", "Pass")
EVER_FAILED = Path(__file__).with_name("ever_failed.txt")
HOST = "scripted stand-in"
DONE = None
OUTCOME_SECONDS = 600.0
TOLD_SECONDS = 30.0

Say = Callable[[str], None]
Keep = Callable[["Report"], None]


def find_points(say: Say) -> list[Point]:
    """Every point, derived from the calls of a run in which nothing goes wrong."""
    with trials() as made:
        calls = made.reference()
    states = [
        name
        for machine in ("build", "pipeline")
        for name, state in states_of(load_definition(machine))
        if state["Type"] in STOPPABLE
    ]
    points = all_points(calls, states)
    say(f"{len(calls)} AWS calls, {len(states)} states: {len(points)} points")
    return points


def ever_failed() -> list[Point]:
    """Every point that once broke a rule, from a file with one a line."""
    lines = EVER_FAILED.read_text().splitlines() if EVER_FAILED.exists() else []
    return [parse(line) for line in lines if line and not line.startswith("#")]


@dataclass
class Report:
    """What was tried, and what held."""

    seed: int
    host: str = HOST
    seconds: float = 0.0
    points: int = 0
    held: int = 0
    missed: list[str] = field(default_factory=list)
    """Points at which nothing went wrong, because the run did without that call."""
    violations: list[dict[str, Any]] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=dict)
    """Status or error -> how many runs ended with it after something went wrong."""
    table: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    """By call and fault: how many points were tried, and how many held."""

    def add(self, outcome: Outcome) -> None:
        """Count a point."""
        if outcome.hits == 0 and not outcome.violations:
            self.missed.append(outcome.point)
            return
        point = parse(outcome.point)
        held = not outcome.violations
        self.points += 1
        self.held += held
        self.ends[outcome.ended] = self.ends.get(outcome.ended, 0) + 1
        row = self.table.setdefault(point.row, {})
        tried, kept = row.get(point.fault, [0, 0])
        row[point.fault] = [tried + 1, kept + held]
        if not held:
            self.violations.append(asdict(outcome))

    @property
    def last_line(self) -> str:
        """The numbers of points that were tried and that held."""
        line = f"{self.points} points tried, {self.held} held"
        return f"seed {self.seed}: {line}, {self.seconds:.0f} s"


def table(report: Report) -> str:
    """Points tried by call and fault, as Markdown; `tried/held` where some did not hold."""
    faults = [*FAULTS, STOP, *DELIVERIES]
    lines = ["| | " + " | ".join(faults) + " |", "|---|" + "---|" * len(faults)]
    for row, cells in sorted(report.table.items()):
        told = [cells.get(fault) for fault in faults]
        texts = ["" if cell is None else _cell(*cell) for cell in told]
        lines.append(f"| {row} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def broken_lines(outcomes: list[dict[str, Any]]) -> list[str]:
    """A line for each violation, with its point."""
    return [
        f"BROKEN {one['point']}: {violation}" for one in outcomes for violation in one["violations"]
    ]


def _cell(tried: int, held: int) -> str:
    return str(tried) if tried == held else f"{tried}/{held}"


def work(points: Any, outcomes: Any, starts: Any) -> None:
    """Try points until there are none, in a separate process.

    `starts` is a semaphore that limits how many local clouds start at the same time. When a local
    cloud does not start, `outcomes` gets the traceback.
    """
    try:
        for batch in _batches(points):
            _try(batch, outcomes, starts)
    except Exception:
        outcomes.put(traceback.format_exc())


def _try(batch: Iterator[Point], outcomes: Any, starts: Any) -> None:
    with ExitStack() as ends_cloud:
        with starts:
            made = ends_cloud.enter_context(trials())
        for point in batch:
            try:
                outcomes.put(made.attempt(point))
            except Exception as error:
                outcomes.put(Outcome(str(point), 0, type(error).__name__, 0.0, [repr(error)]))
                break


def _batches(points: Any) -> Iterator[Iterator[Point]]:
    """The points for one cloud after another, until there are none."""
    while (first := points.get()) is not DONE:
        rest = islice(iter(points.get, DONE), TRIALS_PER_CLOUD - 1)
        yield chain([first], rest)


def sweep(
    points: list[Point], seed: int, workers: int, seconds: float | None, say: Say, keep: Keep
) -> Report:
    """Try these points in this order, or as many of them as the seconds allow.

    `keep` gets the report so far each time that progress is printed, and at the end. Raises
    TimeoutError when no outcome comes for longer than a point may take, and RuntimeError with the
    cause when a worker died.
    """
    begun = time.monotonic()
    context = multiprocessing.get_context("spawn")
    to_try, outcomes = context.Queue(maxsize=workers), context.Queue()
    # A start keeps a processor busy and has time limits; all starts at once would reach them.
    starts, died = context.BoundedSemaphore(os.cpu_count() or 1), list[str]()
    processes = [
        context.Process(target=work, args=(to_try, outcomes, starts), daemon=True)
        for _ in range(workers)
    ]
    for process in processes:
        process.start()
    report, left = Report(seed), iter(points)
    next_point, last_told = next(left, DONE), begun
    last_outcome = begun
    while any(process.is_alive() for process in processes) or not outcomes.empty():
        now = time.monotonic()
        if seconds is not None and now - begun > seconds:
            next_point = DONE
        with suppress(queue.Full):
            to_try.put_nowait(next_point)
            next_point = next(left, DONE) if next_point is not DONE else DONE
        with suppress(queue.Empty):
            outcome = outcomes.get(timeout=0.2)
            last_outcome = now
            if isinstance(outcome, str):
                died.append(outcome)
                continue
            report.add(outcome)
            for line in broken_lines([asdict(outcome)]):
                say(line)
        if now - last_outcome > OUTCOME_SECONDS:
            raise TimeoutError(f"no point came to an end in {OUTCOME_SECONDS:.0f} s")
        if now - last_told > TOLD_SECONDS:
            last_told = now
            report.seconds = now - begun
            keep(report)
            say(f"{report.points} of {len(points)} points tried, {report.held} held")
    report.seconds = time.monotonic() - begun
    keep(report)
    died += [f"exit code {process.exitcode}" for process in processes if process.exitcode]
    if died:
        raise RuntimeError("workers died, what they tried has no outcome:\n" + "\n".join(died))
    return report


def choose(points: list[Point], only: list[str], seed: int) -> list[Point]:
    """The points that contain a text of `only`, or all if it is empty, in the order to try."""
    if not only:
        return in_order(points, ever_failed(), seed)
    return in_order([p for p in points if any(text in str(p) for text in only)], [], seed)


def write(report: Report, path: Path) -> None:
    """Write the report as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(report), indent=2) + "\n")
