"""KMS keys: who may use a key, each region's key `aws/ebs`, and lookup by ARN."""

from __future__ import annotations

import fnmatch
import json

from moto.core.responses import BaseResponse
from moto.kms import kms_backends
from moto.kms.models import Key

from .cloud_state import CloudState, Place
from .dispatch import AwsError, place_of
from .policies import resource_allows

EBS_ALIAS = "alias/aws/ebs"
EBS_ACTIONS = (
    "DescribeKey",
    "CreateGrant",
    "Decrypt",
    "ReEncryptFrom",
    "ReEncryptTo",
    "GenerateDataKeyWithoutPlaintext",
)
"""The actions that EBS needs for an account to create or copy a volume under the key."""
SPOT_ROLE = "role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot"
OWNER_ONLY = {"GetKeyPolicy", "PutKeyPolicy", "CreateAlias", "ListAliases", "ScheduleKeyDeletion"}


def managed_key(place: Place) -> Key:
    """Return the key `aws/ebs` of an account and region; created on first use, as on AWS."""
    key = kms_backends[place.account][place.region].describe_key(EBS_ALIAS)
    if key.key_manager != "AWS":
        key.key_manager = "AWS"
        key.policy = _managed_policy(place)
    return key


def _managed_policy(place: Place) -> str:
    through_ebs = {
        "kms:CallerAccount": place.account,
        "kms:ViaService": f"ec2.{place.region}.amazonaws.com",
    }
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Id": "auto-ebs-2",
            "Statement": [
                {
                    "Sid": "Allow access through EBS for all principals in the account",
                    "Effect": "Allow",
                    "Principal": {"AWS": "*"},
                    "Action": [f"kms:{action}" for action in ("Encrypt", *EBS_ACTIONS)],
                    "Resource": "*",
                    "Condition": {"StringEquals": through_ebs},
                },
                {
                    "Sid": "Allow direct access to key metadata to the account",
                    "Effect": "Allow",
                    "Principal": {"AWS": f"arn:aws:iam::{place.account}:root"},
                    "Action": ["kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant"],
                    "Resource": "*",
                },
            ],
        }
    )


def find_key(place: Place, name: str) -> Key | None:
    """Return the key with that id, alias or ARN, as seen from an account and region.

    None when there is no such key, or when it is in another region.
    """
    if name.startswith("arn:"):
        _, _, _, region, account, name = name.split(":", 5)
        if region != place.region:
            return None
        place = Place(account, region)
    if name == EBS_ALIAS:
        return managed_key(place)
    backend = kms_backends[place.account][place.region]
    name = name.removeprefix("key/")
    for key in backend.keys.values():
        if name == key.id or name in key.aliases:
            return key
    return None


def why_unusable(name: str, place: Place) -> str | None:
    """Return why EBS cannot use the key for this account in this region; None when it can."""
    key = find_key(place, name)
    if key is None:
        return f"Key {name} does not exist in {place.region}"
    if key.key_state != "Enabled":
        return f"{key.arn} is {key.key_state}"
    denied = [action for action in EBS_ACTIONS if not allows(key, place, action)]
    if denied:
        return f"{key.arn} does not allow account {place.account} kms:{', kms:'.join(denied)}"
    return None


def allows(key: Key, place: Place, action: str, through_ebs: bool = True) -> bool:
    """Whether the key's policy or a grant allows the account the action, via EBS or directly."""
    if _granted(key, place.account, action):
        return True
    condition_keys = {"kms:CallerAccount": place.account, "kms:GrantIsForAWSResource": "true"}
    if through_ebs:
        condition_keys["kms:ViaService"] = f"ec2.{place.region}.amazonaws.com"
    return resource_allows(
        key.policy or "{}", place.account, f"kms:{action}", key.arn, place.region, condition_keys
    )


def _granted(key: Key, account: str, action: str) -> bool:
    # A caller is identified by its account only: one principal counts for the whole account.
    return any(
        account in grant.grantee_principal.split(":") and action in grant.operations
        for grant in key.grants.values()
    )


def spot_may_use(name: str, place: Place) -> bool:
    """Whether EC2's service-linked role for Spot may create volumes under a key.

    A customer managed key must name that role in a grant or in its policy
    (karpenter-provider-aws#933, #1407). A key policy that defers to the account's IAM policies is
    not enough: AWS owns the policies of that role.
    """
    key = find_key(place, name)
    if key is None or key.key_manager == "AWS":
        return True
    role = f"arn:aws:iam::{place.account}:{SPOT_ROLE}"
    granted = [
        f"kms:{operation}"
        for grant in key.grants.values()
        if grant.grantee_principal == role
        for operation in grant.operations
    ]
    for statement in json.loads(key.policy or "{}").get("Statement", []):
        named = statement["Principal"]
        named = named.get("AWS", []) if isinstance(named, dict) else named
        if statement["Effect"] == "Allow" and {role, "*"} & set(_listed(named)):
            granted += _listed(statement["Action"])
    return all(
        any(fnmatch.fnmatchcase(f"kms:{action}", one) for one in granted) for action in EBS_ACTIONS
    )


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def resolve_key(cloud: CloudState, request: BaseResponse, service: str, action: str) -> None:
    """Replace the key that a KMS call names by its bare id in the owner's account.

    moto would look up every ARN's id at home. Raises AwsError when the key does not exist or does
    not allow the action.
    """
    if service != "kms":
        return
    body = json.loads(request.body or "{}")
    name = body.get("KeyId")
    if not name:
        return
    place = place_of(request)
    key = find_key(place, name)
    if key is None:
        region = name.split(":")[3] if name.startswith("arn:") else place.region
        raise AwsError("NotFoundException", _not_found(place, name, region))
    foreign = key.account_id != place.account
    if foreign and action in OWNER_ONLY or not allows(key, place, action, through_ebs=False):
        raise AwsError(
            "AccessDeniedException",
            f"User: arn:aws:iam::{place.account}:root is not authorized to perform: kms:{action} "
            f"on resource: {key.arn} because no resource-based policy allows the kms:{action} "
            "action",
        )
    request.current_account = key.account_id
    # moto requires the policy's name; "default" is the only one.
    request.body = json.dumps({"PolicyName": "default", **body, "KeyId": key.id})


def _not_found(place: Place, name: str, region: str) -> str:
    if region != place.region:
        return f"Invalid arn {region}"
    if name.startswith("arn:"):
        return f"Key '{name}' does not exist"
    return f"Key 'arn:aws:kms:{place.region}:{place.account}:key/{name}' does not exist"


def is_managed(arn: str) -> bool:
    """Whether the key with that ARN is AWS managed, so that it cannot be shared."""
    _, _, _, region, account, _ = arn.split(":", 5)
    key = find_key(Place(account, region), arn)
    return key is not None and key.key_manager == "AWS"
