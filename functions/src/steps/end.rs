//! `end`: shuts the builder down in order and keeps its data volume. The volume is snapshotted only
//! afterwards: the shutdown unmounts it and removes what the running builder kept on it. `clean_up`
//! undoes this step by deleting the volume.
//!
//! `TerminateInstances` lets the operating system shut down (EC2 user guide, "Terminate Amazon EC2
//! instances"). This includes a Spot instance, which cannot be stopped.

use frontload_aws::instances::{
    self, Builder, State, find_builder, keep_data_volume, terminate_builder,
};
use frontload_aws::snapshots::{VolumeState, volume_state};
use frontload_domain::Build;
use frontload_domain::names::{InstanceId, VolumeId};
use frontload_domain::step::{Report, Waited};
use frontload_domain::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::context::Context;

/// Payload of the function.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    build: Build,
    /// The builder that pulled.
    instance_id: InstanceId,
    /// Its data volume. EC2 does not show the volumes of a terminated instance.
    volume_id: VolumeId,
    waited_seconds: Waited,
}

/// Facts for later steps: none.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Ended {}

/// Longest orderly shutdown. EC2 cuts the power of an instance that takes some minutes, and reports
/// it as terminated in both cases. A longer shutdown is not trusted.
const LIMIT_SECONDS: u32 = 120;

/// Moves the builder one step towards its end.
pub async fn handle(context: &Context, input: Input) -> Result<Report<Ended>> {
    ensure_ended(&context.home_ec2(), input).await
}

async fn ensure_ended(ec2: &aws_sdk_ec2::Client, input: Input) -> Result<Report<Ended>> {
    let Input { build, instance_id, volume_id, waited_seconds } = &input;
    let builder = find_builder(ec2, instance_id).await?;
    let progress = match next(builder.as_ref(), volume_id) {
        Next::KeepVolume => {
            keep_data_volume(ec2, instance_id).await?;
            format!("volume {volume_id} is kept when builder {instance_id} ends")
        }
        Next::Terminate => {
            terminate_builder(ec2, instance_id).await?;
            format!("builder {instance_id} is asked to shut down")
        }
        Next::Wait => format!("builder {instance_id} is shutting down"),
        Next::CheckVolume => match volume_state(ec2, volume_id).await? {
            VolumeState::Available if !waited_seconds.is_past(LIMIT_SECONDS) => {
                return Ok(Report::Ready(Ended {}));
            }
            VolumeState::Available => format!("the builder ended; volume {volume_id} is detached"),
            VolumeState::InUse => format!("volume {volume_id} is still attached"),
            VolumeState::Gone => {
                return Err(instances::lost(build, instance_id.as_str(), builder.as_ref()));
            }
        },
    };
    if waited_seconds.is_past(LIMIT_SECONDS) {
        return Err(Error::EndTimedOut {
            build: build.id.clone(),
            instance: instance_id.to_string(),
            limit: LIMIT_SECONDS,
            progress,
        });
    }
    Ok(Report::wait(WAIT_SECONDS, progress))
}

/// Seconds between two polls. A shutdown takes some seconds; EC2 notices it some seconds later.
const WAIT_SECONDS: u32 = 3;

/// The next action that moves a builder towards its end.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    KeepVolume,
    Terminate,
    Wait,
    CheckVolume,
}

/// Terminates the instance only after EC2 shows that the volume stays. If EC2 has accepted that
/// change but not applied it yet, termination would delete the volume.
fn next(builder: Option<&Builder>, volume: &VolumeId) -> Next {
    // EC2 forgets a terminated instance after an hour.
    let Some(builder) = builder else { return Next::CheckVolume };
    match builder.state {
        State::Running => match &builder.data_volume {
            Some(data) if data.id == *volume && !data.goes_with_instance => Next::Terminate,
            _ => Next::KeepVolume,
        },
        State::Pending | State::Ending => Next::Wait,
        State::Terminated => Next::CheckVolume,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::operation::describe_instances::DescribeInstancesOutput;
    use aws_sdk_ec2::operation::describe_volumes::DescribeVolumesOutput;
    use aws_sdk_ec2::operation::modify_instance_attribute::ModifyInstanceAttributeOutput;
    use aws_sdk_ec2::operation::terminate_instances::TerminateInstancesOutput;
    use aws_sdk_ec2::types::{InstanceStateName, Volume, VolumeState as EbsState};
    use aws_smithy_mocks::{RuleMode, mock, mock_client};
    use serde_json::json;

    use super::*;
    use crate::testing::{input, instances, instances_whose_volume, interrupted};

    /// What the step reports, and how often it kept the volume and terminated the instance.
    async fn ended(
        found: DescribeInstancesOutput,
        volume: Option<EbsState>,
        waited: u32,
    ) -> (String, usize, usize) {
        let describe =
            mock!(aws_sdk_ec2::Client::describe_instances).then_output(move || found.clone());
        let volumes = mock!(aws_sdk_ec2::Client::describe_volumes).then_output(move || {
            let volume = volume.clone().map(|state| Volume::builder().state(state).build());
            DescribeVolumesOutput::builder().set_volumes(volume.map(|one| vec![one])).build()
        });
        let keep = mock!(aws_sdk_ec2::Client::modify_instance_attribute)
            .match_requests(|request| {
                let mapping = &request.block_device_mappings()[0];
                request.instance_id() == Some("i-1")
                    && mapping.device_name() == Some("/dev/xvdb")
                    && mapping.ebs().unwrap().delete_on_termination() == Some(false)
            })
            .then_output(|| ModifyInstanceAttributeOutput::builder().build());
        let terminate = mock!(aws_sdk_ec2::Client::terminate_instances)
            .match_requests(|request| request.instance_ids() == ["i-1"])
            .then_output(|| TerminateInstancesOutput::builder().build());
        let rules = [&describe, &volumes, &keep, &terminate];
        let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, rules);
        let input = input(&json!({
            "instanceId": "i-1", "volumeId": "vol-1", "waitedSeconds": waited,
        }));
        let message = match ensure_ended(&ec2, input).await {
            Ok(Report::Waiting { progress, .. }) => progress,
            Ok(Report::Ready(Ended {})) => "ready".to_owned(),
            Err(error) => error.name().to_owned(),
        };
        (message, keep.num_calls(), terminate.num_calls())
    }

    #[tokio::test]
    async fn the_volume_is_kept_before_the_builder_is_terminated() {
        let running = |goes| instances_whose_volume(goes, Some(InstanceStateName::Running));
        let (message, kept, terminated) = ended(running(true), None, 0).await;
        assert!(message.contains("vol-1 is kept"), "{message}");
        assert_eq!((kept, terminated), (1, 0));
        let (message, kept, terminated) = ended(running(false), None, 0).await;
        assert!(message.contains("i-1 is asked to shut down"), "{message}");
        assert_eq!((kept, terminated), (0, 1));
    }

    #[tokio::test]
    async fn a_builder_has_ended_when_it_is_terminated_and_its_volume_detached() {
        let of = async |state, volume| ended(instances(Some(state)), volume, 30).await.0;
        let going = of(InstanceStateName::ShuttingDown, Some(EbsState::Available)).await;
        assert!(going.contains("shutting down"), "{going}");
        let terminated = InstanceStateName::Terminated;
        let held = of(terminated.clone(), Some(EbsState::InUse)).await;
        assert!(held.contains("still attached"), "{held}");
        assert_eq!(of(terminated, Some(EbsState::Available)).await, "ready");
        // EC2 has forgotten the instance.
        assert_eq!(ended(instances(None), Some(EbsState::Available), 30).await.0, "ready");
    }

    #[tokio::test]
    async fn a_volume_deleted_with_its_builder_is_a_lost_builder() {
        for volume in [None, Some(EbsState::Deleting)] {
            let terminated = || instances(Some(InstanceStateName::Terminated));
            assert_eq!(ended(terminated(), volume.clone(), 0).await.0, "BuilderLost");
            let taken = interrupted(terminated());
            assert_eq!(ended(taken, volume, 0).await.0, "BuilderInterrupted");
        }
    }

    #[tokio::test]
    async fn a_shutdown_that_took_too_long_is_discarded() {
        let late = async |state, volume| ended(instances(Some(state)), volume, 120).await.0;
        let ending = InstanceStateName::ShuttingDown;
        assert_eq!(late(ending, Some(EbsState::InUse)).await, "EndTimedOut");
        let terminated = InstanceStateName::Terminated;
        assert_eq!(late(terminated, Some(EbsState::Available)).await, "EndTimedOut");
    }
}
