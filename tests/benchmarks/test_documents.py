"""The parts' documents, and the summary of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.__main__ import document_lines, measure_part, rounds
from bench.documents import document, figure, read_documents, table, write_document
from bench.frame import Bench, BenchError
from bench.parts import MODULES, chosen, parts_module
from bench.summary import summarise


def ratios(**values: list[float]) -> dict[str, object]:
    """Ratio figures, from keywords `<set>_<link>_<version>`."""
    return {
        name.replace("_", ".") + ".ratio": figure("ratio", found) for name, found in values.items()
    }


def test_the_headline_is_the_slower_link_with_the_sharing_set_and_the_best_containerd() -> None:
    figures = ratios(
        sharing_shaped_2_1=[0.4, 0.5, 0.6],
        sharing_unshaped_2_1=[0.3, 0.4, 0.9],
        sharing_shaped_1_7=[0.8],
        large_shaped_1_6=[1.0, 1.01],
    )
    summary = summarise({"pull": document("pull", figures)})
    assert list(summary)[:2] == ["pull.sharing.ratio", "pull.worst.ratio"]
    assert summary["pull.sharing.ratio"] == {"min": 0.4, "median": 0.5, "max": 0.6}
    assert summary["pull.worst.ratio"]["max"] == 1.01
    assert summary["pull.sharing.shaped.1.7.ratio"]["median"] == 0.8


def test_the_summary_lacks_unmeasured_figures() -> None:
    content = document("lambda", {"initMs": figure("milliseconds", [5.0])})
    assert summarise({"lambda": content}) == {
        "lambda.initMs": {"min": 5.0, "median": 5.0, "max": 5.0}
    }


def test_a_figure_has_a_value_and_a_known_unit() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        figure("ratio", [])
    with pytest.raises(ValueError, match="'furlongs'"):
        figure("furlongs", [1.0])


def test_a_row_has_a_cell_for_each_column() -> None:
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        table("calls", ["a", "b"], [["1"]])


def test_only_measured_parts_are_read_in_the_requested_order(tmp_path: Path) -> None:
    for part in ("cost", "lambda"):
        write_document(tmp_path / f"{part}.json", document(part, {}))
    assert list(read_documents(tmp_path, list(MODULES))) == ["lambda", "cost"]


def test_the_headline_of_incremental_builds_is_the_version_with_the_least_gain() -> None:
    figures = {
        "2.1.ratio": figure("ratio", [0.1, 0.12, 0.2]),
        "1.6.ratio": figure("ratio", [0.14, 0.15]),
        "1.6.written.ratio": figure("ratio", [1.1]),
    }
    summary = summarise({"incremental": document("incremental", figures)})
    assert summary["incremental.ratio"] == {
        "min": 0.14,
        "median": pytest.approx(0.145),
        "max": 0.15,
    }


def test_parts_run_in_their_own_order() -> None:
    assert chosen(["demo", "lambda"]) == ["lambda", "demo"]
    with pytest.raises(BenchError, match="no part speed; there are lambda"):
        chosen(["speed"])


def test_invalid_numbers_of_rounds_are_refused() -> None:
    assert rounds("3") == 3
    for text in ("-1", "0", "many"):
        with pytest.raises(BenchError, match=f"RUNS is '{text}'"):
            rounds(text)


def test_a_part_is_written_with_the_machine_it_ran_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = document("demo", {"seconds": figure("seconds", [1.0])}, machine={"builderHost": "real"})
    monkeypatch.setattr(parts_module("demo"), "measure", lambda bench: found)
    assert measure_part("demo", Bench(tmp_path, lambda line: None))
    machine = read_documents(tmp_path, ["demo"])["demo"]["machine"]
    assert machine["processors"] == os.cpu_count()
    assert set(machine) == {"processors", "loadBefore", "loadAfter", "builderHost"}


def test_a_part_that_stops_writes_nothing_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(bench: Bench) -> None:
        raise BenchError("nothing is built")

    said: list[str] = []
    monkeypatch.setattr(parts_module("demo"), "measure", stop)
    assert not measure_part("demo", Bench(tmp_path, said.append))
    assert said[-1] == "the measurement of demo stops: nothing is built"
    assert not (tmp_path / "demo.json").exists()


def test_the_screen_shows_figures_tables_notes_and_the_machine() -> None:
    content = document(
        "growth",
        {"calls": figure("count", [7.0])},
        [table("Calls", ["regions", "calls"], [[1, 7]])],
        ["The builder host is a stand-in."],
        {"processors": 2, "loadBefore": 0.5, "loadAfter": 1.0},
    )
    assert document_lines(content)[3:] == [
        "Calls",
        "regions  calls",
        "1        7",
        "",
        "The builder host is a stand-in.",
        "Machine: 2 processors, load 0.5 before and 1.0 after.",
    ]
