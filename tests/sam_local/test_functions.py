"""Every function in its container, called by an AWS SDK with the events of `tests/events`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import yaml
from botocore.exceptions import ClientError
from end_to_end.stack import BUILD_DIR, Answer, Cache, Frontload
from local_cloud import ECR_HOST
from local_cloud.cloud import LocalCloud
from local_cloud.images import Layout
from statemachine.asl_definitions import load_definition
from statemachine.asl_rules import tasks_of

from .base_image import AMAZON_GLIBC, newest_glibc
from .conftest import EVENTS, read_event
from .docker_engine import Docker, Network, containers_on
from .report import Report
from .service import SamLocal, functions_of

ORIGIN = "in account 123456789012 in us-east-1"
COMES = f"1 builds: team/app:v1 {ORIGIN} has arrived"
EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:frontload-pipeline:sam-local"
# The answer of `plan` to each event while there is one cache, `default`, with team/app:v1 for
# x86_64: how many builds, and how the reason begins.
PLANNED = {
    "ecr-archive": (0, '"UPDATE_STORAGE_CLASS" of "team/app" is not a push'),
    "ecr-delete": (0, '"DELETE" of "team/app" is not a push'),
    "ecr-pull-through": (0, f"no cache holds docker-hub/alpine:3.17.2 {ORIGIN}"),
    "ecr-pull-through-failed": (0, 'the pull through the cache to "docker-hub/alpine" ended in'),
    "ecr-push": (1, COMES),
    "ecr-push-failed": (0, 'the push to "team/app" ended in "FAILURE"'),
    "ecr-push-index": (1, COMES),
    "ecr-push-multi-tag-1": (0, f"no cache holds team/app:v1.8.0 {ORIGIN}"),
    "ecr-push-multi-tag-2": (0, f"no cache holds team/app:latest {ORIGIN}"),
    "ecr-push-new-fields": (1, COMES),
    "ecr-push-other-account": (0, "no cache holds team/app:v1 in account 567890123456"),
    "ecr-push-unknown-repository": (0, f"no cache holds nobody/knows:v1 {ORIGIN}"),
    "ecr-push-untagged": (0, "no cache holds team/app@sha256:7f5b2640"),
    "ecr-replication": (1, COMES),
    "ecr-replication-failed": (0, 'the replication to "team/app" ended in "FAILED"'),
    "ecr-scan": (0, 'events of type "ECR Image Scan" start no build'),
    "execution-aborted": (0, 'events of type "Step Functions Execution Status Change" start no'),
    "request-cache": (1, "1 builds as requested"),
    "request-reconcile": (1, "1 builds: the schedule checks every cache"),
}
REFUSED = {
    "build": ("InvalidRequest", "unknown field"),
    "request-caches": ("InvalidCache", "the requested architecture is missing"),
    "snapshot-published": ("InvalidRequest", "unknown field"),
}
# The answers of the steps to their events while nothing of that build exists.
REPORTED = {
    "preflight": (
        "checked",
        ["us-east-1: the builder's network has a route to AWS", "us-east-1: not encrypted"],
    ),
    "prune": ("decisions", []),
}
FAILED = {
    "launch": ("AwsRejected", "ec2:RunInstances"),
    "publish": ("LeaseLost", "its lease with token 7 is now held by nobody"),
    "pull": ("BuilderLost", "default-x86-64-0123456789ab"),
    "replicate": ("AwsRejected", "ec2:CopySnapshot of snapshot snap-0123456789abcdef0"),
    "rollback": ("NothingToRollBack", "nothing is published"),
    "end": ("BuilderLost", "default-x86-64-0123456789ab"),
    "snapshot": ("AwsRejected", "ec2:CreateSnapshot of volume vol-0123456789abcdef0"),
}
# They take and release the lease, so they are called one after the other.
LEASING = ("claim", "clean_up")
STEPS = {*REPORTED, *FAILED, *LEASING}
FUNCTIONS = functions_of(yaml.safe_load((BUILD_DIR / "template.yaml").read_text()))

Call = Callable[..., Answer]


@pytest.fixture(scope="module")
def digest(cloud: LocalCloud, frontload: Frontload, layout: Layout) -> Iterator[str]:
    """The digest of team/app:v1, the only image of the only cache, `default`."""
    # No cache wants the image yet, so the push builds nothing.
    digest = frontload.push("app", "team/app", "v1").digest
    cache = Cache(frontload, "default")
    cache.put(f"{ECR_HOST}/team/app:v1")
    yield digest
    frontload.delete_cache("default")


@pytest.fixture
def call(sam: SamLocal, report: Report) -> Call:
    """A function that calls a handler with an event, or with a payload that `wrap` makes of it."""

    def called(handler: str, event: str, wrap: Callable = lambda content: content) -> Answer:
        report.called_with(handler, event)
        return sam.invoke(handler, wrap(read_event(event)))

    return called


def as_request(event: object) -> dict[str, object]:
    """The payload of `plan`, as the pipeline makes it."""
    return {"request": event, "executionId": EXECUTION}


def test_every_function_of_the_template_and_every_event_is_called() -> None:
    assert set(FUNCTIONS) == {"plan", "reap", *STEPS}
    assert {path.stem for path in EVENTS.glob("*.json")} == {*PLANNED, *REFUSED}
    assert {path.stem for path in (EVENTS / "steps").glob("*.json")} == STEPS


@pytest.mark.parametrize("step", sorted(STEPS))
def test_an_event_of_a_step_has_the_fields_that_the_state_machines_send(step: str) -> None:
    sent = [
        set(task["Arguments"]["Payload"])
        for definition in ("pipeline", "build")
        for _, task in tasks_of(load_definition(definition))
        if task["Arguments"].get("FunctionName") == f"${{{FUNCTIONS[step]}Arn}}"
    ]
    event = read_event(f"steps/{step}")
    assert sent != [] and all(fields == set(event) for fields in sent)
    assert event.get("build", read_event("build")) == read_event("build")


def test_every_function_has_its_own_container(
    docker: Docker, network: Network, sam: SamLocal
) -> None:
    label = '{{index .Config.Labels "sam.cli.function.name"}} {{.State.Running}}'
    shown = docker.run("inspect", "--format", label, *containers_on(docker, network.name))
    assert sorted(shown.splitlines()) == sorted(f"{one} true" for one in FUNCTIONS.values())


@pytest.mark.parametrize("function", sorted(FUNCTIONS.values()))
def test_a_function_needs_no_newer_c_library_than_amazon_linux_2023_has(function: str) -> None:
    assert newest_glibc((BUILD_DIR / function / "bootstrap").read_bytes()) <= AMAZON_GLIBC


@pytest.mark.parametrize("event", sorted(PLANNED))
def test_plan_answers_each_event_with_its_builds_and_the_reason(
    digest: str, call: Call, event: str
) -> None:
    answer = call("plan", event, as_request)
    assert answer.error == "", answer.message
    builds, reason = PLANNED[event]
    built = [(one["cache"], one["architecture"]) for one in answer.result["builds"]]
    assert (built, answer.result["refused"]) == ([("default", "x86_64")] * builds, [])
    assert answer.result["reason"].startswith(reason), answer.result["reason"]


@pytest.mark.parametrize("event", sorted(REFUSED))
def test_plan_refuses_an_invalid_request_under_an_error_name(
    digest: str, call: Call, event: str
) -> None:
    answer = call("plan", event, as_request)
    error, told = REFUSED[event]
    assert answer.error == error
    assert told in answer.message


@pytest.mark.parametrize("step", sorted(REPORTED))
def test_a_step_reports_what_it_found(digest: str, call: Call, step: str) -> None:
    answer = call(step, f"steps/{step}")
    field, found = REPORTED[step]
    assert (answer.error, answer.message) == ("", "")
    assert (answer.result["ready"], answer.result[field]) == (True, found)


@pytest.mark.parametrize("step", sorted(FAILED))
def test_a_step_fails_under_the_error_name_that_the_state_machine_matches(
    digest: str, call: Call, step: str
) -> None:
    answer = call(step, f"steps/{step}")
    error, told = FAILED[step]
    assert (answer.error, told in answer.message) == (error, True), answer


def test_claim_decides_the_build_and_clean_up_releases_its_lease(digest: str, call: Call) -> None:
    claimed = call("claim", "steps/claim")
    assert (claimed.error, claimed.message) == ("", "")
    assert claimed.result["outcome"] == "claimed"
    (image,) = claimed.result["build"]["images"]
    assert (image["reference"], image["digest"]) == (f"{ECR_HOST}/team/app:v1", digest)
    cleaned = call("clean_up", "steps/clean_up")
    ready = {"ready": True, "waitSeconds": 0}
    assert cleaned.result == ready | {"released": ["the lease of default for x86_64"]}
    again = call("clean_up", "steps/clean_up")
    assert again.result == ready | {"released": []}


def test_the_reaper_releases_the_lease_of_an_ended_execution(digest: str, call: Call) -> None:
    assert call("claim", "steps/claim").result["outcome"] == "claimed"
    reaped = call("reap", "execution-aborted")
    lease = "the lease of default/x86_64 of default-x86-64-0123456789ab"
    assert reaped.result == {"removed": [lease], "later": [], "kept": []}


@pytest.mark.parametrize("handler", sorted({"plan", *STEPS}))
def test_a_function_refuses_an_event_of_another_function(call: Call, handler: str) -> None:
    answer = call(handler, "request-cache")
    assert answer.error == "InvalidRequest"
    assert f"the payload of {handler}: missing field" in answer.message


def test_a_function_that_is_not_in_the_template_is_not_found(sam: SamLocal) -> None:
    with pytest.raises(ClientError) as refused:
        sam.client.invoke(FunctionName="NoFunction", Payload=b"{}")
    assert refused.value.response["Error"]["Code"] == "ResourceNotFound"
