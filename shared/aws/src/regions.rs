//! Regions and zones, as EC2 reports them.

use std::collections::BTreeSet;

use aws_sdk_ec2::Client;

use super::call_error;
use frontload_domain::Result;

/// The regions that are enabled for our account.
///
/// # Errors
/// Those of [`call_error`].
pub async fn enabled_regions(ec2: &Client) -> Result<BTreeSet<String>> {
    let output = ec2.describe_regions().all_regions(true).send().await.map_err(|error| {
        call_error("ec2:DescribeRegions", "all regions", ec2.config().region(), &error)
    })?;
    let enabled = output.regions().iter().filter(|r| r.opt_in_status() != Some("not-opted-in"));
    Ok(enabled.filter_map(|region| region.region_name()).map(ToOwned::to_owned).collect())
}

/// The zones of the client's region.
///
/// # Errors
/// Those of [`call_error`].
pub async fn zones(ec2: &Client) -> Result<BTreeSet<String>> {
    let output = ec2.describe_availability_zones().send().await.map_err(|error| {
        call_error("ec2:DescribeAvailabilityZones", "zones", ec2.config().region(), &error)
    })?;
    let zones = output.availability_zones().iter().filter_map(|zone| zone.zone_name());
    Ok(zones.map(ToOwned::to_owned).collect())
}
