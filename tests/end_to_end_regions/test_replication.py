"""Replicas that wait for a copy slot, that fail late, and that have fast restore."""

from __future__ import annotations

from end_to_end.inspector import Inspector
from end_to_end.stack import Cache
from local_cloud import REGION
from local_cloud.cloud import LocalCloud

from .places import Places, regions, succeeded

IRELAND = "eu-west-1"
LIMIT = 20
SLOW_SECONDS = 600.0


def test_a_copy_beyond_the_regions_limit_waits_its_turn(
    cloud: LocalCloud, places: Places, inspector: Inspector, cache: Cache
) -> None:
    source = places.make_snapshot(REGION, {})
    quick = cloud.control.state()["settings"]["copy_seconds"]
    cloud.control.settings(copy_seconds=SLOW_SECONDS)
    ec2 = cloud.client("ec2", IRELAND)
    under_way = [
        ec2.copy_snapshot(SourceRegion=REGION, SourceSnapshotId=source)["SnapshotId"]
        for _ in range(LIMIT)
    ]
    cloud.control.settings(copy_seconds=quick)
    mark = inspector.mark()
    refused: list[str] = []

    def make_room_once_refused() -> None:
        calls = [c for c in inspector.calls(mark, "CopySnapshot") if c["status"] == 400]
        if calls and not refused:
            refused.append(under_way.pop())
            places.delete_snapshots(IRELAND, refused)

    try:
        cache.put(regions=regions(REGION, IRELAND))
        succeeded(cache.push(on_poll=make_room_once_refused).execution)
    finally:
        places.delete_snapshots(IRELAND, under_way)
        places.delete_snapshots(REGION, [source])
    assert len(refused) == 1
    assert {region for _, region in places.snapshot_ids(cache)} == {REGION, IRELAND}
    assert len(places.snapshots(cache)) == 2


def test_the_builder_is_gone_before_the_replicas_are_done(
    cloud: LocalCloud, places: Places, inspector: Inspector, cache: Cache
) -> None:
    cache.put(regions=regions(REGION, IRELAND))
    cloud.control.settings(copy_seconds=3.0)
    seen: set[tuple[str, int]] = set()

    def look() -> None:
        copies = [one for one in places.snapshots(cache).values() if one["region"] == IRELAND]
        seen.update((copy["state"], len(inspector.builders_alive())) for copy in copies)

    succeeded(cache.push(on_poll=look).execution)
    assert ("pending", 0) in seen
    assert ("completed", 1) not in seen


def test_a_build_fails_by_name_and_leaves_nothing_when_its_key_is_disabled(
    cloud: LocalCloud, places: Places, inspector: Inspector, cache: Cache
) -> None:
    key = places.make_key(IRELAND)
    south = "ap-southeast-2"
    cache.put(regions=regions(REGION, south, IRELAND, eu_west_1={"kmsKeyId": key}))
    succeeded(cache.push("app").execution)
    before, snapshots = places.published(cache), set(places.snapshots(cache))
    assert (len(before), len(snapshots)) == (6, 3)
    kms, mark = cloud.client("kms", IRELAND), inspector.mark()

    def disable_once_launched() -> None:
        if inspector.calls(mark, "RunInstances"):
            kms.disable_key(KeyId=key)

    execution = cache.push("other", on_poll=disable_once_launched).execution
    assert (execution.status, execution.error) == ("FAILED", "ReplicaFailed"), execution.cause
    told = (IRELAND, "Given key ID is not accessible", key, "Disabled")
    assert [text for text in told if text not in execution.cause] == [], execution.cause
    assert places.published(cache) == before
    assert set(places.snapshots(cache)) == snapshots
    assert places.leases() == []


def test_fast_restore_is_enabled_before_a_publication_and_ends_with_the_next(
    places: Places, inspector: Inspector, cache: Cache
) -> None:
    zone, zones = "eu-west-1a", {"eu_west_1": {"fsrZones": ["eu-west-1a"]}}
    cache.put(regions=regions(REGION, IRELAND, **zones))
    mark = inspector.mark()
    states: list[list[tuple[str, str]]] = []

    def watch_the_publication() -> None:
        named = [p for (_, there), p in places.snapshot_ids(cache).items() if there == IRELAND]
        states.extend(places.fast_restores(parameter.value) for parameter in named)

    succeeded(cache.push("app", on_poll=watch_the_publication).execution)
    watch_the_publication()
    assert states
    assert all(seen == [(zone, "enabled")] for seen in states), states
    (first,) = [id for id, s in places.snapshots(cache).items() if s["region"] == IRELAND]
    assert calls_in_order(inspector, mark) == ["EnableFastSnapshotRestores", "PutParameter"]
    manifest = next(p for (_, there, name), p in places.published(cache).items()
                    if there == IRELAND and name == cache.parameters[1])  # fmt: skip
    assert '"fsrDollarsPerMonth":548' in manifest.value

    succeeded(cache.push("other").execution)
    second = next(p.value for (_, there), p in places.snapshot_ids(cache).items()
                  if there == IRELAND)  # fmt: skip
    assert second != first
    assert places.fast_restores(first) == []
    assert places.fast_restores(second) == [(zone, "enabled")]


def calls_in_order(inspector: Inspector, mark: int) -> list[str]:
    """The first enabling of fast restore, and the first write of a parameter in Ireland."""
    wanted = ("EnableFastSnapshotRestores", "PutParameter")
    seen = [c["action"] for c in inspector.calls(mark) if c["region"] == IRELAND]
    return [action for action in dict.fromkeys(seen) if action in wanted]
