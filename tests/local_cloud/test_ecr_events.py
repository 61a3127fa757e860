"""The events of images on the bus, and whole events that a test puts on it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import ACCOUNT, REGION
from .cloud import LocalCloud
from .conftest import CONSUMER, IRELAND, wait_until
from .ecr_events import EVENT_SOURCE, Image, pulled_through, pushed, replicated_from
from .images import INDEX, MANIFEST, Layout
from .processes import TESTS_DIR

CONFIG = "application/vnd.oci.image.config.v1+json"
FIXTURES = TESTS_DIR / "events"
Listen = Callable[[dict[str, Any]], Callable[[], list[dict[str, Any]]]]


@pytest.fixture
def listen(cloud: LocalCloud, request: pytest.FixtureRequest) -> Iterator[Listen]:
    """Makes a rule from a pattern; returns a function that gives the events matched so far."""
    events, sqs = cloud.client("events"), cloud.client("sqs")
    name = re.sub(r"\W+", "-", request.node.name)[:60]
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    taken: list[dict[str, Any]] = []

    def receive() -> list[dict[str, Any]]:
        messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
        taken.extend(json.loads(one["Body"]) for one in messages.get("Messages", []))
        return taken

    def make_rule(pattern: dict[str, Any]) -> Callable[[], list[dict[str, Any]]]:
        events.put_rule(Name=name, EventPattern=json.dumps({"source": [EVENT_SOURCE], **pattern}))
        target = {"Id": "queue", "Arn": arn["Attributes"]["QueueArn"]}
        events.put_targets(Rule=name, Targets=[target])
        return receive

    yield make_rule
    events.remove_targets(Rule=name, Ids=["queue"])
    events.delete_rule(Name=name)
    sqs.delete_queue(QueueUrl=queue)


def of_repository(name: str) -> dict[str, Any]:
    return {"detail": {"repository-name": [name]}}


def test_a_push_is_an_event_on_the_bus(cloud: LocalCloud, layout: Layout, listen: Listen) -> None:
    taken = listen(of_repository("team/told"))
    digest = cloud.push(layout, "app", "team/told", "v7")
    wait_until(taken)
    (event,) = taken()
    assert (event["account"], event["region"], event["resources"]) == (ACCOUNT, REGION, [])
    assert event["detail-type"] == "ECR Image Action"
    assert event["detail"] == {
        "action-type": "PUSH",
        "result": "SUCCESS",
        "repository-name": "team/told",
        "image-tag": "v7",
        "image-digest": digest,
        "manifest-media-type": MANIFEST,
        "artifact-media-type": CONFIG,
    }


def test_the_push_of_an_index_is_an_event_for_each_manifest(
    cloud: LocalCloud, layout: Layout, listen: Listen
) -> None:
    taken = listen(of_repository("team/several"))
    digest = cloud.push(layout, "multi", "team/several", "v7")
    wait_until(lambda: len(taken()) == 3)
    tagged = [event["detail"] for event in taken() if "image-tag" in event["detail"]]
    assert [(one["image-digest"], one["manifest-media-type"]) for one in tagged] == [
        (digest, INDEX)
    ]


def test_an_untagged_push_has_no_tag_in_its_event() -> None:
    image = Image("team/app", None, "sha256:1", {"mediaType": INDEX})
    detail = pushed(image, ACCOUNT, REGION)["detail"]
    assert "image-tag" not in detail
    assert detail["manifest-media-type"] == INDEX


def test_a_replicated_image_is_known_and_announced_as_replicated(
    cloud: LocalCloud, layout: Layout, listen: Listen
) -> None:
    taken = listen(of_repository("team/replica"))
    source = replicated_from(CONSUMER, IRELAND)
    digest = cloud.push(layout, "app", "team/replica", "v7", source)
    wait_until(taken)
    (event,) = taken()
    assert event["detail-type"] == "ECR Replication Action"
    assert event["resources"] == [f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/team/replica"]
    assert event["detail"] == {
        "result": "SUCCESS",
        "repository-name": "team/replica",
        "image-digest": digest,
        "source-account": CONSUMER,
        "action-type": "REPLICATE",
        "source-region": IRELAND,
        "image-tag": "v7",
    }


def test_an_image_pulled_through_the_cache_is_known_and_announced_as_such(
    cloud: LocalCloud, layout: Layout, listen: Listen
) -> None:
    taken = listen(of_repository("docker-hub/library/app"))
    upstream = pulled_through("registry-1.docker.io")
    digest = cloud.push(layout, "app", "docker-hub/library/app", "v7", upstream)
    wait_until(taken)
    (event,) = taken()
    assert event["detail-type"] == "ECR Pull Through Cache Action"
    assert event["detail"] == {
        "rule-version": "1",
        "sync-status": "SUCCESS",
        "ecr-repository-prefix": "docker-hub",
        "repository-name": "docker-hub/library/app",
        "upstream-registry-url": "registry-1.docker.io",
        "image-tag": "v7",
        "image-digest": digest,
    }
    cloud.push(layout, "multi", "docker-hub/library/app", "v8")
    wait_until(lambda: taken()[-1]["detail"].get("image-tag") == "v8")
    assert taken()[-1]["detail-type"] == "ECR Image Action"


def test_an_event_of_another_account_reaches_our_bus_under_that_account(
    cloud: LocalCloud, listen: Listen
) -> None:
    taken = listen({"account": [CONSUMER]})
    image = Image("team/foreign", "v7", "sha256:1", {})
    sent = cloud.send_event(pushed(image, CONSUMER, IRELAND))
    wait_until(taken)
    assert taken() == [sent]
    assert (sent["account"], sent["region"]) == (CONSUMER, IRELAND)


@pytest.mark.parametrize("fixture", sorted(FIXTURES.glob("ecr-*.json")), ids=lambda path: path.name)
def test_a_fixture_is_delivered_unchanged(cloud: LocalCloud, listen: Listen, fixture: Path) -> None:
    recorded = json.loads(fixture.read_text())
    taken = listen({"detail-type": [recorded["detail-type"]]})
    cloud.send_event(fixture)
    wait_until(taken)
    assert taken() == [recorded]


def test_an_unknown_field_of_an_event_is_delivered(cloud: LocalCloud, listen: Listen) -> None:
    taken = listen({"novelty": ["yes"]})
    event = pushed(Image("team/app", "v7", "sha256:1", {}), ACCOUNT, REGION)
    cloud.send_event({**event, "novelty": "yes", "detail": {**event["detail"], "more": [1]}})
    wait_until(taken)
    (seen,) = taken()
    assert (seen["novelty"], seen["detail"]["more"]) == ("yes", [1])


def test_a_rule_gets_only_events_that_match_it(cloud: LocalCloud, listen: Listen) -> None:
    taken = listen({"account": [CONSUMER]})
    cloud.send_event(pushed(Image("team/app", "v7", "sha256:1", {}), ACCOUNT, REGION))
    cloud.send_event(pushed(Image("team/app", "v8", "sha256:1", {}), CONSUMER, REGION))
    wait_until(taken)
    assert [event["detail"]["image-tag"] for event in taken()] == ["v8"]
