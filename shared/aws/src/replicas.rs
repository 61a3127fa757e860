//! Replicas: copies of a snapshot in other regions, sharing, and fast restore.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::error::ProvideErrorMetadata;
use aws_sdk_ec2::types::{
    CreateVolumePermission, CreateVolumePermissionModifications, FastSnapshotRestoreStateCode,
    Filter, OperationType, ResourceType, SnapshotAttributeName, Tag,
};

use super::tagging;
use super::{call_error, incomplete_answer};
use frontload_domain::Result;
use frontload_domain::place::ZoneName;
use frontload_domain::snapshot::SnapshotId;
use frontload_domain::tags;
use frontload_domain::{AccountId, Build, RegionSettings};

/// The result of starting a copy.
#[derive(Debug, PartialEq, Eq)]
pub enum Copy {
    /// The copy is in progress.
    Started(SnapshotId),
    /// The region has its maximum of copies in progress. Call again later.
    WaitsItsTurn,
}

/// EC2's error codes for too many copies at once (20 per destination region, EC2
/// `CopySnapshot`).
const LIMITED: [&str; 3] =
    ["ResourceLimitExceeded", "ConcurrentSnapshotLimitExceeded", "RequestLimitExceeded"];

/// Starts the copy of the home region's `source` into `settings.region`. `ec2` must be the
/// client of that region. Copies inherit no tags, so the call sets them.
///
/// # Errors
/// Those of [`call_error`].
pub async fn start_copy(
    ec2: &Client,
    stack: &str,
    build: &Build,
    source: &SnapshotId,
    settings: &RegionSettings,
) -> Result<Copy> {
    let operation = "ec2:CopySnapshot";
    let resource = || format!("snapshot {source} of build {}", build.id);
    let region = ec2.config().region();
    let lineage = Tag::builder().key(tags::SOURCE).value(source.as_str()).build();
    let own = tagging::specification(stack, build, ResourceType::Snapshot);
    let mut all = own.tags().to_vec();
    all.push(lineage);
    let specification = aws_sdk_ec2::types::TagSpecification::builder()
        .resource_type(ResourceType::Snapshot)
        .set_tags(Some(all))
        .build();
    let answer = ec2
        .copy_snapshot()
        .source_region(build.region.as_str())
        .source_snapshot_id(source.as_str())
        .description(format!(
            "Frontload: images of cache {} for {}",
            build.cache, build.architecture
        ))
        .set_encrypted(settings.kms_key_id.is_some().then_some(true))
        .set_kms_key_id(settings.kms_key_id.as_ref().map(ToString::to_string))
        .set_completion_duration_minutes(build.copy_minutes.and_then(|m| i32::try_from(m).ok()))
        .tag_specifications(specification)
        .send()
        .await;
    match answer {
        Ok(output) => output
            .snapshot_id()
            .unwrap_or_default()
            .parse()
            .map(Copy::Started)
            .map_err(|reason: String| incomplete_answer(operation, resource(), region, reason)),
        Err(error) if error.code().is_some_and(|code| LIMITED.contains(&code)) => {
            Ok(Copy::WaitsItsTurn)
        }
        Err(error) => Err(call_error(operation, resource(), region, &error)),
    }
}

/// The accounts that may create volumes from a snapshot. Empty if it was deleted meanwhile, for
/// example by another reaper.
///
/// # Errors
/// Those of [`call_error`].
pub async fn shared_with(ec2: &Client, id: &SnapshotId) -> Result<Vec<String>> {
    let answer = ec2
        .describe_snapshot_attribute()
        .snapshot_id(id.as_str())
        .attribute(SnapshotAttributeName::CreateVolumePermission)
        .send()
        .await;
    match answer {
        Ok(output) => {
            let permissions = output.create_volume_permissions().iter();
            Ok(permissions.filter_map(|p| p.user_id()).map(ToOwned::to_owned).collect())
        }
        Err(error) if error.code() == Some("InvalidSnapshot.NotFound") => Ok(Vec::new()),
        Err(error) => {
            let (operation, region) = ("ec2:DescribeSnapshotAttribute", ec2.config().region());
            Err(call_error(operation, format!("snapshot {id}"), region, &error))
        }
    }
}

/// Shares a snapshot with accounts; never with everybody.
///
/// # Errors
/// Those of [`call_error`].
pub async fn share(ec2: &Client, id: &SnapshotId, accounts: &[&AccountId]) -> Result<()> {
    let permission =
        |account: &&AccountId| CreateVolumePermission::builder().user_id(account.as_str()).build();
    let change = CreateVolumePermissionModifications::builder()
        .set_add(Some(accounts.iter().map(permission).collect()))
        .build();
    ec2.modify_snapshot_attribute()
        .snapshot_id(id.as_str())
        .attribute(SnapshotAttributeName::CreateVolumePermission)
        .operation_type(OperationType::Add)
        .create_volume_permission(change)
        .send()
        .await
        .map(drop)
        .map_err(|error| {
            let region = ec2.config().region();
            call_error("ec2:ModifySnapshotAttribute", format!("snapshot {id}"), region, &error)
        })
}

/// Fast snapshot restore of one snapshot in one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FastRestore {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The zone.
    pub zone: String,
    /// Whether volumes made now need no initialization.
    pub enabled: bool,
}

/// The account's fast restores that are enabled or being enabled. `of` limits them to one
/// snapshot.
///
/// # Errors
/// Those of [`call_error`].
pub async fn fast_restores(ec2: &Client, of: Option<&SnapshotId>) -> Result<Vec<FastRestore>> {
    let operation = "ec2:DescribeFastSnapshotRestores";
    let region = ec2.config().region();
    let filter =
        |id: &SnapshotId| Filter::builder().name("snapshot-id").values(id.as_str()).build();
    let mut pages = ec2
        .describe_fast_snapshot_restores()
        .set_filters(of.map(|id| vec![filter(id)]))
        .into_paginator()
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| call_error(operation, "snapshots", region, &error))?;
        for restore in page.fast_snapshot_restores() {
            let state = restore.state();
            if state == Some(&FastSnapshotRestoreStateCode::Disabled)
                || state == Some(&FastSnapshotRestoreStateCode::Disabling)
            {
                continue;
            }
            // Snapshots of other owners may carry ids of other forms.
            let Ok(snapshot) = restore.snapshot_id().unwrap_or_default().parse() else { continue };
            found.push(FastRestore {
                snapshot,
                zone: restore.availability_zone().unwrap_or_default().to_owned(),
                enabled: state == Some(&FastSnapshotRestoreStateCode::Enabled),
            });
        }
    }
    Ok(found)
}

/// Enables fast restore of a snapshot in those of `zones` that lack it. Returns `Some` with the
/// progress until all zones are ready.
///
/// # Errors
/// Those of [`call_error`].
pub async fn ensure_fast_restore(
    ec2: &Client,
    id: &SnapshotId,
    zones: &[ZoneName],
) -> Result<Option<String>> {
    if zones.is_empty() {
        return Ok(None);
    }
    let known = fast_restores(ec2, Some(id)).await?;
    let is_known = |zone: &str| known.iter().any(|restore| restore.zone == zone);
    let missing: Vec<_> = zones.iter().filter(|zone| !is_known(zone.as_str())).collect();
    if !missing.is_empty() {
        enable_fast_restore(ec2, id, &missing).await?;
    }
    let is_fast = |zone: &str| known.iter().any(|restore| restore.enabled && restore.zone == zone);
    let fast = zones.iter().filter(|zone| is_fast(zone.as_str())).count();
    let asked = zones.len();
    Ok((fast < asked).then(|| format!("{id} has fast restore in {fast} of {asked} zones")))
}

/// Switches fast restore on in zones.
async fn enable_fast_restore(ec2: &Client, id: &SnapshotId, zones: &[&ZoneName]) -> Result<()> {
    let operation = "ec2:EnableFastSnapshotRestores";
    let region = ec2.config().region();
    let output = ec2
        .enable_fast_snapshot_restores()
        .source_snapshot_ids(id.as_str())
        .set_availability_zones(Some(zones.iter().map(ToString::to_string).collect()))
        .send()
        .await
        .map_err(|error| call_error(operation, format!("snapshot {id}"), region, &error))?;
    // The call succeeds even when it did nothing.
    let failed = output.unsuccessful().iter().flat_map(
        aws_sdk_ec2::types::EnableFastSnapshotRestoreErrorItem::fast_snapshot_restore_state_errors,
    );
    let reasons: Vec<String> = failed
        .filter_map(|error| error.error())
        .map(|error| error.message().unwrap_or("no reason given").to_owned())
        .collect();
    if reasons.is_empty() {
        return Ok(());
    }
    Err(incomplete_answer(operation, format!("snapshot {id}"), region, reasons.join("; ")))
}

/// Switches fast restore off, since it is paid by the hour.
///
/// # Errors
/// Those of [`call_error`].
pub async fn disable_fast_restore(ec2: &Client, restores: &[FastRestore]) -> Result<()> {
    for restore in restores {
        ec2.disable_fast_snapshot_restores()
            .source_snapshot_ids(restore.snapshot.as_str())
            .availability_zones(&restore.zone)
            .send()
            .await
            .map_err(|error| {
                let resource = format!("snapshot {}", restore.snapshot);
                let region = ec2.config().region();
                call_error("ec2:DisableFastSnapshotRestores", resource, region, &error)
            })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use aws_smithy_mocks::{RuleMode, mock, mock_client};
    use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

    use super::*;

    async fn refused_with(code: &'static str) -> Result<Vec<String>> {
        let rule = mock!(Client::describe_snapshot_attribute).then_http_response(move || {
            let error = format!("<Error><Code>{code}</Code><Message>planted</Message></Error>");
            let body = format!("<Response><Errors>{error}</Errors></Response>");
            HttpResponse::new(400.try_into().unwrap(), body.into())
        });
        let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&rule]);
        shared_with(&ec2, &"snap-1".parse().unwrap()).await
    }

    #[tokio::test]
    async fn a_deleted_snapshot_is_shared_with_nobody() {
        assert_eq!(refused_with("InvalidSnapshot.NotFound").await.unwrap(), [""; 0]);
        assert_eq!(refused_with("InvalidParameter").await.unwrap_err().name(), "AwsRejected");
    }
}
