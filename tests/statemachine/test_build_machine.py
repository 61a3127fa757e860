"""The build state machine, run by MiniStack with recorded step reports."""

import time
from typing import Any

import pytest

from .machines import Machines

BUILD = {
    "id": "b-1",
    "cache": "default",
    "architecture": "x86_64",
    "region": "us-east-1",
    "regions": [{"region": "us-east-1"}, {"region": "eu-west-1"}],
}
REQUEST = {
    "id": "b-1",
    "cache": "default",
    "architecture": "x86_64",
    "force": False,
    "debounce": {"quietSeconds": 60, "limitSeconds": 600},
    "claimSeconds": 14400,
}


READY = {"ready": True, "waitSeconds": 0}


def claimed(build: dict[str, Any]) -> list[Any]:
    """The report of a claim that took the lease and decided this build."""
    reason = "new digests"
    facts = {"build": build, "token": 7, "warnings": ["v* matches nothing"]}
    return [{**READY, "outcome": "claimed", "reason": reason, **facts}]


def replica(region: str) -> dict[str, Any]:
    return {"region": region, "snapshotId": f"snap-{region}", "encrypted": False, "kmsKeyId": None}


PUBLICATION = {
    "account": "123456789012",
    "region": "us-east-1",
    "parameter": "/frontload/default/x86_64/snapshot-id",
    "snapshotId": "snap-us-east-1",
    "encrypted": False,
}
LAUNCHED = {"instanceId": "i-1", "refusals": 0, "refused": "", "commandId": None}
SENT = {"commandId": "c-1"}
REPORTS: dict[str, list[Any]] = {
    "claim": claimed(BUILD),
    "preflight": [{**READY, "checked": ["us-east-1 is enabled"]}],
    "launch": [{**READY, **LAUNCHED}],
    "pull": [{**READY, **SENT, "pulled": {"images": 2}, "volumeId": "vol-1"}],
    "end": [READY],
    "snapshot": [{**READY, "snapshotId": "snap-1"}],
    "replicate us-east-1": [{**READY, "replica": replica("us-east-1")}],
    "replicate eu-west-1": [{**READY, "replica": replica("eu-west-1")}],
    "publish": [{**READY, "publications": [PUBLICATION], "warnings": []}],
    "prune": [{**READY, "decisions": [], "warnings": []}],
    "clean_up": [{**READY, "released": ["i-1"]}],
}
WITH_BUILDER = ["launch", "pull", "end"]
BEFORE_REPLICAS = ["claim", "preflight", *WITH_BUILDER, "snapshot"]
ALL_STEPS = [*BEFORE_REPLICAS, "replicate", "replicate", "publish", "prune", "clean_up"]


def not_ready(seconds: int) -> dict[str, Any]:
    return {"ready": False, "waitSeconds": seconds, "progress": "on its way"}


def test_warnings_of_preflight_are_in_the_result(machines: Machines) -> None:
    warned = {**READY, "checked": [], "warnings": ["builder.spot: no"]}
    machines.record(REPORTS | {"preflight": [warned]})
    ended = machines.run("build", {"request": REQUEST})
    assert ended.output["warnings"] == ["v* matches nothing", "builder.spot: no"]


def test_a_build_runs_every_step_once_and_returns_its_publications(machines: Machines) -> None:
    machines.record(REPORTS)
    ended = machines.run("build", {"request": REQUEST})
    assert ended.output == {
        "outcome": "published",
        "reason": "new digests",
        "warnings": ["v* matches nothing"],
        "snapshotId": "snap-1",
        "publications": [PUBLICATION],
    }
    assert machines.steps() == ALL_STEPS


def test_later_steps_get_the_facts_of_earlier_steps(machines: Machines) -> None:
    machines.record(REPORTS)
    execution = machines.start("build", {"request": REQUEST})
    machines.wait(execution)
    events = {call["step"]: call["event"] for call in machines.calls()}
    phase_ends = events["publish"].pop("phaseEnds")
    assert list(phase_ends) == [*BEFORE_REPLICAS, "replicate"]
    builder = {"instanceId": "i-1", "volumeId": "vol-1"}
    assert events["end"] == {"build": BUILD, **builder, "waitedSeconds": 0}
    assert events["snapshot"] == {
        "build": BUILD,
        "pulled": {"images": 2},
        "volumeId": "vol-1",
        "waitedSeconds": 0,
    }
    assert events["claim"] == {
        "request": REQUEST,
        "executionId": execution,
        "waitedSeconds": 0,
        "seenToken": None,
    }
    assert events["publish"] == {
        "build": BUILD,
        "token": 7,
        "pulled": {"images": 2},
        "replicas": [replica("us-east-1"), replica("eu-west-1")],
        "waitedSeconds": 0,
    }
    assert events["clean_up"] == {
        "request": REQUEST,
        "build": BUILD,
        "failed": False,
        "waitedSeconds": 0,
    }
    assert events["preflight"] == {"build": BUILD}
    assert events["prune"] == {"prune": {"cache": "default", "dryRun": False}}


def test_every_region_gets_its_own_settings_and_the_same_snapshot(machines: Machines) -> None:
    encrypted = {"region": "eu-west-1", "kmsKeyId": "arn:aws:kms:eu-west-1:123456789012:key/k"}
    build = BUILD | {"regions": [{"region": "us-east-1"}, encrypted]}
    machines.record(REPORTS | {"claim": claimed(build)})
    machines.run("build", {"request": REQUEST})
    [call] = [call for call in machines.calls() if call["region"] == "eu-west-1"]
    assert call["event"] == {
        "build": build,
        "snapshotId": "snap-1",
        "region": encrypted,
        "waitedSeconds": 0,
    }


def test_a_build_of_one_region_publishes_one_replica(machines: Machines) -> None:
    one = BUILD | {"regions": [{"region": "us-east-1"}]}
    machines.record(REPORTS | {"claim": claimed(one)})
    machines.run("build", {"request": REQUEST})
    [publish] = [call["event"] for call in machines.calls() if call["step"] == "publish"]
    assert publish["replicas"] == [replica("us-east-1")]


@pytest.mark.parametrize(
    "told",
    [
        {"outcome": "unchanged", "reason": "same digests"},
        {"outcome": "superseded", "reason": "a newer request", "successor": "arn:b-2"},
    ],
)
def test_a_build_with_nothing_to_do_launches_nothing_and_says_why(
    machines: Machines, told: dict[str, str]
) -> None:
    machines.record(REPORTS | {"claim": [not_ready(60), {**READY, **told}]})
    ended = machines.run("build", {"request": REQUEST})
    assert (ended.status, ended.output) == ("SUCCEEDED", told)
    assert machines.steps() == ["claim", "claim"]


def test_the_token_seen_by_a_claim_reaches_only_its_next_call(machines: Machines) -> None:
    seen = not_ready(90) | {"seenToken": 4}
    machines.record(REPORTS | {"claim": [not_ready(1), seen, not_ready(1), *claimed(BUILD)]})
    machines.run("build", {"request": REQUEST})
    calls = [call["event"] for call in machines.calls() if call["step"] == "claim"]
    assert [call["seenToken"] for call in calls] == [None, None, 4, None]


def test_a_claim_that_fails_cleans_up_without_a_build(machines: Machines) -> None:
    machines.record(REPORTS | {"claim": [{"raise": ["ImageNotFound", "no app:v9"]}]})
    ended = machines.run("build", {"request": REQUEST})
    assert ended.cause == (
        "Build b-1 of cache default (x86_64): ClaimBuild failed with ImageNotFound: no app:v9"
    )
    clean_up = machines.calls()[-1]["event"]
    assert clean_up == {"request": REQUEST, "build": None, "failed": True, "waitedSeconds": 0}


def test_waited_seconds_add_up_within_a_step_and_start_at_zero_in_the_next(
    machines: Machines,
) -> None:
    machines.record(
        REPORTS
        | {
            "launch": [not_ready(10) | LAUNCHED, not_ready(15) | LAUNCHED, *REPORTS["launch"]],
            "pull": [not_ready(20) | SENT, *REPORTS["pull"]],
        }
    )
    assert machines.run("build", {"request": REQUEST}).status == "SUCCEEDED"
    calls = machines.calls()[2:9]
    assert [(call["step"], call["event"]["waitedSeconds"]) for call in calls] == [
        ("launch", 0),
        ("launch", 10),
        ("launch", 25),
        ("pull", 0),
        ("pull", 20),
        ("end", 0),
        ("snapshot", 0),
    ]


def test_reports_of_functions_of_an_older_release_are_understood(machines: Machines) -> None:
    # They say no waitSeconds when they are ready.
    older = {
        step: [{key: value for key, value in one.items() if key != "waitSeconds"} for one in ready]
        for step, ready in REPORTS.items()
    }
    machines.record(older | {"pull": [not_ready(20) | SENT, *older["pull"]]})
    assert machines.run("build", {"request": REQUEST}).status == "SUCCEEDED"
    waited = [
        (call["step"], call["event"]["waitedSeconds"])
        for call in machines.calls()
        if "waitedSeconds" in call["event"]
    ]
    assert [one for one in waited if one[1] != 0] == [("pull", 20)]


def test_a_phase_lasts_until_its_step_is_ready_and_the_phases_fill_the_build(
    machines: Machines,
) -> None:
    # Waits take a thousandth of the requested time: just over two seconds for the pull, and then
    # the same for the slower of two regions.
    machines.record(
        REPORTS
        | {
            "pull": [not_ready(1200) | SENT, not_ready(1200) | SENT, *REPORTS["pull"]],
            "replicate us-east-1": [not_ready(100), *REPORTS["replicate us-east-1"]],
            "replicate eu-west-1": [not_ready(2400), *REPORTS["replicate eu-west-1"]],
        }
    )
    begun = time.monotonic()
    assert machines.run("build", {"request": REQUEST}).status == "SUCCEEDED"
    lasted = time.monotonic() - begun
    (publish,) = [call["event"] for call in machines.calls() if call["step"] == "publish"]
    ends = publish["phaseEnds"]
    assert sorted(ends.values()) == list(ends.values())
    assert ends["pull"] - ends["launch"] >= 2
    assert ends["replicate"] - ends["snapshot"] >= 2
    assert ends["replicate"] <= lasted


def test_each_region_waits_on_its_own(machines: Machines) -> None:
    machines.record(
        REPORTS
        | {
            "replicate us-east-1": [not_ready(7), *REPORTS["replicate us-east-1"]],
            "replicate eu-west-1": [
                not_ready(10),
                not_ready(15),
                *REPORTS["replicate eu-west-1"],
            ],
        }
    )
    assert machines.run("build", {"request": REQUEST}).status == "SUCCEEDED"
    calls = machines.calls()
    waited = {
        region: [call["event"]["waitedSeconds"] for call in calls if call["region"] == region]
        for region in ("us-east-1", "eu-west-1")
    }
    assert waited == {"us-east-1": [0, 7], "eu-west-1": [0, 10, 25]}
    assert [call["event"]["waitedSeconds"] for call in calls if call["step"] == "publish"] == [0]


def test_a_late_failure_of_a_region_ends_the_build_unpublished_and_cleaned_up(
    machines: Machines,
) -> None:
    refused = {"raise": ["ReplicaFailed", "the key in eu-west-1 is disabled"]}
    machines.record(
        REPORTS
        | {
            "replicate us-east-1": [
                not_ready(5),
                not_ready(5),
                not_ready(5),
                *REPORTS["replicate us-east-1"],
            ],
            "replicate eu-west-1": [not_ready(10), refused],
        }
    )
    ended = machines.run("build", {"request": REQUEST})
    assert (ended.status, ended.error) == ("FAILED", "ReplicaFailed")
    assert ended.cause == (
        "Build b-1 of cache default (x86_64): "
        "ReplicateSnapshot in eu-west-1 failed with ReplicaFailed: the key in eu-west-1 is disabled"
    )
    steps = machines.steps()
    # The other region finished first: nothing runs in parallel with the clean-up.
    assert (steps.count("replicate"), steps[-1]) == (6, "clean_up")
    assert "publish" not in steps
    assert machines.calls()[-1]["event"]["waitedSeconds"] == 0


def test_every_failed_region_is_reported_in_the_order_of_the_cache(machines: Machines) -> None:
    machines.record(
        REPORTS
        | {
            "replicate us-east-1": [not_ready(9), {"raise": ["ReplicateTimedOut", "slow"]}],
            "replicate eu-west-1": [{"raise": ["ReplicaFailed", "no key"]}],
        }
    )
    ended = machines.run("build", {"request": REQUEST})
    assert ended.error == "ReplicateTimedOut"
    assert ended.cause.endswith(
        "ReplicateSnapshot in us-east-1 failed with ReplicateTimedOut: slow. "
        "Besides, ReplicateSnapshot in eu-west-1 failed with ReplicaFailed: no key"
    )


def test_a_region_with_a_passing_outage_is_retried(machines: Machines) -> None:
    outage = {"raise": ["AwsUnavailable", "throttled"]}
    machines.record(REPORTS | {"replicate eu-west-1": [outage, *REPORTS["replicate eu-west-1"]]})
    assert machines.run("build", {"request": REQUEST}).status == "SUCCEEDED"
    assert machines.steps().count("replicate") == 3


def test_a_refused_preflight_launches_nothing_and_says_what_to_do(machines: Machines) -> None:
    refusal = "eu-west-1 is not enabled in account 123456789012; enable it"
    machines.record(REPORTS | {"preflight": [{"raise": ["PreflightRefused", refusal]}]})
    ended = machines.run("build", {"request": REQUEST})
    assert (ended.status, ended.error) == ("FAILED", "PreflightRefused")
    assert ended.cause == (
        f"Build b-1 of cache default (x86_64): Preflight failed with PreflightRefused: {refusal}"
    )
    assert machines.steps() == ["claim", "preflight", "clean_up"]


def test_a_failure_after_the_publication_is_a_warning(machines: Machines) -> None:
    told = ["bus default of 210987654321 refused", "launch templates cannot be read"]
    publish = {**REPORTS["publish"][0], "warnings": told[:1]}
    prune = {**REPORTS["prune"][0], "warnings": told[1:]}
    machines.record(REPORTS | {"publish": [publish], "prune": [prune]})
    ended = machines.run("build", {"request": REQUEST})
    assert ended.output["warnings"] == ["v* matches nothing", *told]
    refused = {"raise": ["PruneRefused", "no such cache"]}
    machines.record(REPORTS | {"publish": [publish], "prune": [refused]})
    ended = machines.run("build", {"request": REQUEST})
    assert ended.status == "SUCCEEDED"
    assert ended.output["warnings"][:2] == ["v* matches nothing", *told[:1]]
    assert ended.output["warnings"][2].startswith("Pruning failed with PruneRefused: ")
    assert "no such cache" in ended.output["warnings"][2]
    assert machines.steps()[-3:] == ["publish", "prune", "clean_up"]
    cleaned = [call["event"]["failed"] for call in machines.calls() if call["step"] == "clean_up"]
    assert set(cleaned) == {False}


def test_a_report_without_a_wait_still_counts_towards_the_time_limit(
    machines: Machines,
) -> None:
    machines.record(
        REPORTS | {"pull": [not_ready(0) | SENT, not_ready(0) | SENT, *REPORTS["pull"]]}
    )
    machines.run("build", {"request": REQUEST})
    waited = [call["event"]["waitedSeconds"] for call in machines.calls() if call["step"] == "pull"]
    assert waited == [0, 1, 2]


def test_a_failed_step_is_cleaned_up_and_named_with_its_message(machines: Machines) -> None:
    machines.record(
        REPORTS | {"pull": [not_ready(9) | SENT, {"raise": ["DigestMismatch", 'got "b"']}]}
    )
    ended = machines.run("build", {"request": REQUEST})
    assert (ended.status, ended.error) == ("FAILED", "DigestMismatch")
    assert ended.cause == (
        'Build b-1 of cache default (x86_64): PullImages failed with DigestMismatch: got "b"'
    )
    assert machines.steps() == ["claim", "preflight", "launch", "pull", "pull", "clean_up"]
    assert machines.calls()[-1]["event"]["waitedSeconds"] == 0


def test_a_failing_clean_up_is_reported_after_the_first_error(machines: Machines) -> None:
    machines.record(
        REPORTS
        | {
            "snapshot": [{"raise": ["SnapshotFailed", "state error"]}],
            "clean_up": [not_ready(5), {"raise": ["CleanUpTimedOut", "i-1 still shuts down"]}],
        }
    )
    ended = machines.run("build", {"request": REQUEST})
    assert ended.error == "SnapshotFailed"
    assert ended.cause == (
        "Build b-1 of cache default (x86_64): "
        "SnapshotVolume failed with SnapshotFailed: state error. "
        "Besides, CleanUp failed with CleanUpTimedOut: i-1 still shuts down"
    )


def test_a_failing_clean_up_fails_a_published_build(machines: Machines) -> None:
    machines.record(REPORTS | {"clean_up": [{"raise": ["CleanUpTimedOut", "i-1 stays"]}]})
    ended = machines.run("build", {"request": REQUEST})
    assert (ended.status, ended.error) == ("FAILED", "CleanUpTimedOut")


def test_the_time_of_an_end_is_the_longer_of_its_waits_and_the_time_passed(
    machines: Machines,
) -> None:
    machines.record(REPORTS | {"end": [not_ready(3), not_ready(2000), *REPORTS["end"]]})
    assert machines.run("build", {"request": REQUEST}).status == "SUCCEEDED"
    ends = [call["event"] for call in machines.calls() if call["step"] == "end"]
    assert [one["waitedSeconds"] for one in ends] == [0, 3, 2003]
    # Two seconds pass in calls, without a wait; one of them fails.
    outage = {"raise": ["AwsUnavailable", "throttled"]}
    slow = {"seconds": 2, **not_ready(1)}
    machines.record(REPORTS | {"end": [slow, outage, *REPORTS["end"]]})
    assert machines.run("build", {"request": REQUEST}).status == "SUCCEEDED"
    last = [call["event"] for call in machines.calls() if call["step"] == "end"][-1]
    assert last["waitedSeconds"] >= 2


INTERRUPTED = {"raise": ["BuilderInterrupted", "EC2 wants i-1 back"]}


@pytest.mark.parametrize("step", WITH_BUILDER)
def test_an_interrupted_builder_is_replaced_and_reported(machines: Machines, step: str) -> None:
    machines.record(REPORTS | {step: [INTERRUPTED, *REPORTS[step]]})
    ended = machines.run("build", {"request": REQUEST})
    assert ended.status == "SUCCEEDED"
    assert ended.output["warnings"] == [
        "v* matches nothing",
        "EC2 took the Spot builder back, and another one on demand did its work",
    ]
    launches = [call["event"] for call in machines.calls() if call["step"] == "launch"]
    assert [one["interruptions"] for one in launches] == [0, 1]
    # The second launch knows nothing of the builder that was lost.
    assert [one["instanceId"] for one in launches] == [None, None]
    until = WITH_BUILDER[: WITH_BUILDER.index(step) + 1]
    assert machines.steps() == ["claim", "preflight", *until, *ALL_STEPS[2:]]


def test_the_facts_of_a_launch_and_a_pull_reach_their_next_calls(machines: Machines) -> None:
    refused = LAUNCHED | {"instanceId": None, "refusals": 1, "refused": "m6i.large: none left"}
    launched = refused | {"instanceId": "i-1"}
    probed = launched | {"commandId": "c-0"}
    machines.record(
        REPORTS
        | {
            "launch": [
                not_ready(1) | refused,
                not_ready(9) | launched,
                not_ready(1) | probed,
                {**READY, **launched},
            ],
            "pull": [not_ready(9) | SENT, *REPORTS["pull"]],
        }
    )
    assert machines.run("build", {"request": REQUEST}).status == "SUCCEEDED"
    calls = [(call["step"], call["event"]) for call in machines.calls()]
    nothing = LAUNCHED | {"instanceId": None}
    known = [{key: event[key] for key in nothing} for step, event in calls if step == "launch"]
    assert known == [nothing, refused, launched, probed]
    pulls = [(one["instanceId"], one["commandId"]) for step, one in calls if step == "pull"]
    assert pulls == [("i-1", None), ("i-1", "c-1")]


def test_a_second_interruption_ends_the_build(machines: Machines) -> None:
    machines.record(REPORTS | {"pull": [INTERRUPTED]})
    ended = machines.run("build", {"request": REQUEST})
    assert ended.error == "BuilderInterrupted"
    assert ended.cause.count("EC2 wants i-1 back") == 1
    twice = ["launch", "pull", "launch", "pull"]
    assert machines.steps() == ["claim", "preflight", *twice, "clean_up"]


def test_a_builder_lost_after_an_interruption_is_the_builds_error(
    machines: Machines,
) -> None:
    lost = {"raise": ["BuilderLost", "i-2 is gone"]}
    machines.record(REPORTS | {"pull": [INTERRUPTED, lost]})
    ended = machines.run("build", {"request": REQUEST})
    assert ended.error == "BuilderLost"
    assert "EC2 wants i-1 back" not in ended.cause


def test_a_passing_outage_is_retried(machines: Machines) -> None:
    outage = {"raise": ["AwsUnavailable", "throttled"]}
    machines.record(REPORTS | {"snapshot": [outage, outage, *REPORTS["snapshot"]]})
    assert machines.run("build", {"request": REQUEST}).status == "SUCCEEDED"
    assert machines.steps().count("snapshot") == 3


def test_a_lasting_outage_ends_under_its_own_name(machines: Machines) -> None:
    machines.record(REPORTS | {"snapshot": [{"raise": ["AwsUnavailable", "throttled"]}]})
    assert machines.run("build", {"request": REQUEST}).error == "AwsUnavailable"
    assert machines.steps().count("snapshot") == 11
    assert machines.steps()[-1] == "clean_up"


@pytest.mark.parametrize("report", [READY, {"waitSeconds": 5, "progress": "on its way"}])
@pytest.mark.parametrize("step", ["claim", "pull", "snapshot", "replicate eu-west-1", "publish"])
def test_a_malformed_report_is_cleaned_up_too(
    machines: Machines, step: str, report: dict[str, Any]
) -> None:
    machines.record(REPORTS | {step: [report]})
    ended = machines.run("build", {"request": REQUEST})
    assert ended.error == "States.QueryEvaluationError"
    assert machines.steps()[-1] == "clean_up"


def test_a_crashed_function_is_reported_with_the_services_error(machines: Machines) -> None:
    machines.record(REPORTS)
    ended = machines.run("build", {"request": REQUEST}, failure="LambdaCrashed")
    assert ended.error == "Lambda.Unknown"
    assert "Process exited before completing request" in ended.cause
    assert machines.steps() == ["claim", "preflight", "clean_up"]


def test_an_error_without_a_cause_is_cleaned_up_and_named(machines: Machines) -> None:
    machines.record(REPORTS)
    ended = machines.run("build", {"request": REQUEST}, failure="NoCause")
    assert ended.error == "States.Timeout"
    assert machines.steps() == ["claim", "preflight", "clean_up"]
