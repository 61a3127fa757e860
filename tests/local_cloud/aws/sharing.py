"""Sharing snapshots with accounts: createVolumePermission, and what AWS refuses to share."""

from __future__ import annotations

import re
from typing import Any

from moto.ec2.models.elastic_block_store import Snapshot
from moto.ec2.responses._base_response import EC2BaseResponse

from .cloud_state import CloudState
from .dispatch import AwsError, handles
from .keys import is_managed
from .snapshots import own_snapshot

ACCOUNT_ID = re.compile(r"\d{12}")
Holders = tuple[set[str], set[str]]
"""Accounts, and groups."""


@handles("ec2", "ModifySnapshotAttribute")
def modify_snapshot_attribute(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """Add or remove accounts that may create volumes from the snapshot."""
    request.error_on_dryrun()
    snapshot = own_snapshot(cloud, request, request._get_param("SnapshotId"))
    added, removed = _changes(request)
    _require_shareable(snapshot, added)
    snapshot.create_volume_permission_userids |= added[0]
    snapshot.create_volume_permission_groups |= added[1]
    snapshot.create_volume_permission_userids -= removed[0]
    snapshot.create_volume_permission_groups -= removed[1]
    return {}


def _changes(request: EC2BaseResponse) -> tuple[Holders, Holders]:
    """Return what to add and what to remove, from both forms of the request.

    Raises AwsError when an account id or a group is invalid.
    """
    asked = request._get_param("CreateVolumePermission") or {}
    added, removed = _holders(asked.get("Add") or []), _holders(asked.get("Remove") or [])
    if operation := request._get_param("OperationType"):
        chosen = added if operation == "add" else removed
        chosen[0].update(request._get_param("UserIds", []))
        chosen[1].update(request._get_param("GroupNames", []))
    for account in added[0] | removed[0]:
        if not ACCOUNT_ID.fullmatch(account):
            raise AwsError("InvalidUserID.Malformed", f'Invalid user id: "{account}"')
    if unknown := (added[1] | removed[1]) - {"all"}:
        raise AwsError("InvalidParameterValue", f"Invalid group name: {sorted(unknown)}")
    return added, removed


def _holders(permissions: list[dict[str, str]]) -> Holders:
    accounts = {str(one["UserId"]) for one in permissions if one.get("UserId")}
    return accounts, {str(one["Group"]) for one in permissions if one.get("Group")}


def _require_shareable(snapshot: Snapshot, added: Holders) -> None:
    accounts, groups = added
    if snapshot.encrypted and groups:
        raise AwsError("OperationNotPermitted", "Encrypted snapshots cannot be shared publicly")
    if accounts and snapshot.encrypted and is_managed(snapshot.kms_key_id or ""):
        raise AwsError(
            "OperationNotPermitted", "Encrypted snapshots with EBS default key cannot be shared"
        )


@handles("ec2", "DescribeSnapshotAttribute")
def describe_snapshot_attribute(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """Return the accounts and groups with which the owner shared a snapshot."""
    request.error_on_dryrun()
    snapshot = own_snapshot(cloud, request, request._get_param("SnapshotId"))
    if request._get_param("Attribute") != "createVolumePermission":
        raise NotImplementedError("the local cloud has createVolumePermission only")
    accounts = [{"UserId": one} for one in sorted(snapshot.create_volume_permission_userids)]
    groups = [{"Group": one} for one in sorted(snapshot.create_volume_permission_groups)]
    return {"SnapshotId": snapshot.id, "CreateVolumePermissions": accounts + groups}
