//! `claim`: decides whether there is anything to build, and ensures that the
//! cache and architecture are this build's own. Undone by `clean_up`.

use frontload_shared::aws::executions::is_running;
use frontload_shared::aws::parameters;
use frontload_shared::aws::snapshots::{State, find_snapshot};
use frontload_shared::domain::{Build, BuildId, Manifest, ParameterNames};
use frontload_shared::publication::Published;
use frontload_shared::step::{Report, Waited};
use frontload_shared::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::settings::Settings;

/// Payload of the function.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    build: Build,
    execution_id: String,
    waited_seconds: Waited,
}

/// What the build does next.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Claim {
    outcome: Outcome,
    reason: String,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Claimed,
    Unchanged,
}

/// Who owns a cache and architecture: the value of the lease parameter.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// The owning build.
    pub build: BuildId,
    /// Its execution: when that is over, the lease means nothing.
    pub execution_id: String,
}

impl Lease {
    /// Reads a lease; `None` for a value that is none.
    #[must_use]
    pub fn read(value: &str) -> Option<Self> {
        serde_json::from_str(value).ok()
    }
}

/// Looks for something to do, then takes the lease or waits for it.
pub async fn handle(
    ec2: &aws_sdk_ec2::Client,
    ssm: &aws_sdk_ssm::Client,
    sfn: &aws_sdk_sfn::Client,
    settings: &Settings,
    input: Input,
) -> Result<Report<Claim>> {
    let build = &input.build;
    let names = ParameterNames::new(&settings.prefix, &build.cache, build.architecture);
    if let Some(reason) = unchanged(ec2, ssm, build, &names).await? {
        return Ok(Report::Ready(Claim { outcome: Outcome::Unchanged, reason }));
    }
    let lease = Lease { build: build.id.clone(), execution_id: input.execution_id };
    match take(ssm, sfn, &names.lease, &lease).await? {
        None => {
            let reason = format!("{} differs from what is published", build.fingerprint);
            Ok(Report::Ready(Claim { outcome: Outcome::Claimed, reason }))
        }
        Some(holder) if input.waited_seconds.is_past(build.time_limits.claim_seconds) => {
            Err(Error::BuildInProgress {
                build: build.id.clone(),
                holder,
                seconds: input.waited_seconds.0,
            })
        }
        Some(holder) => Ok(Report::wait(30, format!("waiting for {holder}"))),
    }
}

/// Why there is nothing to build, if so (S9). A published snapshot that is gone
/// or broken is no reason to rest.
async fn unchanged(
    ec2: &aws_sdk_ec2::Client,
    ssm: &aws_sdk_ssm::Client,
    build: &Build,
    names: &ParameterNames,
) -> Result<Option<String>> {
    let published = Published::read(ssm, names).await?.manifest();
    let same = |manifest: &Manifest| manifest.fingerprint == build.fingerprint;
    let Some(manifest) = published.filter(same) else { return Ok(None) };
    let snapshot = find_snapshot(ec2, &manifest.snapshot_id).await?;
    let usable = snapshot.is_some_and(|snapshot| snapshot.state == State::Completed);
    Ok(usable.then(|| {
        format!(
            "snapshot {} of build {} holds the same images, OS image and configuration",
            manifest.snapshot_id, manifest.build
        )
    }))
}

/// Takes the lease: `None` when it is ours, else the execution that holds it.
pub async fn take(
    ssm: &aws_sdk_ssm::Client,
    sfn: &aws_sdk_sfn::Client,
    name: &str,
    lease: &Lease,
) -> Result<Option<String>> {
    let value = serde_json::to_string(lease).unwrap_or_default();
    if parameters::create(ssm, name, &value).await? {
        return Ok(None);
    }
    let Some(found) = parameters::get(ssm, name).await? else {
        return Ok(Some("a build that has just ended".to_owned()));
    };
    match Lease::read(&found.value) {
        Some(holder) if holder.build == lease.build => Ok(None),
        Some(holder) if is_running(sfn, &holder.execution_id).await? => {
            Ok(Some(holder.execution_id))
        }
        // The holder is over, or the value is none of ours: the next call takes it.
        _ => {
            parameters::delete(ssm, name).await?;
            Ok(Some("the lease of a build that is over".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::operation::describe_snapshots::DescribeSnapshotsOutput;
    use aws_sdk_ec2::types::{Snapshot, SnapshotState};
    use aws_sdk_sfn::operation::describe_execution::DescribeExecutionOutput;
    use aws_sdk_sfn::types::ExecutionStatus;
    use aws_sdk_ssm::operation::delete_parameter::DeleteParameterOutput;
    use aws_sdk_ssm::operation::get_parameter::GetParameterOutput;
    use aws_sdk_ssm::operation::put_parameter::PutParameterOutput;
    use aws_sdk_ssm::types::Parameter;
    use aws_smithy_mocks::{MockResponse, Rule, RuleMode, mock, mock_client};
    use frontload_shared::builder::report::PulledImages;
    use frontload_shared::domain::manifest::Replica;
    use serde_json::json;

    use super::*;
    use crate::testing::{build, input, json_error, pulled, settings, shown};

    const LEASE: &str = "/frontload/leases/default/x86_64";

    /// Parameter Store with these parameters, where creating fails if the lease
    /// is among them.
    fn ssm(parameters: &[(&str, String)], more: &[&Rule]) -> aws_sdk_ssm::Client {
        let held = parameters.iter().any(|(name, _)| *name == LEASE);
        let parameters: Vec<(String, String)> =
            parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let get = mock!(aws_sdk_ssm::Client::get_parameter).then_compute_response(move |request| {
            let found = parameters.iter().find(|(name, _)| Some(name.as_str()) == request.name());
            let Some((_, value)) = found else {
                return MockResponse::Http(json_error("ParameterNotFound"));
            };
            let parameter = Parameter::builder().value(value).version(1).build();
            MockResponse::Output(GetParameterOutput::builder().parameter(parameter).build())
        });
        let put = mock!(aws_sdk_ssm::Client::put_parameter)
            .match_requests(|request| request.overwrite() == Some(false))
            .then_compute_response(move |_| {
                if held {
                    MockResponse::Http(json_error("ParameterAlreadyExists"))
                } else {
                    MockResponse::Output(PutParameterOutput::builder().build())
                }
            });
        let rules: Vec<&Rule> = [&get, &put].into_iter().chain(more.iter().copied()).collect();
        mock_client!(aws_sdk_ssm, RuleMode::MatchAny, rules)
    }

    fn ec2(state: SnapshotState) -> aws_sdk_ec2::Client {
        let describe = mock!(aws_sdk_ec2::Client::describe_snapshots).then_output(move || {
            let snapshot = Snapshot::builder().snapshot_id("snap-1").state(state.clone()).build();
            DescribeSnapshotsOutput::builder().snapshots(snapshot).build()
        });
        mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&describe])
    }

    fn sfn(status: ExecutionStatus) -> aws_sdk_sfn::Client {
        let describe = mock!(aws_sdk_sfn::Client::describe_execution).then_output(move || {
            DescribeExecutionOutput::builder()
                .execution_arn("arn")
                .state_machine_arn("arn")
                .status(status.clone())
                .start_date(aws_sdk_sfn::primitives::DateTime::from_secs(0))
                .build()
                .unwrap()
        });
        mock_client!(aws_sdk_sfn, RuleMode::MatchAny, [&describe])
    }

    /// What is published when `build` was the last to be published.
    fn published(build: &Build) -> Vec<(&'static str, String)> {
        let pulled: PulledImages = serde_json::from_value(pulled()).unwrap();
        let replica = Replica {
            region: "us-east-1".parse().unwrap(),
            snapshot_id: "snap-1".parse().unwrap(),
            encrypted: false,
            kms_key_id: None,
        };
        let manifest = Manifest::of_replicas(build, &pulled, &[replica]).remove(0);
        vec![
            ("/frontload/default/x86_64/snapshot-id", "snap-1".to_owned()),
            ("/frontload/default/x86_64/manifest", manifest.text()),
        ]
    }

    fn held_by(build: &str) -> (&'static str, String) {
        (LEASE, json!({"build": build, "executionId": "arn:other"}).to_string())
    }

    async fn outcome(
        ssm: &aws_sdk_ssm::Client,
        snapshot: SnapshotState,
        holder: ExecutionStatus,
        waited: u32,
    ) -> String {
        let input = input(&json!({"executionId": "arn:own", "waitedSeconds": waited}));
        match handle(&ec2(snapshot), ssm, &sfn(holder), &settings(), input).await {
            Ok(Report::Waiting { progress, .. }) => progress,
            Ok(ready) => shown(&ready)["outcome"].to_string(),
            Err(error) => error.name().to_owned(),
        }
    }

    #[tokio::test]
    async fn equal_fingerprint_and_usable_snapshot_mean_unchanged() {
        let ssm = ssm(&published(&build()), &[]);
        let (completed, running) = (SnapshotState::Completed, ExecutionStatus::Running);
        assert_eq!(outcome(&ssm, completed, running, 0).await, "\"unchanged\"");
    }

    #[tokio::test]
    async fn a_published_snapshot_that_is_broken_is_built_again() {
        let ssm = ssm(&published(&build()), &[]);
        let (broken, running) = (SnapshotState::Error, ExecutionStatus::Running);
        assert_eq!(outcome(&ssm, broken, running, 0).await, "\"claimed\"");
    }

    #[tokio::test]
    async fn another_fingerprint_is_built() {
        let mut other = build();
        other.fingerprint = "sha256:1".to_owned();
        let ssm = ssm(&published(&other), &[]);
        let (completed, running) = (SnapshotState::Completed, ExecutionStatus::Running);
        assert_eq!(outcome(&ssm, completed, running, 0).await, "\"claimed\"");
    }

    #[tokio::test]
    async fn a_lease_held_by_a_running_execution_is_waited_for_until_the_limit() {
        let ssm = ssm(&[held_by("other-build")], &[]);
        let run =
            |waited| outcome(&ssm, SnapshotState::Completed, ExecutionStatus::Running, waited);
        assert_eq!(run(0).await, "waiting for arn:other");
        assert_eq!(run(14400).await, "BuildInProgress");
    }

    #[tokio::test]
    async fn the_lease_of_an_execution_that_is_over_is_given_up() {
        let delete = mock!(aws_sdk_ssm::Client::delete_parameter)
            .match_requests(|request| request.name() == Some(LEASE))
            .then_output(|| DeleteParameterOutput::builder().build());
        let ssm = ssm(&[held_by("other-build")], &[&delete]);
        outcome(&ssm, SnapshotState::Completed, ExecutionStatus::Aborted, 0).await;
        assert_eq!(delete.num_calls(), 1);
    }

    #[tokio::test]
    async fn claiming_again_finds_the_own_lease() {
        let ssm = ssm(&[held_by("default-x86-64-0123456789ab")], &[]);
        let (completed, running) = (SnapshotState::Completed, ExecutionStatus::Running);
        assert_eq!(outcome(&ssm, completed, running, 0).await, "\"claimed\"");
    }
}
