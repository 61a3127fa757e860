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

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::operation::delete_snapshot::DeleteSnapshotOutput;
    use aws_sdk_ec2::operation::describe_snapshots::DescribeSnapshotsOutput;
    use aws_sdk_ec2::operation::describe_volumes::DescribeVolumesOutput;
    use aws_sdk_ec2::operation::terminate_instances::TerminateInstancesOutput;
    use aws_sdk_ec2::types::{InstanceStateName, Snapshot};
    use aws_sdk_ssm::operation::delete_parameter::DeleteParameterOutput;
    use aws_sdk_ssm::operation::get_parameter::GetParameterOutput;
    use aws_sdk_ssm::types::Parameter;
    use aws_smithy_mocks::{MockResponse, RuleMode, mock, mock_client};
    use serde_json::json;

    use super::*;
    use crate::testing::{input, instances, json_error, settings, shown};

    /// EC2 with a builder in `state` and the snapshots snap-1 and snap-2.
    fn ec2(state: InstanceStateName) -> aws_sdk_ec2::Client {
        let builders = mock!(aws_sdk_ec2::Client::describe_instances)
            .then_output(move || instances(Some(state.clone())));
        let terminate = mock!(aws_sdk_ec2::Client::terminate_instances)
            .then_output(|| TerminateInstancesOutput::builder().build());
        let snapshots = mock!(aws_sdk_ec2::Client::describe_snapshots).then_output(|| {
            let snapshot = |id| Snapshot::builder().snapshot_id(id).build();
            let both = vec![snapshot("snap-1"), snapshot("snap-2")];
            DescribeSnapshotsOutput::builder().set_snapshots(Some(both)).build()
        });
        let delete = mock!(aws_sdk_ec2::Client::delete_snapshot)
            .then_output(|| DeleteSnapshotOutput::builder().build());
        let volumes = mock!(aws_sdk_ec2::Client::describe_volumes)
            .then_output(|| DescribeVolumesOutput::builder().build());
        let rules = [&builders, &terminate, &snapshots, &delete, &volumes];
        mock_client!(aws_sdk_ec2, RuleMode::MatchAny, rules)
    }

    /// Parameter Store where snap-1 is published and `holder` holds the lease.
    fn ssm(holder: &'static str) -> aws_sdk_ssm::Client {
        let get = mock!(aws_sdk_ssm::Client::get_parameter).then_compute_response(move |request| {
            let value = match request.name() {
                Some("/frontload/default/x86_64/snapshot-id") => "snap-1".to_owned(),
                Some("/frontload/leases/default/x86_64") => {
                    json!({"build": holder, "executionId": "arn"}).to_string()
                }
                _ => return MockResponse::Http(json_error("ParameterNotFound")),
            };
            let parameter = Parameter::builder().value(value).version(1).build();
            MockResponse::Output(GetParameterOutput::builder().parameter(parameter).build())
        });
        let delete = mock!(aws_sdk_ssm::Client::delete_parameter)
            .then_output(|| DeleteParameterOutput::builder().build());
        mock_client!(aws_sdk_ssm, RuleMode::MatchAny, [&get, &delete])
    }

    async fn report(state: InstanceStateName, holder: &'static str, waited: u32) -> String {
        let input = input(&json!({ "waitedSeconds": waited }));
        match handle(&ec2(state), &ssm(holder), &settings(), input).await {
            Ok(Report::Waiting { progress, .. }) => progress,
            Ok(ready) => shown(&ready)["released"].to_string(),
            Err(error) => error.name().to_owned(),
        }
    }

    #[tokio::test]
    async fn the_builder_goes_first_and_is_waited_for() {
        let running = report(InstanceStateName::Running, "other", 0).await;
        assert_eq!(running, "builder i-1 is terminating");
        let late = report(InstanceStateName::ShuttingDown, "other", 600).await;
        assert_eq!(late, "CleanUpTimedOut");
    }

    #[tokio::test]
    async fn the_published_snapshot_and_another_builds_lease_stay() {
        let released = report(InstanceStateName::Terminated, "other", 0).await;
        assert_eq!(released, r#"["snap-2"]"#);
    }

    #[tokio::test]
    async fn the_own_lease_is_released() {
        let released =
            report(InstanceStateName::Terminated, "default-x86-64-0123456789ab", 0).await;
        assert_eq!(released, r#"["snap-2","/frontload/leases/default/x86_64"]"#);
    }
}
