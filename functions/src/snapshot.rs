//! `snapshot`: ensures a completed snapshot of the builder's data volume, and ends
//! the builder meanwhile. Undone by `clean_up`, which deletes what carries the build's
//! tags and is not published.

use frontload_shared::aws::instances::{self, State as BuilderState, find_builders};
use frontload_shared::aws::snapshots::{SnapshotId, State, create_snapshot, find_snapshots};
use frontload_shared::aws::tags::Owner;
use frontload_shared::builder::report::{PulledImages, check_pulled};
use frontload_shared::domain::Build;
use frontload_shared::step::{Report, Waited};
use frontload_shared::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::clean_up::end_builders;
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
///
/// The builder is terminated, and its volume with it, as soon as EC2 shows the
/// snapshot: it holds what was on the volume when it was asked for, and needs it no
/// more while it is pending (EBS user guide, "Create Amazon EBS snapshots": the volume
/// can be used on; "Delete an Amazon EBS snapshot": deleting a volume has no effect on
/// its snapshots). Not sooner: were the snapshot not found, it would have to be
/// created again.
pub async fn handle(
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
        let id = create(ec2, settings, build).await?;
        return Ok(Report::wait(wait_seconds, format!("snapshot {id} is started")));
    };
    match snapshot.state {
        State::Completed => {
            end_builders(ec2, owner).await?;
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
            end_builders(ec2, owner).await?;
            Ok(Report::wait(wait_seconds, progress))
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

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::operation::create_snapshot::CreateSnapshotOutput;
    use aws_sdk_ec2::operation::describe_snapshots::DescribeSnapshotsOutput;
    use aws_sdk_ec2::operation::terminate_instances::TerminateInstancesOutput;
    use aws_sdk_ec2::types::{InstanceStateName, Snapshot, SnapshotState};
    use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
    use serde_json::json;

    use super::*;
    use crate::testing::{input, instances, pulled, settings, shown};

    fn create() -> Rule {
        mock!(aws_sdk_ec2::Client::create_snapshot)
            .match_requests(|request| {
                request.volume_id() == Some("vol-1") && request.tag_specifications().len() == 1
            })
            .then_output(|| CreateSnapshotOutput::builder().snapshot_id("snap-new").build())
    }

    fn terminate() -> Rule {
        mock!(aws_sdk_ec2::Client::terminate_instances)
            .match_requests(|request| request.instance_ids() == ["i-1"])
            .then_output(|| TerminateInstancesOutput::builder().build())
    }

    async fn report(found: &[(&str, SnapshotState, i64)], create: &Rule, waited: u32) -> String {
        report_of(InstanceStateName::Running, found, [create, &terminate()], waited).await
    }

    /// Of a build whose builder is in `state`.
    async fn report_of(
        state: InstanceStateName,
        found: &[(&str, SnapshotState, i64)],
        [create, terminate]: [&Rule; 2],
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
        let builders = mock!(aws_sdk_ec2::Client::describe_instances)
            .then_output(move || instances(Some(state.clone())));
        let rules = [&snapshots, &builders, create, terminate];
        let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, rules);
        let input = input(&json!({"pulled": pulled(), "waitedSeconds": waited}));
        match handle(&ec2, &settings(), input).await {
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
    async fn the_builder_ends_as_soon_as_ec2_shows_the_snapshot_and_no_sooner() {
        let ended = async |state, found: &[_]| {
            let terminate = terminate();
            report_of(state, found, [&create(), &terminate], 0).await;
            terminate.num_calls()
        };
        let running = InstanceStateName::Running;
        assert_eq!(ended(running.clone(), &[]).await, 0);
        for state in [SnapshotState::Pending, SnapshotState::Completed] {
            let found = [("snap-1", state, 1)];
            assert_eq!(ended(running.clone(), &found).await, 1);
            assert_eq!(ended(InstanceStateName::Terminated, &found).await, 0);
        }
    }

    #[tokio::test]
    async fn a_builder_that_is_gone_hides_no_error_of_the_snapshot() {
        let gone = async |state, waited| {
            let rules = [&create(), &terminate()];
            let found = [("snap-1", state, 1)];
            report_of(InstanceStateName::Terminated, &found, rules, waited).await
        };
        assert_eq!(gone(SnapshotState::Pending, 0).await, "snapshot snap-1 is at 37%");
        assert_eq!(gone(SnapshotState::Error, 0).await, "SnapshotFailed");
        assert_eq!(gone(SnapshotState::Pending, 7200).await, "SnapshotTimedOut");
    }

    #[tokio::test]
    async fn of_two_snapshots_the_older_counts() {
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
        let error =
            handle(&ec2, &settings(), input(&json!({ "pulled": pulled }))).await.unwrap_err();
        assert_eq!((error.name(), create.num_calls()), ("FlushFailed", 0));
    }
}
