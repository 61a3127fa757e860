"""Regions: which are enabled for an account, and what the others answer."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from . import REGION
from .conftest import ACCOUNT, CONSUMER, IRELAND, Aws


def statuses(ec2: Any, **request: Any) -> dict[str, str]:
    return {
        region["RegionName"]: region["OptInStatus"]
        for region in ec2.describe_regions(**request)["Regions"]
    }


def test_regions_are_listed_once_with_their_opt_in_status(aws: Aws) -> None:
    aws.control.settings(regions_not_opted_in=["me-south-1"])
    enabled = statuses(aws.ec2)
    assert enabled[REGION] == enabled[IRELAND] == "opt-in-not-required"
    assert enabled["af-south-1"] == "opted-in"
    assert "me-south-1" not in enabled
    everything = statuses(aws.ec2, AllRegions=True)
    assert everything["me-south-1"] == "not-opted-in"
    assert statuses(aws.ec2, RegionNames=["me-south-1"]) == {"me-south-1": "not-opted-in"}
    listed = aws.ec2.describe_regions(AllRegions=True)["Regions"]
    assert len(listed) == len(everything)


def test_an_unknown_region_name_is_refused(aws: Aws) -> None:
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        aws.ec2.describe_regions(RegionNames=["eu-nowhere-1"])


@pytest.mark.parametrize("region", ["me-south-1", "eu-nowhere-1"])
def test_a_region_that_is_not_enabled_refuses_all_credentials(aws: Aws, region: str) -> None:
    with pytest.raises(ClientError, match="AuthFailure"):
        aws.client("ec2", region).describe_snapshots(OwnerIds=["self"])
    with pytest.raises(ClientError, match="UnrecognizedClientException"):
        aws.client("ssm", region).get_parameter(Name="/a")
    with pytest.raises(ClientError, match="UnrecognizedClientException"):
        aws.client("kms", region).describe_key(KeyId="alias/aws/ebs")


def test_a_region_can_be_closed_for_one_account(aws: Aws) -> None:
    aws.control.settings(regions_not_opted_in=[f"{CONSUMER}/me-south-1"])
    assert aws.client("ec2", "me-south-1", ACCOUNT).describe_availability_zones()
    with pytest.raises(ClientError, match="AuthFailure"):
        aws.client("ec2", "me-south-1", CONSUMER).describe_availability_zones()


def test_every_region_has_its_own_zones(aws: Aws) -> None:
    for region in (REGION, IRELAND, "ap-southeast-2"):
        zones = aws.client("ec2", region).describe_availability_zones()["AvailabilityZones"]
        assert len(zones) >= 3
        assert {zone["RegionName"] for zone in zones} == {region}
        assert f"{region}a" in {zone["ZoneName"] for zone in zones}
