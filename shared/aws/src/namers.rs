//! Launch templates and AMIs of an account that name snapshots.

use aws_sdk_ec2::Client;

use super::call_error;
use frontload_domain::Result;
use frontload_domain::prune::{NamedBy, TemplateVersion};
use frontload_domain::snapshot::SnapshotId;

/// The snapshots that the default and latest versions of the account's launch
/// templates name. Without a template id, `$Latest` and `$Default` select those
/// versions of all templates (EC2 `DescribeLaunchTemplateVersions`).
///
/// # Errors
/// Those of [`call_error`].
pub async fn in_launch_templates(ec2: &Client) -> Result<Vec<(NamedBy, SnapshotId)>> {
    let region = ec2.config().region();
    let mut found = Vec::new();
    for (asked, version) in
        [("$Default", TemplateVersion::Default), ("$Latest", TemplateVersion::Latest)]
    {
        let mut pages =
            ec2.describe_launch_template_versions().versions(asked).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| {
                let operation = "ec2:DescribeLaunchTemplateVersions";
                call_error(operation, format!("{asked} of all"), region, &error)
            })?;
            for template in page.launch_template_versions() {
                let id = template.launch_template_id().unwrap_or_default();
                let devices = template
                    .launch_template_data()
                    .map(aws_sdk_ec2::types::ResponseLaunchTemplateData::block_device_mappings);
                for device in devices.unwrap_or_default() {
                    // Skip text that is no snapshot id: it cannot name one of ours.
                    let snapshot = device.ebs().and_then(|ebs| ebs.snapshot_id());
                    if let Some(Ok(snapshot)) = snapshot.map(str::parse) {
                        found.push((
                            NamedBy::LaunchTemplate { id: id.to_owned(), version },
                            snapshot,
                        ));
                    }
                }
            }
        }
    }
    Ok(found)
}

/// The snapshots behind the account's own AMIs.
///
/// # Errors
/// Those of [`call_error`].
pub async fn in_images(ec2: &Client) -> Result<Vec<(NamedBy, SnapshotId)>> {
    let region = ec2.config().region();
    let mut pages = ec2.describe_images().owners("self").into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| {
            call_error("ec2:DescribeImages", "the account's AMIs", region, &error)
        })?;
        for image in page.images() {
            let id = image.image_id().unwrap_or_default();
            for device in image.block_device_mappings() {
                let snapshot = device.ebs().and_then(|ebs| ebs.snapshot_id());
                if let Some(Ok(snapshot)) = snapshot.map(str::parse) {
                    found.push((NamedBy::Image { id: id.to_owned() }, snapshot));
                }
            }
        }
    }
    Ok(found)
}
