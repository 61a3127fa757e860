"""The state machines' expressions give the same values as in the reference implementation.

The fixture `machines` compares the expressions of every test that uses it. These tests count them
and prove that a difference would be noticed.
"""

from typing import Any

import pytest

from .asl_definitions import load_definition
from .asl_rules import expressions_of
from .jsonata_reference import Evaluation, differences, read_evaluations
from .machines import Machines
from .test_build_machine import (
    BUILD,
    INTERRUPTED,
    LAUNCHED,
    READY,
    REPORTS,
    REQUEST,
    SENT,
    WITH_BUILDER,
    claimed,
    not_ready,
)
from .test_pipeline_machine import REFUSED, planned

WAITED = {
    **{step: [not_ready(2), *reports] for step, reports in REPORTS.items()},
    **{step: REPORTS[step] for step in ("preflight", "prune")},
    "claim": [not_ready(2) | {"seenToken": 3}, *claimed(BUILD)],
    "launch": [not_ready(2) | LAUNCHED, *REPORTS["launch"]],
    "pull": [not_ready(2) | SENT, *REPORTS["pull"]],
}
PRUNED = {
    **READY, "dryRun": False, "total": 1, "decisions": [{}], "refused": [], "warnings": [],
}  # fmt: skip
FAILING = [{"raise": ["VolumeFull", "40 GiB are not enough"]}]
EXECUTIONS: list[tuple[str, Any, dict[str, list[Any]]]] = [
    ("build", {"request": REQUEST}, WAITED),
    ("build", {"request": REQUEST}, REPORTS | {"claim": [{**READY, "outcome": "unchanged"}]}),
    ("build", {"request": REQUEST}, REPORTS | {"replicate eu-west-1": FAILING}),
    ("build", {"request": REQUEST}, REPORTS | {"pull": FAILING, "clean_up": FAILING}),
    ("build", {"request": REQUEST}, REPORTS | {"prune": FAILING}),
    *[
        ("build", {"request": REQUEST}, REPORTS | {step: [INTERRUPTED, *REPORTS[step]]})
        for step in WITH_BUILDER
    ],
    ("pipeline", {"cache": "default"}, planned("all-1", "all-2", refused=(REFUSED,))),
    ("pipeline", {"cache": "default"}, planned("fine-1")),
    ("pipeline", {"cache": "default"}, planned("bad-1") | {"pull": FAILING}),
    ("pipeline", {"cache": "default"}, {"plan": [not_ready(1), *planned()["plan"]]}),
    (
        "pipeline",
        {"rollback": {}},
        {"rollback": [not_ready(1), {**READY, "publications": [], "warnings": []}]},
    ),
    ("pipeline", {"prune": {}}, {"prune": [PRUNED]}),
    ("pipeline", {"prune": {}}, {"prune": FAILING}),
]


def test_every_expression_of_the_definitions_was_compared(machines: Machines) -> None:
    log = machines.evaluations
    begin = log.stat().st_size if log.exists() else 0
    for machine, document, reports in EXECUTIONS:
        machines.record(reports)
        machines.run(machine, document)
    evaluated = {one["expression"] for one in read_evaluations(log, begin)}
    written = {
        expression.strip()
        for machine in ("build", "pipeline")
        for expression in expressions_of(load_definition(machine))
    }
    assert sorted(written - evaluated) == []


def recorded(expression: str, **outcome: Any) -> Evaluation:
    states = {"context": {}, "input": {"count": 2}}
    return {"expression": expression, "variables": {}, "states": states, "millis": 5} | outcome


@pytest.mark.parametrize(
    "evaluation",
    [
        recorded("$states.input.count + $millis()", value=7),
        recorded("$states.input.count = 2", value=True),
        recorded("$parse('{\"a\": [1]}').a", value=[1]),
        recorded("$states.input.size", error="no result"),
        recorded("$states.input.count & 1 + 'x'", error="not a number"),
    ],
    ids=lambda one: one["expression"],
)
def test_the_same_result_of_the_reference_is_no_difference(evaluation: Evaluation) -> None:
    assert differences([evaluation]) == []


@pytest.mark.parametrize(
    "evaluation",
    [
        recorded("$states.input.count + 1", value=4),
        recorded("$states.input.size", value=None),
        recorded("$states.input.count", error="no result"),
        recorded("$states.input.count +", value=2),
    ],
    ids=lambda one: one["expression"],
)
def test_another_result_of_the_reference_is_reported(evaluation: Evaluation) -> None:
    assert len(differences([evaluation])) == 1
