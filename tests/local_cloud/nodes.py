"""Nodes as a consumer launches them: from the snapshot that a parameter of its account names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from .builder_host.node import Node
    from .cloud import LocalCloud


class NodeRefused(Exception):
    """EC2 makes no volume from what the parameter names; the message says why."""


def snapshot_for_node(cloud: LocalCloud, account: str, region: str, name: str) -> str:
    """The snapshot that a parameter names, if EC2 makes a volume from it for this account.

    Raises NodeRefused when the parameter does not exist, or the snapshot is not visible to the
    account, not completed, or encrypted under a key that the account cannot use.
    """
    try:
        ssm = cloud.client("ssm", region, account)
        snapshot_id = ssm.get_parameter(Name=name)["Parameter"]["Value"]
        ec2 = cloud.client("ec2", region, account)
        volume = ec2.create_volume(SnapshotId=snapshot_id, AvailabilityZone=f"{region}a")
        state = _state_then_delete(ec2, volume["VolumeId"])
    except ClientError as error:
        raise NodeRefused(f"{account} {region} {name}: {error}") from error
    if state != "available":
        raise NodeRefused(
            f"{account} {region} {name}: a volume from {snapshot_id} ends in state {state}: may "
            "the account use the snapshot's key?"
        )
    return snapshot_id


def _state_then_delete(ec2: Any, volume_id: str) -> str:
    try:
        return ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]["State"]
    finally:
        ec2.delete_volume(VolumeId=volume_id)


def boot_node_from_parameter(
    cloud: LocalCloud, account: str, region: str, name: str, architecture: str = "x86_64"
) -> Node:
    """Boot a node of the consumer from the snapshot that its parameter names, without a registry.

    Raises NodeRefused, or InstanceBootError.
    """
    from .builder_host.node import boot_node

    snapshot_id = snapshot_for_node(cloud, account, region, name)
    return boot_node(cloud.host, snapshot_id, architecture=architecture)
