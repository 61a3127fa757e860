"""S2: rollback to the previous publication, in all places or in none."""

from __future__ import annotations

import json

from end_to_end.stack import Cache
from local_cloud import CONSUMERS, REGION
from local_cloud.cloud import LocalCloud

from .places import Places, Published, Requests, consumers, regions, succeeded

IRELAND = "eu-west-1"


def publish(cache: Cache, *images: str, **changes: object) -> None:
    """Publish the images one after the other in two regions, to one consumer."""
    listed = regions(REGION, IRELAND)
    cache.put(regions=listed, consumers=consumers(CONSUMERS[0]), **changes)
    for image in images:
        succeeded(cache.push(image).execution)


def values(published: Published) -> dict[tuple[str, str, str], tuple[object, object, object]]:
    """Newest, current and previous value of each parameter, without who published it."""

    def bare(value: str | None) -> object:
        if value is None or not value.startswith("{"):
            return value
        by = ("rollback", "token")
        return {field: of for field, of in json.loads(value).items() if field not in by}

    return {
        place: (bare(p.value), bare(p.current), bare(p.previous)) for place, p in published.items()
    }


def test_a_rollback_goes_back_everywhere_and_a_second_one_forward_again(
    places: Places, requests: Requests, cache: Cache
) -> None:
    publish(cache, "app", "other")
    before, snapshots = values(places.published(cache)), set(places.snapshots(cache))
    assert len(before) == 8
    back = succeeded(requests.roll_back(cache))
    swapped = {place: (was, was, now) for place, (now, _, was) in before.items()}
    assert values(places.published(cache)) == swapped
    told = {(p["account"], p["region"]): p["snapshotId"] for p in back.output["publications"]}
    assert told == {at: p.value for at, p in places.snapshot_ids(cache).items()}
    assert {places.manifest(cache, *at).get("rollback") is None for at in told} == {False}
    succeeded(requests.roll_back(cache))
    assert values(places.published(cache)) == before
    assert set(places.snapshots(cache)) == snapshots
    assert places.leases() == []


def refused(places: Places, requests: Requests, cache: Cache, told: str) -> None:
    """A rollback must fail with NothingToRollBack and these words, and change nothing."""
    before = places.published(cache)
    execution = requests.roll_back(cache)
    assert (execution.status, execution.error) == ("FAILED", "NothingToRollBack"), execution.cause
    assert told in execution.cause
    assert places.published(cache) == before
    assert places.leases() == []


def test_a_first_publication_cannot_be_rolled_back(
    places: Places, requests: Requests, cache: Cache
) -> None:
    publish(cache, "app")
    refused(places, requests, cache, "Frontload's account has no previous value")


def test_a_cache_that_was_never_published_cannot_be_rolled_back(
    places: Places, requests: Requests, cache: Cache
) -> None:
    told = f"cache {cache.name} for x86_64 cannot be rolled back: nothing is published"
    refused(places, requests, cache, told)


def test_a_rollback_to_an_unshared_or_deleted_replica_is_refused_by_name_and_changes_nothing(
    cloud: LocalCloud, places: Places, requests: Requests, cache: Cache
) -> None:
    publish(cache, "app", "other")
    previous = places.snapshot_ids(cache)[CONSUMERS[0], IRELAND].previous
    assert previous is not None
    cloud.client("ec2", IRELAND).modify_snapshot_attribute(
        SnapshotId=previous,
        Attribute="createVolumePermission",
        OperationType="remove",
        UserIds=[CONSUMERS[0]],
    )
    told = f"snapshot {previous} in {IRELAND} is not shared with {CONSUMERS[0]}"
    refused(places, requests, cache, told)
    places.delete_snapshots(IRELAND, [previous])
    refused(places, requests, cache, f"snapshot {previous} in {IRELAND} was deleted")


def test_a_rollback_moves_fast_restore_along(
    places: Places, requests: Requests, cache: Cache
) -> None:
    zone = f"{REGION}a"
    cache.put(regions=[{"region": REGION, "fsrZones": [zone]}])
    for image in ("app", "other"):
        succeeded(cache.push(image).execution)
    succeeded(requests.roll_back(cache))
    (now,) = places.snapshot_ids(cache).values()
    assert now.previous is not None
    restored = (places.fast_restores(now.value), places.fast_restores(now.previous))
    assert restored == ([(zone, "enabled")], [])
