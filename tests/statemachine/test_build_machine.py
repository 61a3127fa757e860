"""The build state machine, run by MiniStack with recorded step reports."""

from typing import Any

from .machines import Machines

BUILD = {
    "id": "b-1",
    "cache": "default",
    "architecture": "x86_64",
    "region": "us-east-1",
}
REPORTS: dict[str, list[Any]] = {
    "claim": [{"ready": True, "outcome": "claimed", "reason": "new digests"}],
    "launch": [{"ready": True, "instanceId": "i-1"}],
    "pull": [{"ready": True, "pulled": {"images": 2}}],
    "snapshot": [{"ready": True, "snapshotId": "snap-1"}],
    "publish": [{"ready": True, "parameter": "/frontload/default/x86_64/snapshot-id"}],
    "clean_up": [{"ready": True, "released": ["i-1"]}],
}
ALL_STEPS = ["claim", "launch", "pull", "snapshot", "publish", "clean_up"]


def not_ready(seconds: int) -> dict[str, Any]:
    return {"ready": False, "waitSeconds": seconds, "progress": "on its way"}


def test_a_build_runs_every_step_once_and_tells_what_it_published(machines: Machines) -> None:
    machines.record(REPORTS)
    ended = machines.run("build", {"build": BUILD})
    assert ended.output == {
        "outcome": "published",
        "parameter": "/frontload/default/x86_64/snapshot-id",
        "snapshotId": "snap-1",
    }
    assert machines.steps() == ALL_STEPS


def test_facts_of_earlier_steps_reach_the_later_ones(machines: Machines) -> None:
    machines.record(REPORTS)
    execution = machines.start("build", {"build": BUILD})
    machines.wait(execution)
    events = {call["step"]: call["event"] for call in machines.calls()}
    assert events["claim"] == {"build": BUILD, "executionId": execution, "waitedSeconds": 0}
    assert events["publish"] == {
        "build": BUILD,
        "pulled": {"images": 2},
        "snapshotId": "snap-1",
        "waitedSeconds": 0,
    }


def test_an_unchanged_build_launches_nothing_and_says_why(machines: Machines) -> None:
    unchanged = {"ready": True, "outcome": "unchanged", "reason": "same digests"}
    machines.record(REPORTS | {"claim": [unchanged]})
    ended = machines.run("build", {"build": BUILD})
    assert ended.output == {"outcome": "unchanged", "reason": "same digests"}
    assert machines.steps() == ["claim"]


def test_waited_seconds_add_up_within_a_step_and_start_anew_in_the_next(
    machines: Machines,
) -> None:
    machines.record(
        REPORTS
        | {
            "launch": [not_ready(10), not_ready(15), *REPORTS["launch"]],
            "pull": [not_ready(20), *REPORTS["pull"]],
        }
    )
    assert machines.run("build", {"build": BUILD}).status == "SUCCEEDED"
    waited = [(call["step"], call["event"]["waitedSeconds"]) for call in machines.calls()]
    assert waited[1:7] == [
        ("launch", 0),
        ("launch", 10),
        ("launch", 25),
        ("pull", 0),
        ("pull", 20),
        ("snapshot", 0),
    ]


def test_a_report_that_asks_for_no_wait_still_counts_towards_the_time_limit(
    machines: Machines,
) -> None:
    machines.record(REPORTS | {"pull": [not_ready(0), not_ready(0), *REPORTS["pull"]]})
    machines.run("build", {"build": BUILD})
    waited = [call["event"]["waitedSeconds"] for call in machines.calls() if call["step"] == "pull"]
    assert waited == [0, 1, 2]


def test_a_failed_step_is_cleaned_up_and_named_with_its_message(machines: Machines) -> None:
    machines.record(REPORTS | {"pull": [not_ready(9), {"raise": ["DigestMismatch", 'got "b"']}]})
    ended = machines.run("build", {"build": BUILD})
    assert (ended.status, ended.error) == ("FAILED", "DigestMismatch")
    assert ended.cause == (
        "Build b-1 of cache default (x86_64, us-east-1): "
        'PullImages failed with DigestMismatch: got "b"'
    )
    assert machines.steps() == ["claim", "launch", "pull", "pull", "clean_up"]
    assert machines.calls()[-1]["event"]["waitedSeconds"] == 0


def test_a_claim_that_fails_midway_is_cleaned_up(machines: Machines) -> None:
    machines.record(REPORTS | {"claim": [{"raise": ["AwsDenied", "no ssm:PutParameter"]}]})
    assert machines.run("build", {"build": BUILD}).error == "AwsDenied"
    assert machines.steps() == ["claim", "clean_up"]


def test_a_failing_clean_up_is_reported_besides_the_first_error(machines: Machines) -> None:
    machines.record(
        REPORTS
        | {
            "snapshot": [{"raise": ["SnapshotFailed", "state error"]}],
            "clean_up": [not_ready(5), {"raise": ["CleanUpTimedOut", "i-1 still shuts down"]}],
        }
    )
    ended = machines.run("build", {"build": BUILD})
    assert ended.error == "SnapshotFailed"
    assert ended.cause == (
        "Build b-1 of cache default (x86_64, us-east-1): "
        "SnapshotVolume failed with SnapshotFailed: state error. "
        "Besides, CleanUp failed with CleanUpTimedOut: i-1 still shuts down"
    )


def test_a_failing_clean_up_fails_a_build_that_had_published(machines: Machines) -> None:
    machines.record(REPORTS | {"clean_up": [{"raise": ["CleanUpTimedOut", "i-1 stays"]}]})
    ended = machines.run("build", {"build": BUILD})
    assert (ended.status, ended.error) == ("FAILED", "CleanUpTimedOut")


def test_a_passing_outage_is_retried(machines: Machines) -> None:
    outage = {"raise": ["AwsUnavailable", "throttled"]}
    machines.record(REPORTS | {"snapshot": [outage, outage, *REPORTS["snapshot"]]})
    assert machines.run("build", {"build": BUILD}).status == "SUCCEEDED"
    assert machines.steps().count("snapshot") == 3


def test_a_lasting_outage_ends_under_its_own_name(machines: Machines) -> None:
    machines.record(REPORTS | {"snapshot": [{"raise": ["AwsUnavailable", "throttled"]}]})
    assert machines.run("build", {"build": BUILD}).error == "AwsUnavailable"
    assert machines.steps().count("snapshot") == 6
    assert machines.steps()[-1] == "clean_up"


def test_a_malformed_report_is_cleaned_up_too(machines: Machines) -> None:
    machines.record(REPORTS | {"snapshot": [{"ready": True}]})
    ended = machines.run("build", {"build": BUILD})
    assert ended.error == "States.QueryEvaluationError"
    assert machines.steps()[-1] == "clean_up"


def test_a_crashed_function_is_told_in_the_words_of_the_service(machines: Machines) -> None:
    machines.record(REPORTS)
    ended = machines.run("build", {"build": BUILD}, failure="LambdaCrashed")
    assert ended.error == "Lambda.Unknown"
    assert "Process exited before completing request" in ended.cause
    assert machines.steps() == ["claim", "clean_up"]


def test_an_error_without_a_cause_is_cleaned_up_and_named(machines: Machines) -> None:
    machines.record(REPORTS)
    ended = machines.run("build", {"build": BUILD}, failure="NoCause")
    assert ended.error == "States.Timeout"
    assert machines.steps() == ["claim", "clean_up"]
