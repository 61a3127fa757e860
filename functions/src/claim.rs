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
async fn take(
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
