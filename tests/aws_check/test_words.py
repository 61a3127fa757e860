"""What the check prints without a call to AWS: the table, the price, the scripts."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from local_cloud.aws import host_containers

from tools import pull_script
from tools.aws_check import local, scripts
from tools.aws_check.account import Options
from tools.aws_check.commands import READER, for_admin
from tools.aws_check.cost import dollars, estimate
from tools.aws_check.names import OWNERS, USUAL_OWNER
from tools.aws_check.progress import Progress, WaitTimedOut
from tools.aws_check.table import Answer, CheckError, Question, Row, Skipped, Table

ROOT = Path(__file__).parents[2]
PULL = pull_script.text()
RENDERER = pull_script.RENDERER.read_text()
QUESTION = Question("name", "asked", "good", "bad")


def test_the_check_reads_from_the_scripts_which_programs_they_use() -> None:
    called = scripts.programs(PULL).split()
    assert {"bash", "awk", "curl", "jq", "sha256sum", "flock", "sheltie"} - {
        *called,
        "bash",
    } == set()
    assert (
        scripts.programs('# curl\nx=$(jq . <<<"$y") | tail -n 1\nmy-sed /usr/bin/cut') == "jq tail"
    )
    on_host = set(scripts.host_programs(PULL).split())
    assert {"containerd", "ctr", "systemctl", "systemd-run", "sync", "find", "true"} <= on_host
    places = scripts.identity(PULL).split()
    assert {"/var/log", "/var/lib/kubelet", "/local/host-containers/admin"} <= set(places)
    assert all(re.fullmatch(r"/(?:var|local)/[\w/-]+", place) for place in places)


def test_a_script_is_sent_as_frontload_sends_its_own() -> None:
    (own,) = re.findall(r'r#"(IFS= read.*?)"#', RENDERER)
    assert re.sub(r"exec .* </dev/null", "exec 2>&1 </dev/null", own) == READER
    text = for_admin("programs.sh", programs="one two", seconds="1")
    inside = text.split("\n", 1)[1].rsplit("\n`\n", 1)[0]
    assert "`" not in inside and "#" not in inside.replace("${", "")
    with pytest.raises(ValueError):
        for_admin("programs.sh", programs="it's")


def test_the_check_and_the_local_cloud_know_the_same_owners_of_host_containers() -> None:
    known = host_containers._ACCOUNTS
    assert {region: OWNERS.get(region, USUAL_OWNER) for region in known} == known


def test_the_estimate_shows_the_price_in_cents_and_its_inputs() -> None:
    usual = Options("frontload", Path("template.yaml"))
    assert 0.03 < dollars(usual, 12) < 0.10 < dollars(usual, 150) < 1
    assert "about 4 cents" in estimate(usual) and "$0.096" in estimate(usual)
    nothing = Options("frontload", Path("template.yaml"), builder=False)
    assert "costs nothing" in estimate(nothing)


def table(told: list[Row]) -> Table:
    return Table(told.append, lambda error, question: (str(error), question.bad))


def test_a_row_has_the_question_the_answer_and_its_meaning() -> None:
    told: list[Row] = []
    rows = table(told)

    def fail() -> Answer:
        raise CheckError("no\nway | here\x1b[31m", "line 1\n```\nline 2")

    def skip() -> Answer:
        raise Skipped("there is none", "Make one.")

    assert rows.ask(QUESTION, lambda: Answer("yes", 7)) == 7
    assert rows.ask(QUESTION, fail) is None and rows.ask(QUESTION, skip) is None
    text = rows.as_markdown()
    assert "| name | ok | asked | yes | good |" in text
    assert "| name | failed | asked | no way \\| here?[31m | bad |" in text
    assert "skipped: there is none | Nothing is known of this. Make one. |" in text
    assert "line 1\n'''\nline 2\n```" in text
    assert "\x1b" not in text and "\x1b[31mfailed" in rows.as_markdown(colour=True)
    assert json.loads(json.dumps(rows.as_dicts()))[1]["details"].startswith("line 1")
    assert [row.outcome for row in told] == ["ok", "failed", "skipped"]


def test_a_wait_times_out_and_shows_its_last_look() -> None:
    progress = Progress(io.StringIO())
    with pytest.raises(WaitTimedOut, match="rain did not come within 0 s; the last look: clouds"):
        progress.wait_for("rain", lambda: (None, "clouds"), 0.05, 0.01)
    assert progress.wait_for("rain", lambda: (1, ""), 0.05, 0.01) == 1


def test_a_row_that_the_local_cloud_cannot_answer_is_skipped_with_the_reason() -> None:
    rows = table([])
    rows.cannot["name"] = local.NOTHING_RUNS
    assert rows.ask(QUESTION, lambda: Answer("never")) is None
    assert (rows.rows[0].outcome, rows.failed) == ("skipped", [])
    assert local.NOTHING_RUNS in rows.rows[0].said
