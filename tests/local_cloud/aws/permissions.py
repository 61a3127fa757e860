"""The permissions that a call needs: action, resource and condition keys of each.

They follow the Service Authorization Reference, for the actions that Frontload calls. `policies.py`
drops condition keys that the reference does not list.

A call may need several permissions. RunInstances needs one for the image, the instance, its
volumes, the subnet and more, and also needs to tag and to pass the builder's role.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from moto.core.responses import BaseResponse
from moto.ec2 import ec2_backends

from .cloud_state import CloudState, Place
from .dispatch import place_of

Keys = dict[str, Any]
USES_OF_A_KEY = (
    *("CreateGrant", "Decrypt", "DescribeKey", "GenerateDataKeyWithoutPlaintext"),
    *("ReEncryptFrom", "ReEncryptTo"),
)
"""The KMS actions that EC2 performs as the caller for an encrypted volume or copy (EBS user guide,
"Requirements for Amazon EBS encryption")."""


class Need(NamedTuple):
    """One permission that a call needs."""

    action: str
    resource: str
    keys: Keys


Needs = Callable[[CloudState, Any, Place], Iterator[Need]]
_NEEDS: dict[str, Needs] = {}


def needs_of(cloud: CloudState, request: BaseResponse, action: str) -> list[Need]:
    """Return all permissions that a call needs.

    `action` is, for example, `ec2:RunInstances`. An action without an entry here has no resource
    types.
    """
    known = _NEEDS.get(action)
    if known is None:
        return [Need(action, "*", {})]
    return list(known(cloud, request, place_of(request)))


def _needs(*actions: str) -> Callable[[Needs], Needs]:
    def register(needs: Needs) -> Needs:
        for action in actions:
            _NEEDS[action] = needs
        return needs

    return register


def _request_tags(tags: dict[str, str]) -> Keys:
    return {f"aws:RequestTag/{key}": value for key, value in tags.items()} | {
        "aws:TagKeys": list(tags)
    }


def _resource_tags(resource: Any, prefix: str) -> Keys:
    """Return the tags under the global key and the service's older key; {} without a resource."""
    tags = {tag["key"]: tag["value"] for tag in resource.get_tags()} if resource else {}
    return {f"{of}/{k}": v for k, v in tags.items() for of in ("aws:ResourceTag", prefix)}


def _owner(snapshot: Any) -> Keys:
    return {"ec2:Owner": snapshot.owner_id} if snapshot else {}


def _named(request: Any, *names: str) -> list[str]:
    found = next((value for name in names if (value := request._get_param(name))), [])
    return found if isinstance(found, list) else [found]


# EC2


@_needs("ec2:RunInstances")
def _run_instances(cloud: CloudState, request: Any, place: Place) -> Iterator[Need]:
    run, region = "ec2:RunInstances", place.region
    own = f"arn:aws:ec2:{region}:{place.account}:"
    tags = request._parse_tag_specification()
    image = request.ec2_backend.amis.get(request._get_param("ImageId"))
    owner = getattr(image, "owner_alias", None) or getattr(image, "owner_id", "")
    yield Need(run, f"arn:aws:ec2:{region}::image/{image.id if image else '?'}",
               {"ec2:Owner": owner})  # fmt: skip
    profile = request._get_param("IamInstanceProfile.Name")
    metadata = request._get_param("MetadataOptions") or {}
    yield Need(
        run,
        f"{own}instance/*",
        _request_tags(tags.get("instance", {}))
        | {
            "ec2:InstanceProfile": f"arn:aws:iam::{place.account}:instance-profile/{profile}",
            "ec2:MetadataHttpTokens": metadata.get("HttpTokens", "optional"),
            "ec2:MetadataHttpPutResponseHopLimit": str(metadata.get("HttpPutResponseHopLimit", 2)),
        },
    )
    yield Need(run, f"{own}volume/*", _request_tags(tags.get("volume", {})))
    for kind in ("network-interface", "subnet", "security-group"):
        yield Need(run, f"{own}{kind}/*", {})
    if request._get_param("InstanceMarketOptions.MarketType") == "spot":
        yield Need(run, f"{own}spot-instances-request/*", {})
    for kind in tags:
        keys = _request_tags(tags[kind]) | {"ec2:CreateAction": "RunInstances"}
        yield Need("ec2:CreateTags", f"{own}{kind}/*", keys)
    if profile:
        role = f"arn:aws:iam::{place.account}:role/{cloud.role_of_profile(place.account, profile)}"
        yield Need("iam:PassRole", role, {"iam:PassedToService": "ec2.amazonaws.com"})
    for device in request._get_param("BlockDeviceMappings", []):
        volume = device.get("Ebs", {})
        if snapshot := volume.get("SnapshotId"):
            yield Need(run, f"arn:aws:ec2:{region}::snapshot/{snapshot}",
                       _tags_of_snapshot(request, snapshot))  # fmt: skip
        if key := volume.get("KmsKeyId"):
            yield from _uses_of_key(key, place)


def _tags_of_snapshot(request: Any, snapshot: str) -> Keys:
    return _resource_tags(request.ec2_backend.snapshots.get(snapshot), "ec2:ResourceTag")


def _uses_of_key(key: str, place: Place) -> Iterator[Need]:
    via = {"kms:ViaService": f"ec2.{place.region}.amazonaws.com"}
    for use in USES_OF_A_KEY:
        granted = {"kms:GrantIsForAWSResource": "true"} if use == "CreateGrant" else {}
        yield Need(f"kms:{use}", _key_arn(key, place), via | granted)


def _key_arn(key: str, place: Place) -> str:
    own = f"arn:aws:kms:{place.region}:{place.account}:key/"
    return key if key.startswith("arn:") else own + key


@_needs("ec2:CreateSnapshot")
def _create_snapshot(cloud: CloudState, request: Any, place: Place) -> Iterator[Need]:
    volume = request._get_param("VolumeId")
    of_volume = _resource_tags(request.ec2_backend.volumes.get(volume), "ec2:ResourceTag")
    own = f"arn:aws:ec2:{place.region}:{place.account}:volume/{volume}"
    yield Need("ec2:CreateSnapshot", own, of_volume)
    yield from _made_snapshot("CreateSnapshot", request, place)


@_needs("ec2:CopySnapshot")
def _copy_snapshot(cloud: CloudState, request: Any, place: Place) -> Iterator[Need]:
    source, region = request._get_param("SourceSnapshotId"), request._get_param("SourceRegion")
    found = ec2_backends[place.account][region].snapshots.get(source)
    keys = _resource_tags(found, "ec2:ResourceTag") | _owner(found)
    yield Need("ec2:CopySnapshot", f"arn:aws:ec2:{region}::snapshot/{source}", keys)
    yield from _made_snapshot("CopySnapshot", request, place)
    if key := request._get_param("KmsKeyId"):
        yield from _uses_of_key(key, place)


def _made_snapshot(action: str, request: Any, place: Place) -> Iterator[Need]:
    tags = request._parse_tag_specification().get("snapshot", {})
    made = f"arn:aws:ec2:{place.region}::snapshot/*"
    yield Need(f"ec2:{action}", made, _request_tags(tags))
    if tags:
        keys = _request_tags(tags) | {"ec2:CreateAction": action}
        yield Need("ec2:CreateTags", made, keys)


@_needs("ec2:DeleteSnapshot", "ec2:DescribeSnapshotAttribute", "ec2:ModifySnapshotAttribute")
def _one_snapshot(cloud: CloudState, request: Any, place: Place) -> Iterator[Need]:
    action, snapshot = str(request._get_action()), request._get_param("SnapshotId")
    keys = _tags_of_snapshot(request, snapshot)
    if action == "ModifySnapshotAttribute":
        added = request._get_param("CreateVolumePermission.Add") or []
        groups = [one["Group"] for one in added if "Group" in one]
        keys |= {"ec2:Add/group": groups} if groups else {}
    yield Need(f"ec2:{action}", f"arn:aws:ec2:{place.region}::snapshot/{snapshot}", keys)


@_needs("ec2:EnableFastSnapshotRestores", "ec2:DisableFastSnapshotRestores")
def _fast_restores(cloud: CloudState, request: Any, place: Place) -> Iterator[Need]:
    for snapshot in _named(request, "SourceSnapshotIds"):
        arn = f"arn:aws:ec2:{place.region}::snapshot/{snapshot}"
        keys = _tags_of_snapshot(request, snapshot)
        yield Need(f"ec2:{request._get_action()}", arn, keys)


@_needs("ec2:CreateTags")
def _create_tags(cloud: CloudState, request: Any, place: Place) -> Iterator[Need]:
    tags = {tag["Key"]: tag["Value"] for tag in request._get_param("Tags", [])}
    for resource in _named(request, "ResourceIds", "Resources"):
        arn = f"arn:aws:ec2:{place.region}::snapshot/{resource}"
        keys = _tags_of_snapshot(request, resource)
        yield Need("ec2:CreateTags", arn, keys | _request_tags(tags))


@_needs("ec2:StopInstances", "ec2:TerminateInstances")
def _end_instances(cloud: CloudState, request: Any, place: Place) -> Iterator[Need]:
    for identity in _named(request, "InstanceIds"):
        yield _own_instance(cloud, request, place, identity)


def _own_instance(cloud: CloudState, request: Any, place: Place, identity: str) -> Need:
    life = cloud.instances.get(identity)
    keys = _resource_tags(life.instance if life else None, "ec2:ResourceTag")
    arn = f"arn:aws:ec2:{place.region}:{place.account}:instance/{identity}"
    return Need(f"ec2:{request._get_action()}", arn, keys)


@_needs("ec2:ModifyInstanceAttribute")
def _modify_instance_attribute(cloud: CloudState, request: Any, place: Place) -> Iterator[Need]:
    """Yield the instance, and the volumes of the named devices: the reference lists both."""
    identity = request._get_param("InstanceId")
    yield _own_instance(cloud, request, place, identity)
    life = cloud.instances.get(identity)
    attached = life.instance.block_device_mapping if life else {}
    for device in request._get_param("BlockDeviceMappings", []):
        if (name := device.get("DeviceName")) in attached:
            yield _own_volume(request, place, attached[name].volume_id)


@_needs("ec2:DeleteVolume")
def _delete_volume(cloud: CloudState, request: Any, place: Place) -> Iterator[Need]:
    yield _own_volume(request, place, request._get_param("VolumeId"))


def _own_volume(request: Any, place: Place, volume: str) -> Need:
    keys = _resource_tags(request.ec2_backend.volumes.get(volume), "ec2:ResourceTag")
    arn = f"arn:aws:ec2:{place.region}:{place.account}:volume/{volume}"
    return Need(f"ec2:{request._get_action()}", arn, keys)


# The others


@_needs(
    "ssm:GetParameter",
    "ssm:GetParameters",
    "ssm:GetParametersByPath",
    "ssm:PutParameter",
    "ssm:LabelParameterVersion",
    "ssm:DeleteParameter",
    "ssm:DeleteParameters",
    "ssm:GetParameterHistory",
)
def _parameters(cloud: CloudState, request: Any, place: Place) -> Iterator[Need]:
    for name in _named(request, "Names", "Name", "Path"):
        # The parameter's ARN has no version and no label.
        bare = name.partition(":")[0].lstrip("/")
        arn = f"arn:aws:ssm:{place.region}:{place.account}:parameter/{bare}"
        if bare.startswith("aws/service/"):
            arn = f"arn:aws:ssm:{place.region}::parameter/{bare}"
        yield Need(f"ssm:{request._get_action()}", arn, {})


@_needs("ssm:SendCommand")
def _send_command(cloud: CloudState, request: Any, place: Place) -> Iterator[Need]:
    document = request._get_param("DocumentName")
    yield Need("ssm:SendCommand", f"arn:aws:ssm:{place.region}::document/{document}", {})
    for identity in _named(request, "InstanceIds"):
        life = cloud.instances.get(identity)
        keys = _resource_tags(life.instance if life else None, "ssm:resourceTag")
        arn = f"arn:aws:ec2:{place.region}:{place.account}:instance/{identity}"
        yield Need("ssm:SendCommand", arn, keys)


@_needs("ecr:BatchGetImage", "ecr:DescribeImages")
def _repository(cloud: CloudState, request: Any, place: Place) -> Iterator[Need]:
    account = request._get_param("registryId") or place.account
    name = request._get_param("repositoryName")
    arn = f"arn:aws:ecr:{place.region}:{account}:repository/{name}"
    yield Need(f"ecr:{request._get_action()}", arn, {})


@_needs("kms:DescribeKey", "kms:GetKeyPolicy", "kms:ListGrants")
def _key(cloud: CloudState, request: Any, place: Place) -> Iterator[Need]:
    arn = _key_arn(request._get_param("KeyId"), place)
    yield Need(f"kms:{request._get_action()}", arn, {})


@_needs("sts:AssumeRole")
def _assume_role(cloud: CloudState, request: Any, place: Place) -> Iterator[Need]:
    external_id = request._get_param("ExternalId")
    keys = {"sts:ExternalId": external_id} if external_id else {}
    yield Need("sts:AssumeRole", request._get_param("RoleArn"), keys)
