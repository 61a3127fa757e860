"""An aftermath that keeps every rule passes; one that breaks a rule is reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from end_to_end.stack import Cache, Frontload

from .rules import Aftermath, Expected, Place, violations

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


def healthy() -> Aftermath:
    values = {}
    for place in (HOME, AWAY):
        for label, build in (("current", "new"), ("previous", "old")):
            where = (place.account, place.region)
            values[*where, ID, label] = f"snap-{build}"
            values[*where, MANIFEST, label] = manifest(f"snap-{build}", build)
    return Aftermath(
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


def with_snapshot(**changes: Any) -> Callable[[Aftermath], Aftermath]:
    def planted(aftermath: Aftermath) -> Aftermath:
        first, *others = aftermath.snapshots
        return replace(aftermath, snapshots=[first | changes, *others])

    return planted


def with_value(place: Place, name: str, label: str, value: str) -> Callable[[Aftermath], Aftermath]:
    def planted(aftermath: Aftermath) -> Aftermath:
        return replace(
            aftermath, values=aftermath.values | {(place.account, place.region, name, label): value}
        )

    return planted


def without(identity: str) -> Callable[[Aftermath], Aftermath]:
    def planted(aftermath: Aftermath) -> Aftermath:
        return replace(
            aftermath, snapshots=[one for one in aftermath.snapshots if one["id"] != identity]
        )

    return planted


def without_value(aftermath: Aftermath) -> Aftermath:
    gone = (AWAY.account, AWAY.region, MANIFEST, "current")
    return replace(aftermath, values={k: v for k, v in aftermath.values.items() if k != gone})


def with_instance(state: str) -> Callable[[Aftermath], Aftermath]:
    tags = {"frontload:execution": "arn:1"}
    return lambda aftermath: replace(
        aftermath, instances=aftermath.instances | {"i-2": {"state": state, "tags": tags}}
    )


def with_unpublished(aftermath: Aftermath) -> Aftermath:
    tags = {"frontload:stack": "frontload", "frontload:build": "lost"}
    return replace(
        aftermath, snapshots=[*aftermath.snapshots, snapshot("snap-lost", "lost", tags=tags)]
    )


@pytest.mark.parametrize(
    ("plant", "rule"),
    [
        (with_snapshot(state="pending"), "S1"),
        (with_snapshot(region="eu-west-1"), "S1"),
        (with_snapshot(sharedWith=[]), "S1"),
        (lambda aftermath: replace(aftermath, held={}), "S1"),
        (with_value(AWAY, ID, "current", "snap-old"), "S2"),
        (with_value(AWAY, MANIFEST, "previous", manifest("snap-new", "new")), "S2"),
        (without_value, "S2"),
        (without("snap-old"), "S3"),
        (without("snap-theirs"), "S3"),
        (with_instance("running"), "S4"),
        (lambda aftermath: replace(aftermath, volumes=[{"VolumeId": "vol-1"}]), "S4"),
        (lambda aftermath: replace(aftermath, leases=["c-x86_64"]), "S4"),
        (with_unpublished, "S4"),
        (with_instance("terminated"), "S5"),
        (lambda aftermath: replace(aftermath, commands=[{"script": f"login {SECRET}"}]), "S6"),
        (lambda aftermath: replace(aftermath, parameters=[{"value": SECRET}]), "S6"),
        (with_snapshot(tags={"frontload:build": "new", "note": SECRET}), "S6"),
    ],
)
def test_a_violated_rule_is_noticed(plant: Callable[[Aftermath], Aftermath], rule: str) -> None:
    told = violations(plant(healthy()), EXPECTED)
    assert rule in {one.split()[0] for one in told}, told
