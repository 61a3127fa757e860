//! EBS snapshots and leftover volumes of a build.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::error::ProvideErrorMetadata;
use aws_sdk_ec2::types::{Filter, ResourceType, SnapshotState, Tag, VolumeState as EbsVolumeState};

use super::tagging::{self, Owner};
use super::{call_error, incomplete_answer};
use frontload_domain::Result;
use frontload_domain::names::VolumeId;
use frontload_domain::snapshot::{Snapshot, SnapshotId, State};
use frontload_domain::tags;
use frontload_domain::{Build, CacheName};

fn read_state(snapshot: &aws_sdk_ec2::types::Snapshot) -> State {
    match snapshot.state() {
        Some(SnapshotState::Completed) => State::Completed,
        Some(SnapshotState::Error) => {
            State::Error(snapshot.state_message().unwrap_or("EC2 gives no reason").to_owned())
        }
        _ => State::Pending(snapshot.progress().unwrap_or("0%").to_owned()),
    }
}

/// EC2's snapshot as a domain type. The error says what is wrong with it.
fn read_snapshot(snapshot: &aws_sdk_ec2::types::Snapshot) -> std::result::Result<Snapshot, String> {
    Ok(Snapshot {
        id: snapshot.snapshot_id().unwrap_or_default().parse()?,
        state: read_state(snapshot),
        started: snapshot.start_time().map_or(0, aws_smithy_types::DateTime::secs),
        encrypted: snapshot.encrypted().unwrap_or_default(),
        kms_key_id: snapshot.kms_key_id().and_then(|key| key.parse().ok()),
        full_bytes: snapshot.full_snapshot_size_in_bytes().and_then(|n| n.try_into().ok()),
        tags: tagging::read(snapshot.tags()),
    })
}

/// The snapshots of one build, oldest first. `CreateSnapshot` has no client token, so
/// a lost answer can leave two snapshots. The oldest counts.
///
/// # Errors
/// Those of [`call_error`].
pub async fn find_snapshots(ec2: &Client, owner: Owner<'_>) -> Result<Vec<Snapshot>> {
    list_snapshots(ec2, owner.filters(), &format!("snapshots of build {}", owner.build)).await
}

/// All snapshots of one cache in a stack, oldest first.
///
/// # Errors
/// Those of [`call_error`].
pub async fn find_cache_snapshots(
    ec2: &Client,
    stack: &str,
    cache: &CacheName,
) -> Result<Vec<Snapshot>> {
    let filters =
        vec![tagging::filter(tags::STACK, stack), tagging::filter(tags::CACHE, cache.as_str())];
    list_snapshots(ec2, filters, &format!("snapshots of cache {cache}")).await
}

/// All snapshots of a stack, oldest first.
///
/// # Errors
/// Those of [`call_error`].
pub async fn find_stack_snapshots(ec2: &Client, stack: &str) -> Result<Vec<Snapshot>> {
    let filters = vec![tagging::filter(tags::STACK, stack)];
    list_snapshots(ec2, filters, &format!("snapshots of stack {stack}")).await
}

/// Tags a snapshot as published.
///
/// # Errors
/// Those of [`call_error`].
pub async fn mark_published(ec2: &Client, id: &SnapshotId) -> Result<()> {
    let mark = Tag::builder().key(tags::PUBLISHED).value("true").build();
    let answer = ec2.create_tags().resources(id.as_str()).tags(mark).send().await;
    answer.map(drop).map_err(|error| {
        let region = ec2.config().region();
        call_error("ec2:CreateTags", format!("snapshot {id}"), region, &error)
    })
}

/// How many of the account's snapshots in the region are pending.
///
/// # Errors
/// Those of [`call_error`].
pub async fn count_pending(ec2: &Client) -> Result<usize> {
    let pending = vec![Filter::builder().name("status").values("pending").build()];
    Ok(list_snapshots(ec2, pending, "pending snapshots").await?.len())
}

async fn list_snapshots(
    ec2: &Client,
    filters: Vec<Filter>,
    resource: &str,
) -> Result<Vec<Snapshot>> {
    let operation = "ec2:DescribeSnapshots";
    let region = ec2.config().region();
    let mut pages = ec2
        .describe_snapshots()
        .owner_ids("self")
        .set_filters(Some(filters))
        .into_paginator()
        .send();
    let mut snapshots = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| call_error(operation, resource, region, &error))?;
        for snapshot in page.snapshots() {
            snapshots.push(
                read_snapshot(snapshot)
                    .map_err(|reason| incomplete_answer(operation, resource, region, reason))?,
            );
        }
    }
    snapshots.sort_by(|a, b| (a.started, &a.id).cmp(&(b.started, &b.id)));
    Ok(snapshots)
}

/// One snapshot, or `None` if no snapshot has that id.
///
/// # Errors
/// Those of [`call_error`].
pub async fn find_snapshot(ec2: &Client, id: &SnapshotId) -> Result<Option<Snapshot>> {
    let operation = "ec2:DescribeSnapshots";
    let resource = format!("snapshot {id}");
    let region = ec2.config().region();
    let answer = ec2.describe_snapshots().snapshot_ids(id.as_str()).send().await;
    match answer {
        Ok(output) => match output.snapshots().first() {
            Some(snapshot) => read_snapshot(snapshot)
                .map(Some)
                .map_err(|reason| incomplete_answer(operation, resource, region, reason)),
            None => Ok(None),
        },
        Err(error) if error.code() == Some("InvalidSnapshot.NotFound") => Ok(None),
        Err(error) => Err(call_error(operation, resource, region, &error)),
    }
}

/// Starts the snapshot of `volume`. It contains the volume's data at this moment, so
/// the volume must be flushed before.
///
/// # Errors
/// Those of [`call_error`].
pub async fn create_snapshot(
    ec2: &Client,
    stack: &str,
    build: &Build,
    volume: &VolumeId,
) -> Result<SnapshotId> {
    let operation = "ec2:CreateSnapshot";
    let resource = || format!("volume {volume} of build {}", build.id);
    let region = ec2.config().region();
    let output = ec2
        .create_snapshot()
        .volume_id(volume.as_str())
        .description(format!(
            "Frontload: images of cache {} for {}",
            build.cache, build.architecture
        ))
        .tag_specifications(tagging::specification(stack, build, ResourceType::Snapshot))
        .send()
        .await
        .map_err(|error| call_error(operation, resource(), region, &error))?;
    let id = output.snapshot_id().unwrap_or_default();
    id.parse().map_err(|reason: String| incomplete_answer(operation, resource(), region, reason))
}

/// The result of deleting a snapshot.
#[derive(Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It is deleted, now or earlier.
    Done,
    /// EC2 keeps it, since something uses it; with EC2's message.
    InUse(String),
}

/// Deletes a snapshot; one that is gone already is no error.
///
/// # Errors
/// Those of [`call_error`]; one in use is an error too.
pub async fn delete_snapshot(ec2: &Client, id: &SnapshotId) -> Result<()> {
    match try_delete_snapshot(ec2, id).await? {
        Deletion::Done => Ok(()),
        Deletion::InUse(reason) => {
            let region = ec2.config().region();
            Err(incomplete_answer("ec2:DeleteSnapshot", format!("snapshot {id}"), region, reason))
        }
    }
}

/// Deletes a snapshot unless something uses it.
///
/// # Errors
/// Those of [`call_error`].
pub async fn try_delete_snapshot(ec2: &Client, id: &SnapshotId) -> Result<Deletion> {
    let answer = ec2.delete_snapshot().snapshot_id(id.as_str()).send().await;
    let Err(error) = answer else { return Ok(Deletion::Done) };
    match error.code() {
        Some("InvalidSnapshot.NotFound") => Ok(Deletion::Done),
        // The role may delete only what has our tags, and the tags go with the snapshot. If
        // another call deletes it at the same time, EC2 may report denied instead of not found.
        Some("UnauthorizedOperation") if find_snapshot(ec2, id).await?.is_none() => {
            Ok(Deletion::Done)
        }
        Some("InvalidSnapshot.InUse") => {
            Ok(Deletion::InUse(error.message().unwrap_or("it is in use").to_owned()))
        }
        _ => {
            let region = ec2.config().region();
            Err(call_error("ec2:DeleteSnapshot", format!("snapshot {id}"), region, &error))
        }
    }
}

/// Whether a volume is ready for its final snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeState {
    /// It is not attached to an instance.
    Available,
    /// It is attached to an instance, or EC2 is working on it.
    InUse,
    /// It is deleted, or being deleted.
    Gone,
}

/// The state of a volume.
///
/// # Errors
/// Those of [`call_error`].
pub async fn volume_state(ec2: &Client, id: &VolumeId) -> Result<VolumeState> {
    let answer = ec2.describe_volumes().volume_ids(id.as_str()).send().await;
    match answer {
        Ok(output) => Ok(match output.volumes().first().and_then(|volume| volume.state()) {
            Some(EbsVolumeState::Available) => VolumeState::Available,
            None | Some(EbsVolumeState::Deleted | EbsVolumeState::Deleting) => VolumeState::Gone,
            Some(_) => VolumeState::InUse,
        }),
        Err(error) if error.code() == Some("InvalidVolume.NotFound") => Ok(VolumeState::Gone),
        Err(error) => {
            let region = ec2.config().region();
            Err(call_error("ec2:DescribeVolumes", format!("volume {id}"), region, &error))
        }
    }
}

/// A volume that is not attached to an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftoverVolume {
    /// Its id.
    pub id: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// Unattached volumes of one build. EC2 deletes a builder's volumes with the instance until the
/// builder is ended in order. This finds the volumes that a build leaves after that.
///
/// # Errors
/// Those of [`call_error`].
pub async fn find_leftover_volumes(ec2: &Client, owner: Owner<'_>) -> Result<Vec<LeftoverVolume>> {
    list_leftover_volumes(ec2, owner.filters(), &format!("volumes of build {}", owner.build)).await
}

/// Unattached volumes of a stack's builds.
///
/// # Errors
/// Those of [`call_error`].
pub async fn find_stack_leftover_volumes(ec2: &Client, stack: &str) -> Result<Vec<LeftoverVolume>> {
    let filters = vec![tagging::filter(tags::STACK, stack)];
    list_leftover_volumes(ec2, filters, &format!("volumes of stack {stack}")).await
}

async fn list_leftover_volumes(
    ec2: &Client,
    mut filters: Vec<Filter>,
    resource: &str,
) -> Result<Vec<LeftoverVolume>> {
    let region = ec2.config().region();
    filters.push(Filter::builder().name("status").values("available").build());
    let mut pages = ec2.describe_volumes().set_filters(Some(filters)).into_paginator().send();
    let mut volumes = Vec::new();
    while let Some(page) = pages.next().await {
        let page =
            page.map_err(|error| call_error("ec2:DescribeVolumes", resource, region, &error))?;
        let found = page.volumes().iter().filter_map(|volume| {
            let id = volume.volume_id()?.to_owned();
            Some(LeftoverVolume { id, tags: tagging::read(volume.tags()) })
        });
        volumes.extend(found);
    }
    Ok(volumes)
}

/// Deletes a volume; one that is gone already is no error.
///
/// # Errors
/// Those of [`call_error`].
pub async fn delete_volume(ec2: &Client, id: &str) -> Result<()> {
    let answer = ec2.delete_volume().volume_id(id).send().await;
    let Err(error) = answer else { return Ok(()) };
    match error.code() {
        Some("InvalidVolume.NotFound") => Ok(()),
        // The same race as in `try_delete_snapshot`.
        Some("UnauthorizedOperation") if is_volume_gone(ec2, id).await => Ok(()),
        _ => {
            let region = ec2.config().region();
            Err(call_error("ec2:DeleteVolume", format!("volume {id}"), region, &error))
        }
    }
}

async fn is_volume_gone(ec2: &Client, id: &str) -> bool {
    let answer = ec2.describe_volumes().volume_ids(id).send().await;
    answer.is_err_and(|error| error.code() == Some("InvalidVolume.NotFound"))
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::operation::describe_snapshots::DescribeSnapshotsOutput;
    use aws_sdk_ec2::operation::describe_volumes::DescribeVolumesOutput;
    use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
    use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

    use super::*;

    fn refusal(code: &str) -> HttpResponse {
        let error = format!("<Error><Code>{code}</Code><Message>planted</Message></Error>");
        let body = format!("<Response><Errors>{error}</Errors></Response>");
        HttpResponse::new(400.try_into().unwrap(), body.into())
    }

    fn client(rules: &[Rule]) -> Client {
        let rules: Vec<&Rule> = rules.iter().collect();
        mock_client!(aws_sdk_ec2, RuleMode::MatchAny, rules)
    }

    async fn delete_denied_snapshot(query: Rule) -> Result<Deletion> {
        let denied =
            mock!(Client::delete_snapshot).then_http_response(|| refusal("UnauthorizedOperation"));
        try_delete_snapshot(&client(&[denied, query]), &"snap-1".parse().unwrap()).await
    }

    async fn delete_denied_volume(query: Rule) -> Result<()> {
        let denied =
            mock!(Client::delete_volume).then_http_response(|| refusal("UnauthorizedOperation"));
        delete_volume(&client(&[denied, query]), "vol-1").await
    }

    #[tokio::test]
    async fn a_denied_deletion_succeeds_when_the_resource_is_gone() {
        let gone = mock!(Client::describe_snapshots)
            .then_http_response(|| refusal("InvalidSnapshot.NotFound"));
        assert_eq!(delete_denied_snapshot(gone).await.unwrap(), Deletion::Done);
        let gone = mock!(Client::describe_volumes)
            .then_http_response(|| refusal("InvalidVolume.NotFound"));
        delete_denied_volume(gone).await.unwrap();
    }

    #[tokio::test]
    async fn a_denied_deletion_of_an_existing_resource_is_an_error() {
        let there = mock!(Client::describe_snapshots).then_output(|| {
            let snapshot = aws_sdk_ec2::types::Snapshot::builder().snapshot_id("snap-1").build();
            DescribeSnapshotsOutput::builder().snapshots(snapshot).build()
        });
        assert_eq!(delete_denied_snapshot(there).await.unwrap_err().name(), "AwsDenied");
        let there = mock!(Client::describe_volumes)
            .then_output(|| DescribeVolumesOutput::builder().build());
        assert_eq!(delete_denied_volume(there).await.unwrap_err().name(), "AwsDenied");
    }
}
