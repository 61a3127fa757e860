"""Which regions exist and are enabled for an account, and their availability zones."""

from __future__ import annotations

from typing import Any

from moto.core.responses import BaseResponse
from moto.ec2.models import EC2Backend
from moto.ec2.responses._base_response import EC2BaseResponse
from moto.ec2.utils import generic_filter

from .cloud_state import CloudState, Place
from .dispatch import AwsError, handles, place_of, unknown_credentials

OPT_IN_REGIONS = {
    "af-south-1", "ap-east-1", "ap-east-2", "ap-south-2", "ap-southeast-3", "ap-southeast-4",
    "ap-southeast-5", "ap-southeast-6", "ap-southeast-7", "ca-west-1", "eu-central-2",
    "eu-south-1", "eu-south-2", "il-central-1", "me-central-1", "me-south-1", "mx-central-1",
}  # fmt: skip
"""The regions that AWS enables only on request."""
ALL_REGIONS = {region.name for region in EC2Backend.regions if region.name.count("-") == 2}


def is_enabled(cloud: CloudState, place: Place) -> bool:
    """Whether the account may use the region."""
    closed = cloud.settings.regions_not_opted_in
    return not {place.region, f"{place.account}/{place.region}"} & set(closed)


def require_region(cloud: CloudState, request: BaseResponse, service: str, action: str) -> None:
    """Raise AwsError in a region that is not enabled; AWS does not know the credentials there."""
    place = place_of(request)
    if place.region in ALL_REGIONS and is_enabled(cloud, place):
        return
    if service == "sts":
        message = f"STS is not activated in this region for account:{place.account}"
        raise AwsError("RegionDisabledException", message)
    raise unknown_credentials(service, "The security token included in the request is invalid.")


class RegionView:
    """A region as DescribeRegions shows it to one account."""

    def __init__(self, cloud: CloudState, place: Place) -> None:
        self.region_name = place.region
        self.endpoint = f"ec2.{place.region}.amazonaws.com"
        closed = not is_enabled(cloud, place)
        if closed:
            self.opt_in_status = "not-opted-in"
        else:
            opted = place.region in OPT_IN_REGIONS
            self.opt_in_status = "opted-in" if opted else "opt-in-not-required"

    def get_filter_value(self, name: str) -> str:
        """Return the value that a filter compares."""
        return getattr(self, name.replace("-", "_"))


@handles("ec2", "DescribeRegions")
def describe_regions(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """List the enabled regions; with AllRegions, or by name, the others too."""
    request.error_on_dryrun()
    names = request._get_param("RegionNames", [])
    for name in names:
        if name not in ALL_REGIONS:
            raise AwsError("InvalidParameterValue", f"Invalid region name: '{name}'")
    views = [
        RegionView(cloud, Place(request.current_account, name)) for name in sorted(ALL_REGIONS)
    ]
    if names:
        views = [view for view in views if view.region_name in names]
    elif not request._get_bool_param("AllRegions", False):
        views = [view for view in views if view.opt_in_status != "not-opted-in"]
    return {"Regions": generic_filter(request._filters_from_querystring(), views)}


def zone_names(request: EC2BaseResponse) -> set[str]:
    """Return the names of the region's availability zones."""
    return {zone.name for zone in request.ec2_backend.describe_availability_zones()}
