//! `launch`: ensures that the builder runs and that its admin container answers.
//! Undone by `clean_up`, which finds the instance by the same tags.

use frontload_shared::aws::commands::{self, Purpose, Status};
use frontload_shared::aws::instances::{
    self, Builder, InstanceId, Launch, Market, Placement, State, find_builders, launch_builder,
};
use frontload_shared::aws::tags::Owner;
use frontload_shared::builder::{script, user_data};
use frontload_shared::domain::Build;
use frontload_shared::domain::volume::Machine;
use frontload_shared::step::{Report, Waited};
use frontload_shared::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::settings::Settings;

/// Payload of the function.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    build: Build,
    /// How many builders of the build EC2 took back: what came after them is another.
    #[serde(default)]
    interruptions: u8,
    waited_seconds: Waited,
}

/// Facts for later steps.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Launched {
    instance_id: InstanceId,
}

/// Seconds that the probe may take on the instance (`AWS-RunShellScript`,
/// `executionTimeout`): long for an answer, short for a boot.
const PROBE_SECONDS: u32 = 30;
/// Seconds until the first look at it: mostly the admin container is there when the
/// agent is.
const FIRST_PROBE_SECONDS: u32 = 1;

/// Moves the builder one step towards answering.
pub async fn handle(
    ec2: &aws_sdk_ec2::Client,
    ssm: &aws_sdk_ssm::Client,
    settings: &Settings,
    input: Input,
) -> Result<Report<Launched>> {
    let build = &input.build;
    let report = ensure_builder(ec2, ssm, settings, &input).await?;
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
    input: &Input,
) -> Result<Report<Launched>> {
    let Input { build, interruptions, waited_seconds: waited } = input;
    let wait_seconds = waited.next_wait(build.usual_seconds.launch);
    let wait = |progress: String| Ok(Report::wait(wait_seconds, progress));
    let owner = Owner { stack: &settings.stack, build: &build.id };
    let builders = find_builders(ec2, owner).await?;
    let working = builders.iter().find(|b| matches!(b.state, State::Pending | State::Running));
    if working.is_none() && may_launch(&builders, *interruptions) {
        let id = launch(ec2, settings, build, *interruptions).await?;
        return wait(format!("builder {id} is launched"));
    }
    match working {
        Some(Builder { id, state: State::Pending, .. }) => {
            wait(format!("builder {id} is starting"))
        }
        Some(builder) if !commands::is_online(ssm, &builder.id).await? => {
            wait(format!("builder {} runs, its SSM agent is not online yet", builder.id))
        }
        Some(builder) => ensure_answering(ssm, build, &builder.id, *waited).await,
        None => Err(instances::lost(build, &builders)),
    }
}

/// Whether every builder of this build was taken back by EC2, and the state machine knows of it.
/// An interruption that it does not know of is its to count: it is told, and nothing launched.
fn may_launch(builders: &[Builder], known_interruptions: u8) -> bool {
    builders.iter().all(|builder| builder.interrupted)
        && builders.len() <= known_interruptions.into()
}

/// Tries each placement in turn until EC2 accepts one.
async fn launch(
    ec2: &aws_sdk_ec2::Client,
    settings: &Settings,
    build: &Build,
    interruptions: u8,
) -> Result<InstanceId> {
    let mut refusals = Vec::new();
    let machine = build.machine();
    for placement in placements(build, &machine, &settings.builder_profile) {
        // The second builder must last: there is no third.
        if placement.market == Market::Spot && interruptions > 0 {
            continue;
        }
        match launch_builder(ec2, &settings.stack, build, placement, user_data::encoded(&build.os))
            .await?
        {
            Launch::Launched(id) => return Ok(id),
            Launch::Refused(reason) => {
                let Placement { market, instance_type, subnet, .. } = placement;
                let subnet = subnet.unwrap_or("the default subnet");
                let refusal = format!("{instance_type} {market} in {subnet}: {reason}");
                tracing::warn!(build = %build.id, refusal, "no builder here");
                refusals.push(refusal);
            }
        }
    }
    Err(Error::LaunchRefused { build: build.id.clone(), reason: refusals.join("; ") })
}

/// Every instance type in the first subnet, then every type in the next; all of it as Spot
/// before all of it on demand. Their numbers are the same whatever was tried before.
fn placements<'a>(build: &'a Build, machine: &'a Machine, profile: &'a str) -> Vec<Placement<'a>> {
    let subnets: Vec<Option<&str>> = match build.builder.subnet_ids.as_slice() {
        [] => vec![None],
        ids => ids.iter().map(|id| Some(id.as_str())).collect(),
    };
    let markets: &[Market] =
        if build.builder.spot { &[Market::Spot, Market::OnDemand] } else { &[Market::OnDemand] };
    let mut placements = Vec::new();
    for &market in markets {
        for &subnet in &subnets {
            for instance_type in &machine.instance_types {
                let attempt = placements.len();
                placements.push(Placement { instance_type, subnet, market, profile, attempt });
            }
        }
    }
    placements
}

/// `PingStatus Online` says only that the control container runs; the way to the
/// host is through the admin container, which starts beside it.
async fn ensure_answering(
    ssm: &aws_sdk_ssm::Client,
    build: &Build,
    id: &InstanceId,
    waited: Waited,
) -> Result<Report<Launched>> {
    let probes = commands::find(ssm, id, &build.id, Purpose::Probe).await?;
    if probes.iter().any(|probe| probe.status == Status::Succeeded) {
        return Ok(Report::Ready(Launched { instance_id: id.clone() }));
    }
    if !probes.iter().any(|probe| probe.status == Status::Running) {
        let line = script::PROBE;
        commands::send(ssm, id, &build.id, Purpose::Probe, line, PROBE_SECONDS).await?;
    }
    let wait_seconds = if probes.is_empty() { FIRST_PROBE_SECONDS } else { waited.next_wait(None) };
    let progress = format!("builder {id} is online, its admin container does not answer yet");
    Ok(Report::wait(wait_seconds, progress))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use aws_sdk_ec2::operation::describe_instances::DescribeInstancesOutput;
    use aws_sdk_ec2::operation::run_instances::RunInstancesOutput;
    use aws_sdk_ec2::types::{Instance, InstanceStateName, MarketType};
    use aws_sdk_ssm::operation::describe_instance_information::DescribeInstanceInformationOutput;
    use aws_sdk_ssm::operation::list_commands::ListCommandsOutput;
    use aws_sdk_ssm::operation::send_command::SendCommandOutput;
    use aws_sdk_ssm::types::{Command, CommandStatus, InstanceInformation, PingStatus};
    use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
    use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{
        build_document, ec2_error, input, instances, interrupted, settings, shown,
    };

    fn ec2(state: Option<InstanceStateName>, more: &[&Rule]) -> aws_sdk_ec2::Client {
        ec2_with(instances(state), more)
    }

    fn ec2_with(found: DescribeInstancesOutput, more: &[&Rule]) -> aws_sdk_ec2::Client {
        let describe = mock!(aws_sdk_ec2::Client::describe_instances)
            .match_requests(|request| {
                let wanted = ["tag:frontload:stack", "tag:frontload:build"];
                request.filters().iter().filter_map(|f| f.name()).eq(wanted)
            })
            .then_output(move || found.clone());
        let rules: Vec<&Rule> = std::iter::once(&describe).chain(more.iter().copied()).collect();
        mock_client!(aws_sdk_ec2, RuleMode::MatchAny, rules)
    }

    fn ssm(online: bool, probe: Option<CommandStatus>, send: &Rule) -> aws_sdk_ssm::Client {
        let describe =
            mock!(aws_sdk_ssm::Client::describe_instance_information).then_output(move || {
                let status = if online { PingStatus::Online } else { PingStatus::ConnectionLost };
                let instance = InstanceInformation::builder().ping_status(status).build();
                DescribeInstanceInformationOutput::builder()
                    .instance_information_list(instance)
                    .build()
            });
        let list = mock!(aws_sdk_ssm::Client::list_commands).then_output(move || {
            let commands = probe.clone().map(|status| {
                Command::builder()
                    .command_id("c-1")
                    .comment("frontload probe default-x86-64-0123456789ab")
                    .status(status)
                    .build()
            });
            ListCommandsOutput::builder()
                .set_commands(commands.map(|command| vec![command]))
                .build()
        });
        mock_client!(aws_sdk_ssm, RuleMode::MatchAny, [&describe, &list, send])
    }

    fn send() -> Rule {
        mock!(aws_sdk_ssm::Client::send_command)
            .match_requests(|request| {
                request.document_name() == Some("AWS-RunShellScript")
                    && request.comment() == Some("frontload probe default-x86-64-0123456789ab")
            })
            .then_output(|| SendCommandOutput::builder().build())
    }

    fn launched() -> RunInstancesOutput {
        RunInstancesOutput::builder()
            .instances(Instance::builder().instance_id("i-1").build())
            .build()
    }

    async fn report(ec2: &aws_sdk_ec2::Client, ssm: &aws_sdk_ssm::Client, waited: u32) -> String {
        let input = input(&json!({ "waitedSeconds": waited }));
        match handle(ec2, ssm, &settings(), input).await {
            Ok(Report::Waiting { progress, .. }) => progress,
            Ok(ready) => format!("ready {}", shown(&ready)["instanceId"]),
            Err(error) => error.name().to_owned(),
        }
    }

    #[tokio::test]
    async fn without_a_builder_one_is_launched_with_token_tags_and_imdsv2() {
        let run = mock!(aws_sdk_ec2::Client::run_instances)
            .match_requests(|request| {
                request.client_token() == Some("default-x86-64-0123456789ab-0")
                    && request.tag_specifications().len() == 2
                    && request.metadata_options().unwrap().http_tokens()
                        == Some(&aws_sdk_ec2::types::HttpTokensState::Required)
                    && request.block_device_mappings()[0].ebs().unwrap().volume_size() == Some(20)
            })
            .then_output(launched);
        let ec2 = ec2(None, &[&run]);
        let progress = report(&ec2, &ssm(false, None, &send()), 0).await;
        assert_eq!(progress, "builder i-1 is launched");
    }

    #[tokio::test]
    async fn a_type_without_capacity_gives_way_to_the_next() {
        let first = mock!(aws_sdk_ec2::Client::run_instances)
            .match_requests(|r| r.client_token().is_some_and(|token| token.ends_with("-0")))
            .then_http_response(|| ec2_error("InsufficientInstanceCapacity"));
        let second = mock!(aws_sdk_ec2::Client::run_instances)
            .match_requests(|r| r.instance_type().is_some_and(|kind| kind.as_str() == "m5.xlarge"))
            .then_output(launched);
        let ec2 = ec2(None, &[&first, &second]);
        assert_eq!(report(&ec2, &ssm(false, None, &send()), 0).await, "builder i-1 is launched");
    }

    #[tokio::test]
    async fn a_refusal_that_repeats_hostile_text_stays_one_line() {
        let run = mock!(aws_sdk_ec2::Client::run_instances).then_http_response(|| {
            let message = format!("no\nERROR\u{202e}{}", "b".repeat(10_000));
            let body = format!(
                "<Response><Errors><Error><Code>Unsupported</Code><Message>{message}</Message></Error></Errors></Response>"
            );
            HttpResponse::new(400.try_into().unwrap(), body.into())
        });
        let ec2 = ec2(None, &[&run]);
        let input = input(&json!({ "waitedSeconds": 0 }));
        let ended = handle(&ec2, &ssm(false, None, &send()), &settings(), input).await;
        let message = ended.unwrap_err().to_string();
        assert!(message.contains("Unsupported: noERRORbb"), "{message}");
        assert!(message.len() < 5_000 && !message.contains(['\n', '\u{202e}']), "{message}");
    }

    /// Market, subnet and type of every launch of this cache, in the order in which they are
    /// tried while EC2 has no room, and the error at the end.
    async fn tried(builder: Value, interruptions: u8) -> (Vec<String>, String) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&seen);
        let run = mock!(aws_sdk_ec2::Client::run_instances)
            .match_requests(move |request| {
                let market = request.instance_market_options().map(|options| {
                    assert_eq!(options.market_type(), Some(&MarketType::Spot));
                    "spot"
                });
                let subnet = request.network_interfaces()[0].subnet_id().unwrap_or("default");
                let kind = request.instance_type().map_or("", |kind| kind.as_str());
                let token = request.client_token().unwrap().rsplit('-').next().unwrap();
                let market = market.unwrap_or("on-demand");
                told.lock().unwrap().push(format!("{token} {market} {subnet} {kind}"));
                true
            })
            .then_http_response(|| ec2_error("InsufficientInstanceCapacity"));
        let mut payload = json!({"build": build_document(), "waitedSeconds": 0});
        payload["interruptions"] = json!(interruptions);
        for (field, value) in builder.as_object().unwrap() {
            payload["build"]["builder"][field] = value.clone();
        }
        let input = serde_json::from_value(payload).unwrap();
        let ended =
            handle(&ec2(None, &[&run]), &ssm(false, None, &send()), &settings(), input).await;
        let seen = seen.lock().unwrap().clone();
        (seen, ended.unwrap_err().to_string())
    }

    #[tokio::test]
    async fn spot_is_tried_in_every_subnet_before_on_demand() {
        let builder = json!({
            "spot": true, "instanceTypes": ["m6i.large", "m5.large"],
            "subnetIds": ["subnet-0a", "subnet-0b"],
        });
        let (seen, error) = tried(builder, 0).await;
        let wanted = [
            "0 spot subnet-0a m6i.large",
            "1 spot subnet-0a m5.large",
            "2 spot subnet-0b m6i.large",
            "3 spot subnet-0b m5.large",
            "4 on-demand subnet-0a m6i.large",
            "5 on-demand subnet-0a m5.large",
            "6 on-demand subnet-0b m6i.large",
            "7 on-demand subnet-0b m5.large",
        ];
        assert_eq!(seen, wanted);
        assert!(error.contains("m5.large on-demand in subnet-0b: Insufficient"), "{error}");
    }

    #[tokio::test]
    async fn a_builder_after_an_interruption_is_on_demand_under_tokens_of_its_own() {
        let builder = json!({"spot": true, "instanceTypes": ["m6i.large", "m5.large"]});
        let (seen, _) = tried(builder, 1).await;
        assert_eq!(seen, ["2 on-demand default m6i.large", "3 on-demand default m5.large"]);
    }

    #[tokio::test]
    async fn an_interrupted_builder_is_replaced_only_when_the_state_machine_knows_of_it() {
        let run = mock!(aws_sdk_ec2::Client::run_instances).then_output(launched);
        let gone = interrupted(instances(Some(InstanceStateName::ShuttingDown)));
        let ended = async |interruptions: u8| {
            let payload = json!({
                "build": build_document(), "waitedSeconds": 0, "interruptions": interruptions,
            });
            let input = serde_json::from_value(payload).unwrap();
            let ec2 = ec2_with(gone.clone(), &[&run]);
            match handle(&ec2, &ssm(false, None, &send()), &settings(), input).await {
                Ok(report) => shown(&report)["progress"].to_string(),
                Err(error) => error.to_string(),
            }
        };
        let error = ended(0).await;
        assert!(error.contains("was interrupted: wanted back"), "{error}");
        assert_eq!(ended(1).await, r#""builder i-1 is launched""#);
    }

    #[tokio::test]
    async fn no_capacity_anywhere_is_a_launch_refused() {
        let run = mock!(aws_sdk_ec2::Client::run_instances)
            .then_http_response(|| ec2_error("InsufficientInstanceCapacity"));
        let ec2 = ec2(None, &[&run]);
        assert_eq!(report(&ec2, &ssm(false, None, &send()), 0).await, "LaunchRefused");
    }

    #[tokio::test]
    async fn the_token_of_a_builder_that_is_gone_means_lost() {
        let run = mock!(aws_sdk_ec2::Client::run_instances)
            .then_http_response(|| ec2_error("IdempotentInstanceTerminated"));
        let ec2 = ec2(None, &[&run]);
        assert_eq!(report(&ec2, &ssm(false, None, &send()), 0).await, "BuilderLost");
    }

    #[tokio::test]
    async fn the_admin_container_is_probed_once_the_agent_is_online() {
        let running = || ec2(Some(InstanceStateName::Running), &[]);
        let sent = send();
        let progress = report(&running(), &ssm(false, None, &sent), 0).await;
        assert!(progress.contains("not online yet"), "{progress}");
        assert_eq!(sent.num_calls(), 0);
        report(&running(), &ssm(true, None, &sent), 0).await;
        assert_eq!(sent.num_calls(), 1);
        let waiting = Some(CommandStatus::InProgress);
        report(&running(), &ssm(true, waiting, &sent), 0).await;
        assert_eq!(sent.num_calls(), 1);
        report(&running(), &ssm(true, Some(CommandStatus::Failed), &sent), 0).await;
        assert_eq!(sent.num_calls(), 2);
        let answered = ssm(true, Some(CommandStatus::Success), &sent);
        let ready = report(&running(), &answered, 0).await;
        assert_eq!(ready, r#"ready "i-1""#);
    }

    #[tokio::test]
    async fn looks_are_by_what_a_launch_usually_takes_and_soon_after_a_probe() {
        let wait = async |online, probe, waited: u32| {
            let mut payload = json!({"build": build_document(), "waitedSeconds": waited});
            payload["build"]["usualSeconds"] = json!({"launch": 100});
            let ec2 = ec2(Some(InstanceStateName::Running), &[]);
            let input = serde_json::from_value(payload).unwrap();
            let report = handle(&ec2, &ssm(online, probe, &send()), &settings(), input).await;
            shown(&report.unwrap())["waitSeconds"].clone()
        };
        assert_eq!(wait(false, None, 0).await, 4);
        assert_eq!(wait(false, None, 80).await, 5);
        assert_eq!(wait(false, None, 85).await, 2);
        assert_eq!(wait(true, None, 60).await, 1);
        assert_eq!(wait(true, Some(CommandStatus::Failed), 60).await, 3);
    }

    #[tokio::test]
    async fn a_builder_that_never_comes_online_times_out() {
        let ec2 = ec2(Some(InstanceStateName::Running), &[]);
        assert_eq!(report(&ec2, &ssm(false, None, &send()), 900).await, "LaunchTimedOut");
    }

    #[tokio::test]
    async fn a_terminated_builder_is_lost_and_not_launched_again() {
        let ec2 = ec2(Some(InstanceStateName::Terminated), &[]);
        assert_eq!(report(&ec2, &ssm(false, None, &send()), 0).await, "BuilderLost");
    }
}
