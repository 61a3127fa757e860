"""EBS encryption: the account's defaults, and the key of a new volume or copy."""

from __future__ import annotations

from typing import Any, NamedTuple

from moto.ec2 import ec2_backends
from moto.ec2.models.elastic_block_store import Snapshot
from moto.ec2.responses._base_response import EC2BaseResponse

from .cloud_state import CloudState, Place
from .dispatch import AwsError, handles, place_of
from .keys import find_key, managed_key


class Encryption(NamedTuple):
    """The key of a volume or snapshot.

    `key` is an ARN, or the caller's text when no such key exists. None means not encrypted.
    """

    key: str | None

    @property
    def on(self) -> bool:
        """Whether it is encrypted at all."""
        return self.key is not None


NONE = Encryption(None)


def default_key(place: Place) -> str:
    """Return the ARN of the key that EBS uses in an account and region by default."""
    backend = ec2_backends[place.account][place.region]
    return backend.default_kms_key_id or managed_key(place).arn


def of_volume(place: Place, asked: dict[str, Any], snapshot: Snapshot | None) -> Encryption:
    """Return the encryption of a new volume, empty or from a snapshot.

    Raises AwsError when the request names a key without encryption.
    """
    wanted, named = _asked(asked)
    source_encrypted = snapshot is not None and snapshot.encrypted
    if named and not wanted and not source_encrypted:
        raise _key_without_encryption()
    if named:
        return Encryption(_arn(place, named))
    if snapshot is not None and snapshot.encrypted and snapshot.owner_id == place.account:
        return Encryption(snapshot.kms_key_id)
    if (
        source_encrypted
        or wanted
        or ec2_backends[place.account][place.region].ebs_encryption_by_default
    ):
        return Encryption(default_key(place))
    return NONE


def of_copy(place: Place, asked: dict[str, Any], source: Snapshot) -> Encryption:
    """Return the encryption of a snapshot's copy in its destination.

    Raises AwsError when the request names a key without encryption.
    """
    wanted, named = _asked(asked)
    if named and not wanted and not source.encrypted:
        raise _key_without_encryption()
    if named:
        return Encryption(_arn(place, named))
    by_default = ec2_backends[place.account][place.region].ebs_encryption_by_default
    if source.encrypted or wanted or by_default:
        return Encryption(default_key(place))
    return NONE


def _asked(asked: dict[str, Any]) -> tuple[bool, str | None]:
    return str(asked.get("Encrypted") or "").lower() == "true", asked.get("KmsKeyId")


def _arn(place: Place, named: str) -> str:
    key = find_key(place, named)
    return key.arn if key else named


def _key_without_encryption() -> AwsError:
    return AwsError(
        "InvalidParameterDependency",
        "The parameter [KmsKeyId] requires the parameter Encrypted to be set.",
    )


@handles("ec2", "GetEbsDefaultKmsKeyId")
def get_ebs_default_kms_key_id(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """Return the default key; `alias/aws/ebs` unless the account set another."""
    request.error_on_dryrun()
    return {"KmsKeyId": request.ec2_backend.default_kms_key_id or "alias/aws/ebs"}


@handles("ec2", "ModifyEbsDefaultKmsKeyId")
def modify_ebs_default_kms_key_id(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """Set the default key."""
    request.error_on_dryrun()
    named = request._get_param("KmsKeyId")
    key = find_key(place_of(request), named)
    if key is None:
        raise AwsError("InvalidParameterValue", f"The KMS key {named} is not accessible")
    managed = key.key_manager == "AWS"
    request.ec2_backend.default_kms_key_id = "" if managed else key.arn
    return {"KmsKeyId": "alias/aws/ebs" if managed else key.arn}


@handles("ec2", "ResetEbsDefaultKmsKeyId")
def reset_ebs_default_kms_key_id(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """Reset the default key to `aws/ebs`."""
    request.error_on_dryrun()
    request.ec2_backend.default_kms_key_id = ""
    return {"KmsKeyId": "alias/aws/ebs"}
