//! `launch`: ensures that the builder runs and that its admin container answers.
//! Undone by `clean_up`, which finds the instance by the same tags.

use frontload_shared::aws::commands::{self, Purpose, Status};
use frontload_shared::aws::instances::{
    self, Builder, InstanceId, Launch, Placement, State, find_builders, launch_builder,
};
use frontload_shared::aws::tags::Owner;
use frontload_shared::builder::{script, user_data};
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
    waited_seconds: Waited,
}

/// Facts for later steps.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Launched {
    instance_id: InstanceId,
}

/// Seconds that the probe may take on the instance; SSM allows no less
/// (`AWS-RunShellScript`, `executionTimeout`).
const PROBE_SECONDS: u32 = 30;

/// Moves the builder one step towards answering.
pub async fn handle(
    ec2: &aws_sdk_ec2::Client,
    ssm: &aws_sdk_ssm::Client,
    settings: &Settings,
    input: Input,
) -> Result<Report<Launched>> {
    let build = &input.build;
    let report = ensure_builder(ec2, ssm, settings, build).await?;
    match report {
        Report::Waiting { progress, .. }
            if input.waited_seconds.is_past(build.time_limits.launch_seconds) =>
        {
            Err(Error::LaunchTimedOut {
                build: build.id.clone(),
                seconds: input.waited_seconds.0,
                progress,
            })
        }
        report => Ok(report),
    }
}

async fn ensure_builder(
    ec2: &aws_sdk_ec2::Client,
    ssm: &aws_sdk_ssm::Client,
    settings: &Settings,
    build: &Build,
) -> Result<Report<Launched>> {
    let owner = Owner { stack: &settings.stack, build: &build.id };
    let builders = find_builders(ec2, owner).await?;
    if builders.is_empty() {
        let id = launch(ec2, settings, build).await?;
        return Ok(Report::wait(5, format!("builder {id} is launched")));
    }
    match builders.iter().find(|b| matches!(b.state, State::Pending | State::Running)) {
        Some(Builder { id, state: State::Pending, .. }) => {
            Ok(Report::wait(5, format!("builder {id} is starting")))
        }
        Some(builder) => ensure_answering(ssm, build, &builder.id).await,
        None => Err(instances::lost(build, &builders)),
    }
}

/// Tries each placement in turn until EC2 accepts one.
async fn launch(
    ec2: &aws_sdk_ec2::Client,
    settings: &Settings,
    build: &Build,
) -> Result<InstanceId> {
    let mut refusals = Vec::new();
    for (attempt, (instance_type, subnet)) in placements(build).into_iter().enumerate() {
        let placement = Placement {
            instance_type: &instance_type,
            subnet: subnet.as_deref(),
            profile: &settings.builder_profile,
            attempt,
        };
        match launch_builder(ec2, &settings.stack, build, placement, user_data::encoded()).await? {
            Launch::Launched(id) => return Ok(id),
            Launch::Refused(reason) => {
                let place = subnet.unwrap_or_else(|| "the default subnet".to_owned());
                refusals.push(format!("{instance_type} in {place}: {reason}"));
            }
        }
    }
    Err(Error::LaunchRefused { build: build.id.clone(), reason: refusals.join("; ") })
}

/// Every instance type in the first subnet, then every type in the next.
fn placements(build: &Build) -> Vec<(String, Option<String>)> {
    let subnets: Vec<Option<String>> = match build.builder.subnet_ids.as_slice() {
        [] => vec![None],
        ids => ids.iter().map(|id| Some(id.to_string())).collect(),
    };
    let types = build.instance_types();
    subnets
        .iter()
        .flat_map(|subnet| types.iter().map(|kind| (kind.clone(), subnet.clone())))
        .collect()
}

/// `PingStatus Online` says only that the control container runs; the way to the
/// host is through the admin container, which starts beside it.
async fn ensure_answering(
    ssm: &aws_sdk_ssm::Client,
    build: &Build,
    id: &InstanceId,
) -> Result<Report<Launched>> {
    if !commands::is_online(ssm, id).await? {
        return Ok(Report::wait(5, format!("builder {id} runs, its SSM agent is not online yet")));
    }
    let probes = commands::find(ssm, id, &build.id, Purpose::Probe).await?;
    if probes.iter().any(|probe| probe.status == Status::Succeeded) {
        return Ok(Report::Ready(Launched { instance_id: id.clone() }));
    }
    if !probes.iter().any(|probe| probe.status == Status::Running) {
        let line = script::PROBE;
        commands::send(ssm, id, &build.id, Purpose::Probe, line, PROBE_SECONDS).await?;
    }
    Ok(Report::wait(3, format!("builder {id} is online, its admin container does not answer yet")))
}
