"""A world that keeps every rule passes; a world that breaks one is reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from end_to_end.stack import Cache, Frontload

from .rules import Expected, Place, World, violations

HOME, AWAY = Place("123456789012", "us-east-1"), Place("210987654321", "us-east-1")
CACHE = Cache(cast(Frontload, type("Named", (), {"prefix": "/frontload"})()), "c")
ID, MANIFEST = CACHE.parameters
EXPECTED = Expected(CACHE, (HOME, AWAY), ("210987654321",), ("snap-theirs",))
SECRET = "registry-token"


def snapshot(identity: str, build: str, **changes: Any) -> dict[str, Any]:
    tags = {"frontload:stack": "frontload", "frontload:build": build, "frontload:published": "yes"}
    usual = {"id": identity, "region": "us-east-1", "state": "completed", "tags": tags}
    return usual | {"sharedWith": ["210987654321"]} | changes


def manifest(identity: str, build: str) -> str:
    return json.dumps(
        {"snapshotId": identity, "build": build, "images": [{"digest": f"sha256:{build}"}]}
    )


def healthy() -> World:
    values = {}
    for place in (HOME, AWAY):
        for label, build in (("current", "new"), ("previous", "old")):
            where = (place.account, place.region)
            values[*where, ID, label] = f"snap-{build}"
            values[*where, MANIFEST, label] = manifest(f"snap-{build}", build)
    return World(
        parameters=[],
        snapshots=[
            snapshot("snap-new", "new"),
            snapshot("snap-old", "old"),
            snapshot("snap-theirs", "theirs", tags={}),
        ],
        instances={"i-1": {"state": "terminated", "tags": {"frontload:execution": "arn:1"}}},
        volumes=[],
        leases=[],
        commands=[],
        held={"snap-new": ["sha256:new"], "snap-old": ["sha256:old"]},
        values=values,
        secret=SECRET,
    )


def test_a_healthy_aftermath_has_no_violations() -> None:
    assert violations(healthy(), EXPECTED) == []


def with_snapshot(**changes: Any) -> Callable[[World], World]:
    def planted(world: World) -> World:
        first, *others = world.snapshots
        return replace(world, snapshots=[first | changes, *others])

    return planted


def with_value(place: Place, name: str, label: str, value: str) -> Callable[[World], World]:
    def planted(world: World) -> World:
        return replace(
            world, values=world.values | {(place.account, place.region, name, label): value}
        )

    return planted


def without(identity: str) -> Callable[[World], World]:
    def planted(world: World) -> World:
        return replace(world, snapshots=[one for one in world.snapshots if one["id"] != identity])

    return planted


def without_value(world: World) -> World:
    gone = (AWAY.account, AWAY.region, MANIFEST, "current")
    return replace(world, values={k: v for k, v in world.values.items() if k != gone})


def with_instance(state: str) -> Callable[[World], World]:
    tags = {"frontload:execution": "arn:1"}
    return lambda world: replace(
        world, instances=world.instances | {"i-2": {"state": state, "tags": tags}}
    )


def with_unpublished(world: World) -> World:
    tags = {"frontload:stack": "frontload", "frontload:build": "lost"}
    return replace(world, snapshots=[*world.snapshots, snapshot("snap-lost", "lost", tags=tags)])


@pytest.mark.parametrize(
    ("plant", "rule"),
    [
        (with_snapshot(state="pending"), "S1"),
        (with_snapshot(region="eu-west-1"), "S1"),
        (with_snapshot(sharedWith=[]), "S1"),
        (lambda world: replace(world, held={}), "S1"),
        (with_value(AWAY, ID, "current", "snap-old"), "S2"),
        (with_value(AWAY, MANIFEST, "previous", manifest("snap-new", "new")), "S2"),
        (without_value, "S2"),
        (without("snap-old"), "S3"),
        (without("snap-theirs"), "S3"),
        (with_instance("running"), "S4"),
        (lambda world: replace(world, volumes=[{"VolumeId": "vol-1"}]), "S4"),
        (lambda world: replace(world, leases=["c-x86_64"]), "S4"),
        (with_unpublished, "S4"),
        (with_instance("terminated"), "S5"),
        (lambda world: replace(world, commands=[{"script": f"login {SECRET}"}]), "S6"),
        (lambda world: replace(world, parameters=[{"value": SECRET}]), "S6"),
        (with_snapshot(tags={"frontload:build": "new", "note": SECRET}), "S6"),
    ],
)
def test_a_violated_rule_is_noticed(plant: Callable[[World], World], rule: str) -> None:
    told = violations(plant(healthy()), EXPECTED)
    assert rule in {one.split()[0] for one in told}, told
