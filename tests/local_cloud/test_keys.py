"""KMS keys belong to an account and region, and only allowed principals use them."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from .conftest import ACCOUNT, CONSUMER, IRELAND, Aws


def test_a_key_is_known_only_in_its_own_region(aws: Aws) -> None:
    key = aws.make_key(IRELAND)
    there = aws.client("kms", IRELAND).describe_key(KeyId=key)["KeyMetadata"]
    assert (there["Arn"], there["AWSAccountId"], there["KeyManager"]) == (key, ACCOUNT, "CUSTOMER")
    with pytest.raises(ClientError, match=r"NotFoundException.*Invalid arn eu-west-1"):
        aws.kms.describe_key(KeyId=key)


def test_an_unknown_key_is_not_found(aws: Aws) -> None:
    missing = aws.make_key().rpartition("/")[0] + "/00000000-0000-4000-8000-000000000000"
    for call in (aws.kms.describe_key, aws.kms.list_grants, aws.kms.get_key_policy):
        with pytest.raises(ClientError, match="NotFoundException"):
            call(KeyId=missing)


def test_every_region_has_its_aws_managed_key(aws: Aws) -> None:
    seen = set()
    for region in ("us-east-1", IRELAND):
        found = aws.client("kms", region).describe_key(KeyId="alias/aws/ebs")["KeyMetadata"]
        assert (found["KeyManager"], found["Arn"].split(":")[3]) == ("AWS", region)
        seen.add(found["KeyId"])
    assert len(seen) == 2


def test_a_key_is_found_by_alias(aws: Aws) -> None:
    key = aws.make_key()
    aws.kms.create_alias(AliasName="alias/caches", TargetKeyId=key)
    assert aws.kms.describe_key(KeyId="alias/caches")["KeyMetadata"]["Arn"] == key


def test_another_account_describes_a_key_only_if_its_policy_allows_it(aws: Aws) -> None:
    consumer = aws.client("kms", account=CONSUMER)
    open_key, closed_key = aws.make_key(users=(CONSUMER,)), aws.make_key()
    assert consumer.describe_key(KeyId=open_key)["KeyMetadata"]["Arn"] == open_key
    with pytest.raises(ClientError, match="AccessDeniedException"):
        consumer.describe_key(KeyId=closed_key)


def test_only_the_owner_of_a_key_can_read_and_write_its_policy(aws: Aws) -> None:
    key, consumer = aws.make_key(), aws.client("kms", account=CONSUMER)
    all_allowed = {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}
    policy = json.dumps({"Statement": [all_allowed]})
    aws.kms.put_key_policy(KeyId=key, Policy=policy, PolicyName="default")
    assert consumer.list_grants(KeyId=key)["Grants"] == []
    with pytest.raises(ClientError, match="AccessDeniedException"):
        consumer.get_key_policy(KeyId=key, PolicyName="default")


def test_policy_and_grants_are_read_back(aws: Aws) -> None:
    key = aws.make_key()
    policy = json.loads(aws.kms.get_key_policy(KeyId=key)["Policy"])
    policy["Statement"][0]["Sid"] = "changed"
    aws.kms.put_key_policy(KeyId=key, Policy=json.dumps(policy), PolicyName="default")
    again = json.loads(aws.kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"])
    assert again["Statement"][0]["Sid"] == "changed"
    consumer = f"arn:aws:iam::{CONSUMER}:root"
    aws.kms.create_grant(KeyId=key, GranteePrincipal=consumer, Operations=["DescribeKey"])
    (grant,) = aws.kms.list_grants(KeyId=key)["Grants"]
    assert (grant["GranteePrincipal"], grant["Operations"]) == (consumer, ["DescribeKey"])
    assert aws.client("kms", account=CONSUMER).describe_key(KeyId=key)


def test_a_disabled_key_is_shown_as_disabled(aws: Aws) -> None:
    key = aws.make_key()
    aws.kms.disable_key(KeyId=key)
    assert aws.kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled"


def test_nobody_can_use_a_key_with_a_policy_that_allows_only_grants(aws: Aws) -> None:
    through_grants = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    anybody = {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}
    key = aws.make_key()
    policy = json.dumps({"Statement": [anybody | {"Condition": through_grants}]})
    aws.kms.put_key_policy(KeyId=key, Policy=policy, PolicyName="default")
    with pytest.raises(ClientError, match="AccessDeniedException"):
        aws.kms.describe_key(KeyId=key)
