"""The sweep finds the points of a run, tries them, and counts what held."""

from __future__ import annotations

import json
import queue
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

import pytest
from local_cloud.processes import StartError

from .points import parse
from .sweep import Report, broken_lines, choose, ever_failed, find_points, sweep, table, work, write
from .trial import Outcome

CREATE = "ec2:CreateSnapshot #1 in 123456789012/us-east-1"


def silent(_: str) -> None: ...


def test_points_that_ever_failed_are_tried_first() -> None:
    failed = ever_failed()
    assert failed != []
    assert choose(failed[:1] + [parse(f"{CREATE}, 500 once")], [], 1)[: len(failed)] == failed


def test_a_report_counts_the_tried_points_and_those_that_held(tmp_path: Path) -> None:
    report = Report(7)
    report.add(Outcome(f"{CREATE}, 500 once", 1, "SUCCEEDED", 1.0))
    report.add(Outcome(f"{CREATE}, access denied", 2, "AwsDenied", 1.0, ["S4 builder i-1 is left"]))
    report.add(Outcome(f"{CREATE}, slow by 30 s", 0, "SUCCEEDED", 1.0))
    assert (report.points, report.held) == (2, 1)
    assert report.missed == [f"{CREATE}, slow by 30 s"]
    assert report.violations[0]["point"] == f"{CREATE}, access denied"
    broken = f"BROKEN {CREATE}, access denied: S4 builder i-1 is left"
    assert broken_lines(report.violations) == [broken]
    assert report.last_line == "seed 7: 2 points tried, 1 held, 0 s"
    write(report, tmp_path / "report.json")
    written = json.loads((tmp_path / "report.json").read_text())
    assert (written["points"], written["ends"]) == (2, {"SUCCEEDED": 1, "AwsDenied": 1})
    assert "| ec2:CreateSnapshot |" in table(report)
    assert " 1/0 |" in table(report)


@pytest.fixture(scope="module")
def swept() -> Report:
    points = find_points(silent)
    assert parse(f"{CREATE}, dropped after its effect") in points
    wanted = [
        parse(f"{CREATE}, dropped after its effect"),
        parse(f"{CREATE}, function killed after its effect"),
        parse("SnapshotVolume, stopped there"),
        parse("Snapshot, delivered twice at once"),
        parse("events:PutEvents #1 in 123456789012/us-east-1, access denied"),
    ]
    return sweep(wanted, 1, 2, None, silent, lambda _: None)


def test_a_few_points_are_tried_and_hold(swept: Report) -> None:
    assert swept.violations == []
    assert (swept.points, swept.held, swept.missed) == (5, 5, [])


def test_a_run_survives_a_fault_or_ends_with_it(swept: Report) -> None:
    assert swept.ends == {"SUCCEEDED": 4, "States.TaskFailed": 1}


def without_a_cloud() -> NoReturn:
    raise StartError("no ports are free")


def test_a_worker_reports_why_its_cloud_did_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faults.sweep.trials", without_a_cloud)
    points, outcomes = queue.Queue[Any](), queue.Queue[Any]()
    points.put(parse(f"{CREATE}, 500 once"))
    work(points, outcomes, nullcontext())
    assert "StartError: no ports are free" in outcomes.get_nowait()


def dying(_: Any, outcomes: Any, __: Any) -> None:
    outcomes.put("no ports are free")


def test_a_sweep_with_dead_workers_ends_with_their_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("faults.sweep.work", dying)
    with pytest.raises(RuntimeError, match="workers died(.|\n)*no ports are free"):
        sweep([parse(f"{CREATE}, 500 once")], 1, 1, None, silent, lambda _: None)
