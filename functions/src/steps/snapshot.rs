//! `snapshot`: snapshots the data volume that the builder left, and deletes the volume once the
//! snapshot is completed. `clean_up` undoes it by deleting what has the build's tags and is not
//! published.

use frontload_aws::snapshots::{
    VolumeState, create_snapshot, delete_volume, find_snapshots, volume_state,
};
use frontload_aws::tagging::Owner;
use frontload_domain::Build;
use frontload_domain::names::VolumeId;
use frontload_domain::pulled::{PulledImages, check_pulled};
use frontload_domain::snapshot::{SnapshotId, State};
use frontload_domain::step::{Report, Waited};
use frontload_domain::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::settings::Settings;

/// Payload of the function.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    build: Build,
    pulled: PulledImages,
    volume_id: VolumeId,
    waited_seconds: Waited,
}

/// Facts for later steps.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshotted {
    snapshot_id: SnapshotId,
}

/// Creates the snapshot once, then waits for it.
pub async fn handle(context: &Context, input: Input) -> Result<Report<Snapshotted>> {
    ensure_snapshot(&context.home_ec2(), &context.settings, input).await
}

async fn ensure_snapshot(
    ec2: &aws_sdk_ec2::Client,
    settings: &Settings,
    input: Input,
) -> Result<Report<Snapshotted>> {
    let build = &input.build;
    check_pulled(build, input.pulled)?;
    let owner = Owner { stack: &settings.stack, build: &build.id };
    let snapshots = find_snapshots(ec2, owner).await?;
    let wait_seconds = input.waited_seconds.next_wait(build.usual_seconds.snapshot);
    let Some(snapshot) = snapshots.into_iter().next() else {
        let id = create_snapshot(ec2, &settings.stack, build, &input.volume_id).await?;
        return Ok(Report::wait(wait_seconds, format!("snapshot {id} is started")));
    };
    match snapshot.state {
        State::Completed => {
            if volume_state(ec2, &input.volume_id).await? != VolumeState::Gone {
                delete_volume(ec2, input.volume_id.as_str()).await?;
            }
            Ok(Report::Ready(Snapshotted { snapshot_id: snapshot.id }))
        }
        State::Error(reason) => Err(Error::SnapshotFailed {
            build: build.id.clone(),
            snapshot: snapshot.id.to_string(),
            region: build.region.to_string(),
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
            Ok(Report::wait(wait_seconds, progress))
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::operation::create_snapshot::CreateSnapshotOutput;
    use aws_sdk_ec2::operation::delete_volume::DeleteVolumeOutput;
    use aws_sdk_ec2::operation::describe_snapshots::DescribeSnapshotsOutput;
    use aws_sdk_ec2::operation::describe_volumes::DescribeVolumesOutput;
    use aws_sdk_ec2::types::{Snapshot, SnapshotState, Volume, VolumeState as EbsState};
    use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
    use serde_json::json;

    use super::*;
    use crate::testing::{input, pulled, settings, shown};

    fn create() -> Rule {
        mock!(aws_sdk_ec2::Client::create_snapshot)
            .match_requests(|request| {
                request.volume_id() == Some("vol-1") && request.tag_specifications().len() == 1
            })
            .then_output(|| CreateSnapshotOutput::builder().snapshot_id("snap-new").build())
    }

    fn delete() -> Rule {
        mock!(aws_sdk_ec2::Client::delete_volume)
            .match_requests(|request| request.volume_id() == Some("vol-1"))
            .then_output(|| DeleteVolumeOutput::builder().build())
    }

    async fn report(found: &[(&str, SnapshotState, i64)], create: &Rule, waited: u32) -> String {
        report_of(found, [create, &delete()], waited).await
    }

    async fn report_of(
        found: &[(&str, SnapshotState, i64)],
        [create, delete]: [&Rule; 2],
        waited: u32,
    ) -> String {
        let found: Vec<Snapshot> = found
            .iter()
            .map(|(id, state, started)| {
                Snapshot::builder()
                    .snapshot_id(*id)
                    .state(state.clone())
                    .state_message("planted")
                    .progress("37%")
                    .start_time(aws_sdk_ec2::primitives::DateTime::from_secs(*started))
                    .build()
            })
            .collect();
        let snapshots = mock!(aws_sdk_ec2::Client::describe_snapshots).then_output(move || {
            DescribeSnapshotsOutput::builder().set_snapshots(Some(found.clone())).build()
        });
        let volumes = mock!(aws_sdk_ec2::Client::describe_volumes).then_output(|| {
            let free = Volume::builder().state(EbsState::Available).build();
            DescribeVolumesOutput::builder().volumes(free).build()
        });
        let rules = [&snapshots, &volumes, create, delete];
        let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, rules);
        let input =
            input(&json!({"pulled": pulled(), "volumeId": "vol-1", "waitedSeconds": waited}));
        match ensure_snapshot(&ec2, &settings(), input).await {
            Ok(Report::Waiting { progress, .. }) => progress,
            Ok(ready) => format!("ready {}", shown(&ready)["snapshotId"]),
            Err(error) => error.name().to_owned(),
        }
    }

    #[tokio::test]
    async fn the_data_volume_is_snapshotted_once() {
        let create = create();
        assert_eq!(report(&[], &create, 0).await, "snapshot snap-new is started");
        let pending = [("snap-1", SnapshotState::Pending, 1)];
        assert_eq!(report(&pending, &create, 0).await, "snapshot snap-1 is at 37%");
        assert_eq!(create.num_calls(), 1);
    }

    #[tokio::test]
    async fn the_volume_is_deleted_when_the_snapshot_is_completed_and_no_sooner() {
        let deleted = async |found: &[_]| {
            let delete = delete();
            report_of(found, [&create(), &delete], 0).await;
            delete.num_calls()
        };
        assert_eq!(deleted(&[]).await, 0);
        assert_eq!(deleted(&[("snap-1", SnapshotState::Pending, 1)]).await, 0);
        assert_eq!(deleted(&[("snap-1", SnapshotState::Error, 1)]).await, 0);
        assert_eq!(deleted(&[("snap-1", SnapshotState::Completed, 1)]).await, 1);
    }

    #[tokio::test]
    async fn the_older_of_two_snapshots_counts() {
        let two = [("snap-2", SnapshotState::Pending, 2), ("snap-1", SnapshotState::Completed, 1)];
        let ready = report(&two, &create(), 0).await;
        assert_eq!(ready, r#"ready "snap-1""#);
    }

    #[tokio::test]
    async fn a_snapshot_in_error_or_too_slow_fails_by_name() {
        let broken = [("snap-1", SnapshotState::Error, 1)];
        assert_eq!(report(&broken, &create(), 0).await, "SnapshotFailed");
        let slow = [("snap-1", SnapshotState::Pending, 1)];
        assert_eq!(report(&slow, &create(), 7200).await, "SnapshotTimedOut");
    }

    #[tokio::test]
    async fn an_unflushed_volume_is_not_snapshotted() {
        let mut pulled = pulled();
        pulled["flushed"] = json!(false);
        let create = create();
        let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&create]);
        let input = input(&json!({ "pulled": pulled, "volumeId": "vol-1" }));
        let error = ensure_snapshot(&ec2, &settings(), input).await.unwrap_err();
        assert_eq!((error.name(), create.num_calls()), ("FlushFailed", 0));
    }
}
