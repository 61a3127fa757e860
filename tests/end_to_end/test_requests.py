"""Requests that build nothing: events that concern no cache, and documents that are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from local_cloud import ECR_HOST
from local_cloud.cloud import LocalCloud

from .inspector import Inspector
from .stack import PREFIX, Cache, Frontload

EVENTS = Path(__file__).parents[1] / "events"
GOOD = f"{ECR_HOST}/team/app:v1"


@pytest.mark.parametrize(
    ("fixture", "reason"),
    [
        ("ecr-push-untagged", "no cache holds team/app@sha256:7f5b2640"),
        ("ecr-push-unknown-repository", "no cache holds nobody/knows:v1 in account 123456789012"),
    ],
)
def test_a_push_of_an_uncached_image_does_nothing_and_says_why(
    frontload: Frontload, inspector: Inspector, cache: Cache, fixture: str, reason: str
) -> None:
    # The event would concern this cache if it were a push of that tag.
    cache.put(GOOD)
    event = json.loads((EVENTS / f"{fixture}.json").read_text())
    mark = inspector.mark()
    execution = frontload.send_event(event["detail-type"], event["detail"])
    assert execution.status == "SUCCEEDED", execution.cause
    assert reason in execution.output["reason"]
    assert frontload.builds_of(execution) == []
    assert [call["action"] for call in inspector.calls(mark) if call["service"] == "ec2"] == []
    assert inspector.changes(mark) == []


BRINGS_AN_IMAGE = {
    "ecr-pull-through",
    "ecr-push",
    "ecr-push-index",
    "ecr-push-multi-tag-1",
    "ecr-push-multi-tag-2",
    "ecr-push-new-fields",
    "ecr-push-unknown-repository",
    "ecr-push-untagged",
    "ecr-replication",
}


def test_only_events_of_new_images_in_our_account_start_the_pipeline(
    cloud: LocalCloud, frontload: Frontload
) -> None:
    events = cloud.client("events")
    pattern = events.describe_rule(Name=frontload.resource("ImageActionRule"))["EventPattern"]
    fixtures = [path for path in EVENTS.glob("*.json") if "detail-type" in path.read_text()]
    assert len(fixtures) > len(BRINGS_AN_IMAGE) + 5
    assert {
        path.stem
        for path in fixtures
        if events.test_event_pattern(EventPattern=pattern, Event=path.read_text())["Result"]
    } == BRINGS_AN_IMAGE


def test_a_push_event_of_a_cached_image_starts_a_build(frontload: Frontload, cache: Cache) -> None:
    cache.put(GOOD)
    event = json.loads((EVENTS / "ecr-push.json").read_text())
    execution = frontload.send_event(event["detail-type"], event["detail"])
    # The event is accepted; its image was never pushed, so the build fails here.
    assert (execution.status, execution.error) == ("FAILED", "ImageNotFound")


def changed(**changes: Any) -> dict[str, Any]:
    """A valid document with the changes applied."""
    good = {"images": [GOOD], "architectures": ["x86_64"], "variant": "aws-k8s-1.35"}
    return good | changes


REFERENCE = "is not an image reference"
REFUSED: dict[str, tuple[dict[str, Any] | str, list[str]]] = {
    "no JSON": ("{images: [", ["the document is not JSON"]),
    "unknown field": (changed(imagess=[]), ["imagess", "unknown field", "expected one of"]),
    "unknown field inside": (
        changed(builder={"volumeGB": 1}),
        ["builder", "volumeGB", "volumeGib"],
    ),
    "a command": (changed(images=[GOOD, "a;rm -rf /"]), ["images[1]", REFERENCE, "';'", "use "]),
    "an expansion": (changed(images=["$(x)"]), ["images[0]", REFERENCE, "'$'", "use registry/"]),
    "spaces": (changed(images=[f"{GOOD} --all"]), ["images[0]", REFERENCE, "' '", "use registry/"]),
    "300 characters": (
        changed(images=[f"{ECR_HOST}/{'a' * 300}:v1"]),
        ["images[0]", REFERENCE, "255"],
    ),
    "no tag": (changed(images=[f"{ECR_HOST}/team/app"]), ["images[0]", "write :latest"]),
    "unknown architecture": (
        changed(architectures=["x86_64", "riscv64"]),
        ["architectures[1]", "riscv64", "expected `x86_64` or `arm64`"],
    ),
    "empty list": (changed(images=[]), ["images: ", "name at least one"]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_bad_cache_document_is_refused_by_field_before_anything_is_changed(
    frontload: Frontload, inspector: Inspector, cache: Cache, what: str
) -> None:
    document, told = REFUSED[what]
    parameter = frontload.put_cache(cache.name, document)
    mark = inspector.mark()
    execution = frontload.run(cache.name)
    assert (execution.status, execution.error) == ("FAILED", "InvalidCache")
    assert execution.cause.startswith(f"InvalidCache: parameter {parameter} is refused: ")
    assert [text for text in told if text not in execution.cause] == [], execution.cause
    assert frontload.builds_of(execution) == []
    assert inspector.changes(mark) == []


def test_a_cache_that_does_not_exist_is_refused_with_the_name_of_its_parameter(
    frontload: Frontload, inspector: Inspector, cache: Cache
) -> None:
    mark = inspector.mark()
    execution = frontload.run(cache.name)
    assert (execution.status, execution.error) == ("FAILED", "InvalidCache")
    assert f"{PREFIX}/caches/{cache.name} is refused: it does not exist" in execution.cause
    assert inspector.changes(mark) == []


def test_a_bad_document_fails_a_push_but_other_caches_are_built(
    frontload: Frontload, inspector: Inspector, cache: Cache
) -> None:
    cache.put()
    broken = frontload.put_cache(f"{cache.name}-broken", "{")
    try:
        pushed = cache.push()
    finally:
        frontload.delete_cache(f"{cache.name}-broken")
    assert (pushed.execution.status, pushed.execution.error) == ("FAILED", "InvalidCache")
    assert f"parameter {broken} is refused" in pushed.execution.cause
    assert inspector.published(cache)[1]["images"][0]["digest"] == pushed.digest
