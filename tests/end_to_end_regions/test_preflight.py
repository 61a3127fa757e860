"""What would fail at the end of a build is refused before its start, and costs nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from end_to_end.inspector import Inspector
from end_to_end.stack import Cache, Execution, Frontload
from local_cloud import ACCOUNT, CONSUMERS, REGION
from local_cloud.cloud import LocalCloud

from .places import Places, consumers, regions, succeeded

IRELAND = "eu-west-1"
NO_KEY = f"arn:aws:kms:{IRELAND}:{ACCOUNT}:key/00000000-0000-0000-0000-000000000000"
NOT_ENABLED = "me-south-1"
MISSING_ROLE = "no-such-role"
STRICT_ROLE = "frontload-strict"

Refuse = Callable[..., Execution]


@pytest.fixture
def refuse(
    cloud: LocalCloud,
    frontload: Frontload,
    places: Places,
    inspector: Inspector,
    cache: Cache,
    shared_image: str,
) -> Refuse:
    """Requests a cache with the given fields; preflight must refuse it with the given words."""

    def run(told: list[str], **document: Any) -> Execution:
        cache.put(shared_image, **document)
        before, mark = cloud.control.snapshots(), inspector.mark()
        execution = frontload.run(cache.name)
        assert (execution.status, execution.error) == ("FAILED", "PreflightRefused")
        assert [text for text in told if text not in execution.cause] == [], execution.cause
        actions = {call["action"] for call in inspector.calls(mark)}
        assert not actions & {"RunInstances", "CreateSnapshot", "CopySnapshot", "CreateVolume"}
        assert (places.leases(), places.published(cache)) == ([], {})
        assert cloud.control.snapshots() == before
        return execution

    return run


def with_key(key: str) -> list[dict[str, Any]]:
    """Two regions; Ireland has that key."""
    return regions(REGION, IRELAND, eu_west_1={"kmsKeyId": key})


def test_a_region_that_is_not_enabled_is_refused(refuse: Refuse) -> None:
    told = [
        f"regions[{NOT_ENABLED}].region: ",
        "does not exist or is",
        "not enabled",
        ACCOUNT,
        "enable it",
    ]
    refuse(told, regions=regions(REGION, NOT_ENABLED))


def test_a_region_that_does_not_exist_is_refused(refuse: Refuse) -> None:
    told = ["regions[eu-nowhere-9].region: ", "does not exist", "remove it"]
    refuse(told, regions=regions(REGION, "eu-nowhere-9"))


def test_a_key_that_does_not_exist_is_refused(refuse: Refuse) -> None:
    told = [NO_KEY, f"does not exist in {IRELAND}", "create it, or name another"]
    refuse(told, regions=with_key(NO_KEY))


def test_another_accounts_key_is_refused(refuse: Refuse) -> None:
    foreign = NO_KEY.replace(ACCOUNT, CONSUMERS[0])
    told = [foreign, f"which is account {CONSUMERS[0]}'s", f"name one of {ACCOUNT}"]
    refuse(told, regions=with_key(foreign))


def test_a_key_without_a_grant_for_ec2s_spot_role_is_a_warning_with_the_remedy(
    cloud: LocalCloud, frontload: Frontload, places: Places, inspector: Inspector, cache: Cache
) -> None:
    key = places.make_key(REGION)
    listed = regions(REGION, us_east_1={"kmsKeyId": key})
    cache.push()
    cache.put(regions=listed, builder={"spot": True})
    mark = inspector.mark()
    (told,) = succeeded(frontload.run(cache.name)).results[0]["warnings"]
    assert told.startswith(
        f"builder.spot: key {key} of {REGION} does not let EC2's role for Spot use it"
    )
    assert markets(inspector, mark) == {"spot", "on-demand"}

    # Take the command's options and their values from the warning.
    command = told.partition("`aws kms create-grant")[2].partition("`")[0]
    _, region, key_id, grantee, operations = (one.split() for one in command.split(" --"))
    assert (region, key_id) == (["region", REGION], ["key-id", key])
    cloud.client("kms").create_grant(
        KeyId=key, GranteePrincipal=grantee[1], Operations=operations[1:]
    )
    mark = inspector.mark()
    (forced,) = succeeded(frontload.ask(cache=cache.name, force=True)).results
    assert (forced["warnings"], markets(inspector, mark)) == ([], {"spot"})


def markets(inspector: Inspector, mark: int) -> set[str]:
    """The markets of the launches since a mark."""
    asked = [call["parameters"] for call in inspector.calls(mark, "RunInstances")]
    return {one.get("InstanceMarketOptions", {}).get("MarketType", "on-demand") for one in asked}


def test_a_disabled_key_is_refused(cloud: LocalCloud, places: Places, refuse: Refuse) -> None:
    key = places.make_key(IRELAND)
    cloud.client("kms", IRELAND).disable_key(KeyId=key)
    refuse([key, IRELAND, "is disabled", "enable it"], regions=with_key(key))


def test_the_accounts_default_key_is_refused_with_consumers(
    cloud: LocalCloud, refuse: Refuse
) -> None:
    told = [
        f"{IRELAND} would encrypt with ",
        "AWS's own",
        CONSUMERS[0],
        "name a customer-managed key",
    ]
    ec2 = cloud.client("ec2", IRELAND)
    ec2.enable_ebs_encryption_by_default()
    try:
        refuse(told, regions=regions(REGION, IRELAND), consumers=consumers(CONSUMERS[0]))
    finally:
        ec2.disable_ebs_encryption_by_default()


def test_a_copy_under_an_inherited_default_key_is_refused_with_consumers(
    places: Places, refuse: Refuse
) -> None:
    own = places.make_key(REGION, *CONSUMERS)
    told = [
        f"{IRELAND} would encrypt with ",
        "aws/ebs",
        CONSUMERS[0],
        f"regions[{IRELAND}].kmsKeyId: ",
    ]
    listed = regions(REGION, IRELAND, us_east_1={"kmsKeyId": own})
    refuse(told, regions=listed, consumers=consumers(*CONSUMERS))


def test_a_key_policy_that_lacks_one_consumer_is_refused(places: Places, refuse: Refuse) -> None:
    key = places.make_key(IRELAND, CONSUMERS[0])
    home = places.make_key(REGION, *CONSUMERS)
    listed = regions(REGION, IRELAND, us_east_1={"kmsKeyId": home}, eu_west_1={"kmsKeyId": key})
    told = [f"consumer {CONSUMERS[1]} may not use key {key} in {IRELAND}", "let its policy allow"]
    refuse(told, regions=listed, consumers=consumers(*CONSUMERS))


@pytest.fixture
def strict_role(cloud: LocalCloud) -> str:
    """A consumer's role whose reader role requires another external id than ours."""
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": "another-id"}},
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    iam = cloud.client("iam", account=CONSUMERS[1])
    iam.create_role(RoleName=f"{STRICT_ROLE}-reader", AssumeRolePolicyDocument=json.dumps(policy))
    return STRICT_ROLE


def test_a_consumer_without_the_role_is_refused(refuse: Refuse) -> None:
    told = [f"consumer {CONSUMERS[1]} in ", MISSING_ROLE, "deploy infra/consumer.yaml"]
    listed = [*consumers(CONSUMERS[0]), {"account": CONSUMERS[1], "role": MISSING_ROLE}]
    refuse(told, consumers=listed)


def test_a_consumer_role_with_another_external_id_is_refused(
    refuse: Refuse, strict_role: str
) -> None:
    told = [f"consumer {CONSUMERS[1]} in ", strict_role, "deploy infra/consumer.yaml", "external"]
    refuse(told, consumers=[{"account": CONSUMERS[1], "role": strict_role}])


def test_a_region_that_is_not_enabled_for_a_consumer_is_refused(
    cloud: LocalCloud, refuse: Refuse
) -> None:
    known = cloud.control.state()["settings"]["regions_not_opted_in"]
    cloud.control.settings(regions_not_opted_in=[*known, f"{CONSUMERS[0]}/{IRELAND}"])
    told = [f"consumer {CONSUMERS[0]} in {IRELAND} "]
    refuse(told, regions=regions(REGION, IRELAND), consumers=consumers(*CONSUMERS))


def test_a_fast_restore_zone_that_does_not_exist_is_refused(refuse: Refuse) -> None:
    told = [
        f"regions[{IRELAND}].fsrZones[1]: eu-west-1z is not a zone of eu-west-1",
        "name one of eu-west-1a",
    ]
    refuse(
        told, regions=regions(REGION, IRELAND, eu_west_1={"fsrZones": ["eu-west-1a", "eu-west-1z"]})
    )


def test_the_remaining_quota_for_the_copy_is_shown(
    frontload: Frontload, cache: Cache, shared_image: str
) -> None:
    cache.put(shared_image, regions=regions(REGION, IRELAND))
    (build,) = frontload.builds_of(frontload.run(cache.name))
    told = "0 snapshots are pending, 20 copies run at once: the copy can start"
    assert f"{IRELAND}: {told}" in frontload.facts(build)["checked"]


def test_the_number_of_fast_restores_in_a_region_is_shown(
    frontload: Frontload, cache: Cache, shared_image: str
) -> None:
    listed = regions(REGION, IRELAND, eu_west_1={"fsrZones": ["eu-west-1a"]})
    cache.put(shared_image, regions=listed)
    (build,) = frontload.builds_of(frontload.run(cache.name))
    told = rf"{IRELAND}: snapshots with fast restore: \d, of 5 by default: one more can have it$"
    lines = frontload.facts(build)["checked"]
    assert [line for line in lines if re.match(told, line)] != [], lines


def test_a_network_without_a_way_out_is_refused(refuse: Refuse) -> None:
    told = ["builder.subnetIds in us-east-1: ", "internet gateway", "set builder.publicIp to true"]
    refuse(told, builder={"publicIp": False})


def test_a_subnet_that_does_not_exist_is_refused(refuse: Refuse) -> None:
    refuse(["builder.subnetIds", "subnet-0abc"], builder={"subnetIds": ["subnet-0abc"]})
