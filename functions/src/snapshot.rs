//! `snapshot`: ensures a completed snapshot of the builder's data volume. Undone
//! by `clean_up`, which deletes what carries the build's tags and is not published.

use frontload_shared::aws::instances::{self, State as BuilderState, find_builders};
use frontload_shared::aws::snapshots::{SnapshotId, State, create_snapshot, find_snapshots};
use frontload_shared::aws::tags::Owner;
use frontload_shared::builder::report::{PulledImages, check_pulled};
use frontload_shared::domain::Build;
use frontload_shared::step::{Report, Waited};
use frontload_shared::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::settings::Settings;

/// Payload of the function.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    build: Build,
    pulled: PulledImages,
    waited_seconds: Waited,
}

/// Facts for later steps.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshotted {
    snapshot_id: SnapshotId,
}

/// Creates the snapshot once, then waits for it.
pub async fn handle(
    ec2: &aws_sdk_ec2::Client,
    settings: &Settings,
    input: Input,
) -> Result<Report<Snapshotted>> {
    let build = &input.build;
    check_pulled(build, input.pulled)?;
    let owner = Owner { stack: &settings.stack, build: &build.id };
    let snapshots = find_snapshots(ec2, owner).await?;
    let Some(snapshot) = snapshots.into_iter().next() else {
        let id = create(ec2, settings, build).await?;
        return Ok(Report::wait(5, format!("snapshot {id} is started")));
    };
    match snapshot.state {
        State::Completed => Ok(Report::Ready(Snapshotted { snapshot_id: snapshot.id })),
        State::Error(reason) => Err(Error::SnapshotFailed {
            build: build.id.clone(),
            snapshot: snapshot.id.to_string(),
            region: build.region.clone(),
            reason,
        }),
        State::Pending(progress) => {
            let progress = format!("snapshot {} is at {progress}", snapshot.id);
            if input.waited_seconds.is_past(build.time_limits.snapshot_seconds) {
                return Err(Error::SnapshotTimedOut {
                    build: build.id.clone(),
                    seconds: input.waited_seconds.0,
                    progress,
                });
            }
            Ok(Report::wait(10, progress))
        }
    }
}

async fn create(
    ec2: &aws_sdk_ec2::Client,
    settings: &Settings,
    build: &Build,
) -> Result<SnapshotId> {
    let owner = Owner { stack: &settings.stack, build: &build.id };
    let builders = find_builders(ec2, owner).await?;
    let volume = builders
        .iter()
        .find(|builder| builder.state == BuilderState::Running)
        .and_then(|builder| builder.data_volume.as_deref());
    match volume {
        Some(volume) => create_snapshot(ec2, &settings.stack, build, volume).await,
        None => Err(instances::lost(build, &builders)),
    }
}
