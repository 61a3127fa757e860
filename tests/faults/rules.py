"""Checks the aftermath of a trial by each rule of the design that can be seen when nothing runs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from end_to_end.stack import STACK, Cache

LABELS = ("current", "previous")
STACK_TAG, BUILD_TAG, PUBLISHED_TAG = "frontload:stack", "frontload:build", "frontload:published"


@dataclass(frozen=True)
class Place:
    """An account and a region in which a publication is read."""

    account: str
    region: str


@dataclass(frozen=True)
class Aftermath:
    """What exists after a trial, as the local cloud shows it."""

    parameters: list[dict[str, Any]]
    snapshots: list[dict[str, Any]]
    instances: dict[str, dict[str, Any]]
    volumes: list[dict[str, Any]]
    leases: list[str]
    commands: list[dict[str, Any]]
    held: dict[str, list[str]]
    """The digests on each snapshot, as far as the builder host reports them."""
    values: dict[tuple[str, str, str, str], str]
    """The value of each labelled parameter by account, region, name and label."""
    secret: str
    """The registry's token, which must not appear anywhere."""


@dataclass(frozen=True)
class Expected:
    """What the cache's document asks for."""

    cache: Cache
    places: tuple[Place, ...]
    consumers: tuple[str, ...]
    survivors: tuple[str, ...]
    """Snapshots that Frontload must not delete."""


def violations(aftermath: Aftermath, expected: Expected) -> list[str]:
    """A sentence for each violation, beginning with the rule."""
    return [
        *published_snapshots_are_usable(aftermath, expected),
        *publications_are_whole(aftermath, expected),
        *what_is_named_is_there(aftermath, expected),
        *nothing_is_left(aftermath, expected),
        *builders_are_launched_once(aftermath),
        *no_credential_is_seen(aftermath),
    ]


def published_snapshots_are_usable(aftermath: Aftermath, expected: Expected) -> Iterator[str]:
    """S1: a published snapshot is completed in its region, shared, and contains every image."""
    snapshots = {one["id"]: one for one in aftermath.snapshots}
    for place, manifest in _manifests(aftermath, expected, "current"):
        one = snapshots.get(manifest["snapshotId"])
        where = f"{place.account}/{place.region}"
        if one is None or one["region"] != place.region:
            yield f"S1 {where} publishes {manifest['snapshotId']}, which is not there"
            continue
        if one["state"] != "completed":
            yield f"S1 {where} publishes {one['id']}, which is {one['state']}"
        if sorted(expected.consumers) != one["sharedWith"]:
            yield f"S1 {where} publishes {one['id']}, shared with {one['sharedWith']} alone"
        digests = {image["digest"] for image in manifest["images"]}
        if not digests <= set(aftermath.held.get(one["id"], [])):
            yield f"S1 {where} publishes {one['id']}, which lacks images"


def publications_are_whole(aftermath: Aftermath, expected: Expected) -> Iterator[str]:
    """S2: every place publishes the same build, and both its parameters name one snapshot."""
    for label in LABELS:
        builds = defaultdict(list)
        for place, manifest in _manifests(aftermath, expected, label):
            builds[manifest["build"]].append(f"{place.account}/{place.region}")
            name = expected.cache.parameters[0]
            plain = aftermath.values.get((place.account, place.region, name, label))
            if plain != manifest["snapshotId"]:
                yield f"S2 {label} in {place.region}: {plain} beside {manifest['snapshotId']}"
        if len(builds) > 1:
            yield f"S2 {label} is of several builds: {dict(builds)}"
        found = sum(len(of) for of in builds.values())
        if 0 < found < len(expected.places):
            yield f"S2 {label} is published in {found} of {len(expected.places)} places"


def what_is_named_is_there(aftermath: Aftermath, expected: Expected) -> Iterator[str]:
    """S3: each snapshot that current or previous names exists, and so does each survivor."""
    known = {one["id"] for one in aftermath.snapshots}
    name = expected.cache.parameters[0]
    for (account, region, parameter, label), value in sorted(aftermath.values.items()):
        if parameter == name and label in LABELS and value not in known:
            yield f"S3 {label} in {account}/{region} names {value}, which was deleted"
    for one in expected.survivors:
        if one not in known:
            yield f"S3 {one} was deleted, which was not ours to delete"


def nothing_is_left(aftermath: Aftermath, expected: Expected) -> Iterator[str]:
    """S4: no builder, volume or lease is left, and no snapshot that was never published."""
    for identity, one in aftermath.instances.items():
        if one["state"] != "terminated":
            yield f"S4 builder {identity} is {one['state']}"
    for volume in aftermath.volumes:
        yield f"S4 volume {volume['VolumeId']} is left"
    for lease in aftermath.leases:
        yield f"S4 the lease of {lease} is held"
    ours = [one for one in aftermath.snapshots if one["tags"].get(STACK_TAG) == STACK]
    ours = [one for one in ours if one["id"] not in expected.survivors]
    # A step that is called again writes the tag after the parameters, so a parameter is enough.
    named = set(aftermath.values.values())
    published = {
        one["tags"][BUILD_TAG] for one in ours if PUBLISHED_TAG in one["tags"] or one["id"] in named
    }
    for one in ours:
        if one["tags"].get(BUILD_TAG) not in published:
            yield f"S4 snapshot {one['id']} in {one['region']} was never published"


def builders_are_launched_once(aftermath: Aftermath) -> Iterator[str]:
    """S5, S8: a build has one builder, however often its launch is requested."""
    builders = defaultdict(list)
    for identity, one in aftermath.instances.items():
        builders[one["tags"].get("frontload:execution")].append(identity)
    for execution, launched in builders.items():
        if len(launched) > 1:
            yield f"S5 {execution} launched {', '.join(sorted(launched))}"


def no_credential_is_seen(aftermath: Aftermath) -> Iterator[str]:
    """S6: no command, output of a command, tag or parameter contains the registry's token."""
    seen = {
        "a command": aftermath.commands,
        "a parameter": aftermath.parameters,
        "a snapshot's tags": [one["tags"] for one in aftermath.snapshots],
        "an instance's tags": [one["tags"] for one in aftermath.instances.values()],
    }
    for where, what in seen.items():
        if aftermath.secret in json.dumps(what):
            yield f"S6 the registry's token stands in {where}"


def _manifests(
    aftermath: Aftermath, expected: Expected, label: str
) -> Iterator[tuple[Place, dict[str, Any]]]:
    name = expected.cache.parameters[1]
    for place in expected.places:
        value = aftermath.values.get((place.account, place.region, name, label))
        if value is not None:
            yield place, json.loads(value)
