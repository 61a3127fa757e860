"""The template for `sam local`, and what is read from its log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .docker_engine import Docker
from .report import Report
from .service import INVOKED, functions_of, prepare_template

TEMPLATE = {
    "Resources": {
        "CleanUpFunction": {
            "Type": "AWS::Serverless::Function",
            "Properties": {"Handler": "clean_up", "CodeUri": "CleanUpFunction"},
        },
        "PlanFunction": {
            "Type": "AWS::Serverless::Function",
            "Properties": {
                "Handler": "plan",
                "CodeUri": "PlanFunction",
                "Environment": {"Variables": {"KEPT": "yes"}},
            },
        },
        "LeaseTable": {"Type": "AWS::DynamoDB::Table", "Properties": {}},
    }
}


def test_functions_are_found_by_their_handlers() -> None:
    assert functions_of(TEMPLATE) == {"clean_up": "CleanUpFunction", "plan": "PlanFunction"}


def test_a_prepared_template_declares_the_endpoints_and_finds_its_code() -> None:
    prepared = prepare_template(TEMPLATE, Path("/built"), ["AWS_ENDPOINT_URL"])
    plan = prepared["Resources"]["PlanFunction"]["Properties"]
    assert plan["CodeUri"] == "/built/PlanFunction"
    assert plan["Environment"]["Variables"] == {"KEPT": "yes", "AWS_ENDPOINT_URL": ""}
    clean_up = prepared["Resources"]["CleanUpFunction"]["Properties"]
    assert clean_up["Environment"]["Variables"] == {"AWS_ENDPOINT_URL": ""}
    assert TEMPLATE["Resources"]["PlanFunction"]["Properties"]["CodeUri"] == "PlanFunction"


def test_calls_are_read_from_the_log() -> None:
    log = "Invoking plan (provided.al2023)\nother\n12:00 Invoking clean_up (provided.al2023)\n"
    assert INVOKED.findall(log) == ["plan", "clean_up"]


def test_our_own_docker_is_found_by_its_socket_despite_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere:2375")
    assert Docker().environment() == {"DOCKER_HOST": "tcp://elsewhere:2375"}
    assert Docker("unix:///run/x.sock").environment() == {"DOCKER_HOST": "unix:///run/x.sock"}


def test_a_report_shows_the_runs_and_their_base_image(tmp_path: Path) -> None:
    report = Report("x86_64", {"version": "20.10"}, {"shown": "STAND-IN name (5 MB)"})
    report.called_with("plan", "ecr-push")
    report.called_with("plan", "ecr-scan")
    report.ended("a push", "SUCCEEDED")
    report.ended("no capacity", "FAILED", "LaunchRefused")
    report.calls = {"plan": 7}
    lines = "\n".join(" ".join(line.split()) for line in report.lines())
    assert "base image STAND-IN name (5 MB)" in lines
    assert "plan 7 calls, 2 event files by the SDK" in lines
    assert "executions SUCCEEDED 1, FAILED LaunchRefused 1" in lines
    report.write(tmp_path / "made" / "report.json")
    assert json.loads((tmp_path / "made" / "report.json").read_text())["calls"] == {"plan": 7}
