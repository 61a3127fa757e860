"""An account's snapshots and parameters in a region, for tests: plain and without AWS's own."""

from __future__ import annotations

from typing import Any

from moto.ec2 import ec2_backends
from moto.ec2.models.elastic_block_store import Snapshot
from moto.ssm import ssm_backends

from .cloud_state import CloudState, Place

View = dict[str, Any]


def snapshots(cloud: CloudState, place: Place) -> list[View]:
    """Return the account's own snapshots."""
    found = ec2_backends[place.account][place.region].snapshots.values()
    return [_snapshot(cloud, place, one) for one in found if one.owner_id == place.account]


def _snapshot(cloud: CloudState, place: Place, snapshot: Snapshot) -> View:
    restores = [r for r in cloud.fast_restores if r.snapshot_id == snapshot.id]
    return {
        "id": snapshot.id,
        "account": place.account,
        "region": place.region,
        "state": snapshot.status,
        "progress": snapshot.progress,
        "seconds": getattr(snapshot, "duration", 0.0),
        "gib": snapshot.volume_size,
        "encrypted": snapshot.encrypted,
        "kmsKeyId": snapshot.kms_key_id,
        "sharedWith": sorted(snapshot.create_volume_permission_userids),
        "groups": sorted(snapshot.create_volume_permission_groups),
        "copyOf": getattr(snapshot, "source_snapshot_id", None),
        "tags": {tag["key"]: tag["value"] for tag in snapshot.get_tags()},
        "fastRestores": [
            {"account": r.place.account, "zone": r.zone, "state": r.state} for r in restores
        ],
    }


def parameters(place: Place) -> list[View]:
    """Return the account's parameters: the newest value, and the labels of every version."""
    store = ssm_backends[place.account][place.region]._parameters
    return [
        {
            "account": place.account,
            "region": place.region,
            "name": name,
            "value": versions[-1].value,
            "version": versions[-1].version,
            "labels": {label: one.version for one in versions for label in one.labels},
            "labelled": {label: one.value for one in versions for label in one.labels},
        }
        for name, versions in store.items()
        if versions and not name.startswith("/aws/")
    ]
