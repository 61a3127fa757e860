"""S2: a publication to three regions and two consumers, and one that a single write stops."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from end_to_end.stack import Cache, Execution, Frontload, wait_until
from jsonschema import Draft202012Validator
from local_cloud import ACCOUNT, CONSUMERS, REGION, REGIONS
from local_cloud.cloud import LocalCloud
from local_cloud.nodes import NodeRefused, boot_node_from_parameter, snapshot_for_node

from .conftest import ROOT
from .places import Places, consumers, regions, succeeded

SCHEMA = json.loads((ROOT / "infra" / "events" / "snapshot-published.schema.json").read_text())
ALL_PLACES = {(account, region) for account in (ACCOUNT, *CONSUMERS) for region in REGIONS}
IRELAND = "eu-west-1"


class ConsumerBuses:
    """Collects what arrives on the default bus of each consumer in each region."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._cloud = cloud
        self._queues = {place: self._subscribe(*place) for place in ALL_PLACES
                        if place[0] != ACCOUNT}  # fmt: skip
        self._heard: dict[tuple[str, str], list[dict[str, Any]]] = {p: [] for p in self._queues}

    def _subscribe(self, account: str, region: str) -> str:
        queues = self._cloud.client("sqs", region, account)
        events = self._cloud.client("events", region, account)
        queue = queues.create_queue(QueueName="announcements")["QueueUrl"]
        shown = queues.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        target = {"Id": "queue", "Arn": shown["Attributes"]["QueueArn"]}
        events.put_rule(Name="announcements", EventPattern=json.dumps({"source": ["frontload"]}))
        events.put_targets(Rule="announcements", Targets=[target])
        return queue

    def events(self, place: tuple[str, str], cache: str) -> list[dict[str, Any]]:
        """The events of a cache in an account and region; waits for the first."""
        account, region = place
        queues = self._cloud.client("sqs", region, account)

        def arrived() -> list[dict[str, Any]]:
            answer = queues.receive_message(
                QueueUrl=self._queues[place], MaxNumberOfMessages=10, VisibilityTimeout=600
            )
            self._heard[place] += [json.loads(m["Body"]) for m in answer.get("Messages", [])]
            return [one for one in self._heard[place] if one["detail"]["cache"] == cache]

        return wait_until(arrived, f"an event of cache {cache} for {account} in {region}")


@dataclass(frozen=True)
class WidePublication:
    """A cache that was published in all places, encrypted."""

    cache: Cache
    keys: dict[str, str]
    execution: Execution
    buses: ConsumerBuses


@pytest.fixture(scope="module")
def wide(cloud: LocalCloud, frontload: Frontload, places: Places) -> Iterator[WidePublication]:
    """A publication to three regions, each with its own key, and two consumers."""
    buses = ConsumerBuses(cloud)
    keys = {region: places.make_key(region, *CONSUMERS) for region in REGIONS}
    cache = Cache(frontload, "wide")
    listed = [{"region": region, "kmsKeyId": key} for region, key in keys.items()]
    cache.put(regions=listed, consumers=consumers(*CONSUMERS))
    execution = succeeded(cache.push().execution)
    yield WidePublication(cache, keys, execution, buses)
    frontload.delete_cache(cache.name)


def test_every_place_names_the_completed_and_shared_snapshot_of_its_region(
    places: Places, wide: WidePublication
) -> None:
    snapshots = places.snapshots(wide.cache)
    named = places.snapshot_ids(wide.cache)
    assert set(named) == ALL_PLACES
    by_region = {one["region"]: one for one in snapshots.values()}
    assert (len(snapshots), set(by_region)) == (3, set(REGIONS))
    for (account, region), parameter in named.items():
        snapshot = by_region[region]
        assert parameter.value == parameter.current == snapshot["id"], (account, region)
        assert snapshot["state"] == "completed"
        assert (snapshot["sharedWith"], snapshot["groups"]) == (sorted(CONSUMERS), [])


def test_each_snapshot_is_encrypted_under_its_regions_key(
    places: Places, wide: WidePublication
) -> None:
    found = places.snapshots(wide.cache).values()
    assert {one["region"]: one["kmsKeyId"] for one in found} == wide.keys
    assert {one["encrypted"] for one in found} == {True}


def test_replicas_have_their_sources_tags_and_lineage(
    places: Places, wide: WidePublication
) -> None:
    found = {one["region"]: one for one in places.snapshots(wide.cache).values()}
    home = found.pop(REGION)
    assert "frontload:build" in home["tags"]
    assert "frontload:source" not in home["tags"]
    assert home["tags"].pop("frontload:published") == "true", "the mark is the home region's"
    for replica in found.values():
        assert replica["tags"] == home["tags"] | {"frontload:source": home["id"]}


def test_the_result_and_every_manifest_describe_the_whole_publication(
    places: Places, wide: WidePublication
) -> None:
    named = places.snapshot_ids(wide.cache)
    told = wide.execution.results[0]["publications"]
    assert {(p["account"], p["region"]): p["snapshotId"] for p in told} == {
        place: parameter.value for place, parameter in named.items()
    }
    assert len(told) == len(ALL_PLACES)
    for account, region in ALL_PLACES:
        manifest = places.manifest(wide.cache, account, region)
        assert manifest["kmsKeyId"] == wide.keys[region]
        assert manifest["snapshotId"] == named[account, region].value
        assert {r["region"]: r["snapshotId"] for r in manifest["replicas"]} == {
            there: named[ACCOUNT, there].value for there in REGIONS
        }
        assert [one["account"] for one in manifest["consumers"]] == list(CONSUMERS)
        assert manifest["initialization"]["seconds100MiBs"] >= 1


def test_consumers_nodes_boot_in_each_region_from_their_own_parameter_without_a_registry(
    cloud: LocalCloud, wide: WidePublication
) -> None:
    cloud.registry.stop()
    cloud.public.stop()
    try:
        for account, region in zip((*CONSUMERS, CONSUMERS[0]), REGIONS, strict=True):
            name = wide.cache.parameters[0]
            with boot_node_from_parameter(cloud, account, region, name) as node:
                node.launch_container(wide.cache.reference())
                assert node.bytes_pulled == 0, (account, region)
    finally:
        cloud.public.start()


def test_an_account_that_is_not_a_consumer_cannot_use_the_snapshot(
    cloud: LocalCloud, wide: WidePublication
) -> None:
    with pytest.raises(NodeRefused, match="ParameterNotFound"):
        snapshot_for_node(cloud, "456789012345", REGION, wide.cache.parameters[0])


@pytest.mark.parametrize("account", CONSUMERS)
@pytest.mark.parametrize("region", REGIONS)
def test_each_consumers_bus_gets_one_event_that_fits_the_schema(
    places: Places, wide: WidePublication, account: str, region: str
) -> None:
    (event,) = wide.buses.events((account, region), wide.cache.name)
    assert (event["source"], event["detail-type"]) == ("frontload", "Frontload Snapshot Published")
    detail = event["detail"]
    assert [error.message for error in Draft202012Validator(SCHEMA).iter_errors(detail)] == []
    place = (detail["account"], detail["region"], detail["parameter"])
    assert place == (account, region, wide.cache.parameters[0])
    assert detail["snapshotId"] == places.snapshot_ids(wide.cache)[account, region].value


def test_our_own_bus_gets_one_event_for_each_region(
    frontload: Frontload, wide: WidePublication
) -> None:
    events = frontload.announcements(wide.cache.name, len(REGIONS))
    assert sorted(event["detail"]["region"] for event in events) == sorted(REGIONS)
    for event in events:
        assert list(Draft202012Validator(SCHEMA).iter_errors(event["detail"])) == []


def test_one_refused_write_in_a_consumers_region_leaves_all_parameters_as_before(
    cloud: LocalCloud, places: Places, cache: Cache
) -> None:
    cache.put(regions=regions(REGION, IRELAND), consumers=consumers(*CONSUMERS))
    succeeded(cache.push("app").execution)
    before, snapshots = places.published(cache), set(places.snapshots(cache))
    assert (len(before), len(snapshots)) == (12, 2)
    # In each place the manifest is written first, the snapshot id second.
    for written, parameter in enumerate(reversed(cache.parameters)):
        cloud.control.plant_call(
            "ssm",
            "PutParameter",
            code="AccessDeniedException",
            message="planted refusal",
            status=400,
            account=CONSUMERS[1],
            region=IRELAND,
            skip=written,
        )
        execution = cache.push("other").execution
        assert (execution.status, execution.error) == ("FAILED", "PublishFailed"), execution.cause
        told = (parameter, CONSUMERS[1], IRELAND, "planted refusal")
        assert [text for text in told if text not in execution.cause] == [], execution.cause
        assert places.published(cache) == before
        assert set(places.snapshots(cache)) == snapshots
        assert places.leases() == []
