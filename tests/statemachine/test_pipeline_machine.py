"""The pipeline state machine, with real child executions of the build, run by MiniStack."""

import time
from typing import Any

import pytest

from .machines import Machines
from .test_build_machine import PUBLICATION, READY, REPORTS, not_ready
from .test_build_machine import REQUEST as BUILD_REQUEST

REQUEST = {"cache": "default"}
REFUSED = {"cache": "gpu", "error": "InvalidCache", "message": "images: must not be empty"}


def planned(*ids: str, refused: tuple[dict[str, str], ...] = ()) -> dict[str, list[Any]]:
    builds = [BUILD_REQUEST | {"id": build} for build in ids]
    plan = {**READY, "builds": builds, "refused": list(refused), "reason": "as recorded"}
    return REPORTS | {"plan": [plan]}


def test_a_request_that_needs_no_build_succeeds_and_says_why(machines: Machines) -> None:
    machines.record(planned())
    assert machines.run("pipeline", REQUEST).output == {"reason": "as recorded"}
    assert machines.steps() == ["plan"]


def test_a_dry_run_shows_the_planned_builds(machines: Machines) -> None:
    dry_run = [{"cache": "default", "architecture": "x86_64", "build": True, "reason": "new"}]
    plan = {**READY, "builds": [], "refused": []}
    plan |= {"reason": "a dry run", "dryRun": dry_run}
    machines.record({"plan": [plan]})
    ended = machines.run("pipeline", REQUEST | {"dryRun": True})
    assert ended.output == {"reason": "a dry run", "dryRun": dry_run}


def test_plan_is_called_with_the_execution_until_it_has_read_the_caches(
    machines: Machines,
) -> None:
    before = int(time.time())
    machines.record({"plan": [not_ready(40), not_ready(5), *planned("asked-1")["plan"]]} | REPORTS)
    execution = machines.start("pipeline", REQUEST)
    ended = machines.wait(execution)
    assert [item["build"] for item in ended.output["builds"]] == ["asked-1"]
    asked = [call["event"] for call in machines.calls() if call["step"] == "plan"]
    started = asked[0]["startedAt"]
    assert isinstance(started, int) and before <= started <= time.time()
    given = {"request": REQUEST, "executionId": execution, "startedAt": started}
    assert asked == [given | {"waitedSeconds": waited} for waited in (0, 40, 45)]


def test_the_plan_of_a_function_of_an_older_release_is_final(machines: Machines) -> None:
    plan = {key: value for key, value in planned("older-1")["plan"][0].items() if key not in READY}
    machines.record(REPORTS | {"plan": [plan]})
    ended = machines.run("pipeline", REQUEST)
    assert [item["build"] for item in ended.output["builds"]] == ["older-1"]


def test_every_planned_build_runs_and_its_result_is_returned(machines: Machines) -> None:
    machines.record(planned("every-1", "every-2"))
    ended = machines.run("pipeline", REQUEST)
    assert ended.status == "SUCCEEDED", ended.cause
    told = {item["build"]: item["result"]["outcome"] for item in ended.output["builds"]}
    assert told == {"every-1": "published", "every-2": "published"}


def test_a_single_build_runs(machines: Machines) -> None:
    machines.record(planned("single-1"))
    ended = machines.run("pipeline", REQUEST)
    assert [item["build"] for item in ended.output["builds"]] == ["single-1"]


def test_one_failed_build_fails_the_pipeline_and_lets_the_other_finish(machines: Machines) -> None:
    failing = {"pull one-fails-1": [{"raise": ["VolumeFull", "40 GiB are not enough"]}]}
    machines.record(planned("one-fails-1", "one-fails-2") | failing)
    ended = machines.run("pipeline", REQUEST)
    assert (ended.status, ended.error) == ("FAILED", "VolumeFull")
    assert ended.cause == (
        "VolumeFull: Build one-fails-1 of cache default (x86_64): "
        "PullImages failed with VolumeFull: 40 GiB are not enough"
    )
    assert machines.steps("one-fails-1")[-1] == "clean_up"
    assert "publish" in machines.steps("one-fails-2")


def test_every_failed_build_is_reported(machines: Machines) -> None:
    failing = [{"raise": ["VolumeFull", "40 GiB are not enough"]}]
    machines.record(planned("both-fail-1", "both-fail-2") | {"pull": failing})
    ended = machines.run("pipeline", REQUEST)
    assert [line.split(" of ")[0] for line in ended.cause.splitlines()] == [
        "VolumeFull: Build both-fail-1",
        "VolumeFull: Build both-fail-2",
    ]


def test_a_refused_cache_fails_the_pipeline_after_the_other_builds_ran(machines: Machines) -> None:
    machines.record(planned("refused-1", refused=(REFUSED,)))
    ended = machines.run("pipeline", REQUEST)
    assert (ended.status, ended.error) == ("FAILED", "InvalidCache")
    assert ended.cause == "InvalidCache: cache gpu: images: must not be empty"
    assert "publish" in machines.steps("refused-1")


def test_a_refused_cache_alone_fails_the_pipeline(machines: Machines) -> None:
    machines.record(planned(refused=(REFUSED,)))
    assert machines.run("pipeline", REQUEST).error == "InvalidCache"
    assert machines.steps() == ["plan"]


def test_a_plan_that_fails_ends_under_its_own_error_name(machines: Machines) -> None:
    machines.record({"plan": [{"raise": ["InvalidRequest", "no cache is named"]}]})
    ended = machines.run("pipeline", REQUEST)
    assert (ended.error, ended.cause) == ("InvalidRequest", "InvalidRequest: no cache is named")


def test_the_error_and_cause_of_a_failed_child_execution_are_kept(
    machines: Machines,
) -> None:
    machines.record(planned("b-1"))
    ended = machines.run("pipeline", REQUEST, failure="BuildFailedOnAws")
    assert ended.error == "VolumeFull"
    assert ended.cause == (
        "VolumeFull: Build b-1: PullImages failed with VolumeFull: 40 GiB are not enough"
    )


def test_an_aborted_build_fails_the_pipeline_and_names_the_execution(machines: Machines) -> None:
    machines.record(planned("b-1"))
    ended = machines.run("pipeline", REQUEST, failure="BuildAborted")
    assert ended.error == "States.TaskFailed"
    assert ended.cause.endswith("execution:build:b-1 ended as ABORTED")


def test_a_truncated_cause_is_shown_unchanged(machines: Machines) -> None:
    machines.record(planned("b-1"))
    ended = machines.run("pipeline", REQUEST, failure="CauseCutOff")
    assert ended.error == "States.TaskFailed"
    assert "execution:build:b-1" in ended.cause


def test_a_build_with_a_used_execution_name_fails_the_pipeline(machines: Machines) -> None:
    machines.record(planned("b-1"))
    ended = machines.run("pipeline", REQUEST, failure="NameTaken")
    assert ended.error == "StepFunctions.ExecutionAlreadyExistsException"
    assert "execution:build:b-1" in ended.cause


ROLLBACK = {"cache": "default", "architecture": "x86_64"}
DECISION = {
    "region": "eu-west-1",
    "snapshotId": "snap-9",
    "decision": "delete",
    "reason": "nothing names it and 5 newer ones exist",
}


def test_a_rollback_is_called_until_it_is_done_and_returns_its_publications(
    machines: Machines,
) -> None:
    told = {"publications": [PUBLICATION], "warnings": ["bus b of 210987654321 refused"]}
    done = {**READY, **told}
    seen = not_ready(5) | {"seenToken": 4}
    machines.record({"rollback": [not_ready(10), seen, done]})
    execution = machines.start("pipeline", {"rollback": ROLLBACK})
    ended = machines.wait(execution)
    assert ended.output == {"rollback": ROLLBACK, **told}
    asked = [(call["step"], call["event"]["waitedSeconds"]) for call in machines.calls()]
    assert asked == [("rollback", 0), ("rollback", 10), ("rollback", 15)]
    assert machines.calls()[-1]["event"] == {
        "rollback": ROLLBACK,
        "executionId": execution,
        "waitedSeconds": 15,
        "seenToken": 4,
    }


def test_a_refused_rollback_ends_under_its_own_error_name(machines: Machines) -> None:
    refusal = "default (x86_64) has no previous snapshot"
    machines.record({"rollback": [{"raise": ["NothingToRollBack", refusal]}]})
    ended = machines.run("pipeline", {"rollback": ROLLBACK})
    assert (ended.status, ended.error) == ("FAILED", "NothingToRollBack")
    assert ended.cause == f"NothingToRollBack: {refusal}"
    assert machines.steps() == ["rollback"]


def test_a_dry_run_of_prune_shows_every_decision_and_that_it_was_dry(machines: Machines) -> None:
    request = {"cache": "default", "dryRun": True}
    pruned = {"dryRun": True, "total": 1, "decisions": [DECISION], "refused": []}
    pruned |= {"warnings": ["launch templates cannot be read"]}
    machines.record({"prune": [{**READY, **pruned}]})
    ended = machines.run("pipeline", {"prune": request})
    assert ended.output == {"prune": request, **pruned}
    assert [call["event"] for call in machines.calls()] == [{"prune": request}]


def test_an_unconfirmed_retirement_is_shown_as_a_dry_run(machines: Machines) -> None:
    pruned = {"dryRun": True, "total": 0, "decisions": [], "refused": [], "warnings": []}
    machines.record({"prune": [{**READY, **pruned}]})
    request = {"cache": "default", "retire": True}
    ended = machines.run("pipeline", {"prune": request})
    assert ended.output == {"prune": request, **pruned}


def test_snapshots_that_ec2_refused_to_delete_are_reported(machines: Machines) -> None:
    pruned = {"dryRun": False, "total": 1, "decisions": [], "refused": ["snap-1: in use"]}
    pruned |= {"warnings": []}
    machines.record({"prune": [{**READY, **pruned}]})
    ended = machines.run("pipeline", {"prune": {"cache": "default"}})
    assert ended.output["refused"] == ["snap-1: in use"]


def test_a_refused_prune_ends_under_its_own_error_name(machines: Machines) -> None:
    machines.record({"prune": [{"raise": ["PruneRefused", "no such cache"]}]})
    ended = machines.run("pipeline", {"prune": {"cache": "gone", "dryRun": False}})
    assert (ended.error, ended.cause) == ("PruneRefused", "PruneRefused: no such cache")


def test_a_request_for_rollback_and_prune_goes_to_plan_and_is_refused(machines: Machines) -> None:
    machines.record({"plan": [{"raise": ["InvalidRequest", "unknown field"]}]})
    both = {"rollback": ROLLBACK, "prune": {"cache": "default", "dryRun": True}}
    assert machines.run("pipeline", both).error == "InvalidRequest"
    assert machines.steps() == ["plan"]


@pytest.mark.parametrize("request_", ["text", [], {}, {"detail": {"rollback": ROLLBACK}}])
def test_any_other_request_goes_to_plan_unchanged(machines: Machines, request_: Any) -> None:
    machines.record(planned())
    machines.run("pipeline", request_)
    assert [call["event"]["request"] for call in machines.calls()] == [request_]


PLACES = 100
WIDE = {
    "outcome": "published",
    "reason": "new",
    "warnings": [],
    "snapshotId": "snap-0123456789abcdef0",
    "publications": [
        PUBLICATION | {"account": f"{place:012}", "snapshotId": f"snap-{place:017x}"}
        for place in range(PLACES)
    ],
}


@pytest.mark.parametrize(
    ("builds", "told"),
    [
        (1, ["outcome", "publications", "reason", "snapshotId", "warnings"]),
        (100, ["outcome", "reason", "snapshotId", "warnings"]),
        (200, ["outcome", "reason", "snapshotId", "warnings"]),
    ],
)
def test_the_results_of_many_builds_in_many_places_fit_between_two_states(
    machines: Machines, builds: int, told: list[str]
) -> None:
    machines.record(
        planned(*(f"wide-{builds}-{number}" for number in range(builds)))
        | {"claim": [WIDE | READY]}
    )
    ended = machines.run("pipeline", REQUEST)
    assert ended.status == "SUCCEEDED", ended.cause
    results = [item["result"] for item in ended.output["builds"]]
    assert len(results) == builds
    for number, result in enumerate(results):
        assert sorted(result) == told
        assert (result["outcome"], result["snapshotId"]) == ("published", WIDE["snapshotId"])
        if builds > 1:
            (rest,) = result["warnings"]
            assert rest.endswith(f":build:wide-{builds}-{number}")


def test_a_state_with_too_much_output_ends_the_execution(machines: Machines) -> None:
    machines.record({"plan": [{"builds": [], "refused": [], "reason": "x" * 256 * 1024}]})
    assert machines.run("pipeline", REQUEST).error == "States.DataLimitExceeded"


def test_a_task_with_too_much_input_does_not_run(machines: Machines) -> None:
    machines.record(planned())
    assert machines.run("pipeline", "x" * (256 * 1024 - 10)).error == "States.DataLimitExceeded"
    assert machines.steps() == []


def test_the_errors_of_many_builds_fit_between_two_states(machines: Machines) -> None:
    failing = {"claim": [{"raise": ["AwsDenied", "no, " * 10_000]}]}
    ids = [f"many-fail-{number}" for number in range(100)]
    machines.record(planned(*ids) | failing)
    ended = machines.run("pipeline", REQUEST)
    assert (ended.status, ended.error) == ("FAILED", "AwsDenied")
    lines = ended.cause.splitlines()
    assert lines[0].startswith("AwsDenied: Build many-fail-0 of cache default (x86_64): ")
    assert len(lines) > 20
