//! `clean_up`: ensures that nothing of a build is left but what it published.
//! It runs at the end of every build, whatever its end was, and decides by the
//! world, not by what earlier steps said.

use frontload_shared::aws::instances::{State, find_builders, terminate_builder};
use frontload_shared::aws::parameters;
use frontload_shared::aws::snapshots::{
    delete_snapshot, delete_volume, find_leftover_volumes, find_snapshots,
};
use frontload_shared::aws::tags::Owner;
use frontload_shared::domain::{Build, ParameterNames};
use frontload_shared::publication::{self, Published};
use frontload_shared::step::{Report, Waited};
use frontload_shared::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::claim::Lease;
use crate::settings::Settings;

/// Payload of the function.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    build: Build,
    waited_seconds: Waited,
}

/// What the last call removed.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Cleaned {
    released: Vec<String>,
}

/// How long EC2 may take to end an instance.
const LIMIT_SECONDS: u32 = 600;

/// Removes what is left, builder first.
pub async fn handle(
    ec2: &aws_sdk_ec2::Client,
    ssm: &aws_sdk_ssm::Client,
    settings: &Settings,
    input: Input,
) -> Result<Report<Cleaned>> {
    let build = &input.build;
    let owner = Owner { stack: &settings.stack, build: &build.id };
    if let Some(progress) = end_builders(ec2, owner).await? {
        if input.waited_seconds.is_past(LIMIT_SECONDS) {
            return Err(Error::CleanUpTimedOut {
                build: build.id.clone(),
                seconds: input.waited_seconds.0,
                progress,
            });
        }
        return Ok(Report::wait(10, progress));
    }
    let names = ParameterNames::new(&settings.prefix, &build.cache, build.architecture);
    let mut released = Vec::new();
    if publication::undo_half(ssm, &names, &build.id).await? {
        released.push(names.manifest.clone());
    }
    released.extend(remove_storage(ec2, ssm, owner, &names).await?);
    released.extend(release_lease(ssm, build, &names).await?);
    Ok(Report::Ready(Cleaned { released }))
}

/// Terminates builders; `Some` while one is not gone.
async fn end_builders(ec2: &aws_sdk_ec2::Client, owner: Owner<'_>) -> Result<Option<String>> {
    let mut progress = None;
    for builder in find_builders(ec2, owner).await? {
        match builder.state {
            State::Terminated => {}
            State::Pending | State::Running | State::Ending => {
                terminate_builder(ec2, &builder.id).await?;
                progress = Some(format!("builder {} is terminating", builder.id));
            }
        }
    }
    Ok(progress)
}

/// Deletes the build's snapshots but the published one, and volumes that lost
/// their instance.
async fn remove_storage(
    ec2: &aws_sdk_ec2::Client,
    ssm: &aws_sdk_ssm::Client,
    owner: Owner<'_>,
    names: &ParameterNames,
) -> Result<Vec<String>> {
    let published = Published::read(ssm, names).await?.snapshot_id;
    let mut removed = Vec::new();
    for snapshot in find_snapshots(ec2, owner).await? {
        if published.as_deref() != Some(snapshot.id.as_str()) {
            delete_snapshot(ec2, &snapshot.id).await?;
            removed.push(snapshot.id.to_string());
        }
    }
    for volume in find_leftover_volumes(ec2, owner).await? {
        delete_volume(ec2, &volume).await?;
        removed.push(volume);
    }
    Ok(removed)
}

/// Gives the cache and architecture back, if this build holds them.
async fn release_lease(
    ssm: &aws_sdk_ssm::Client,
    build: &Build,
    names: &ParameterNames,
) -> Result<Option<String>> {
    let lease = parameters::get(ssm, &names.lease).await?;
    if lease.and_then(|lease| Lease::read(&lease.value)).is_none_or(|l| l.build != build.id) {
        return Ok(None);
    }
    parameters::delete(ssm, &names.lease).await?;
    Ok(Some(names.lease.clone()))
}
