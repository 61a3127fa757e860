//! `launch`: starts the builder and waits until its admin container answers. `clean_up` undoes it
//! and finds the instance by the build's tags.

use frontload_aws::commands::{self, Purpose, Status};
use frontload_aws::instances::{
    self, Launch, Market, Placement, State, find_builder, launch_builder,
};
use frontload_builder::{script, user_data};
use frontload_domain::Build;
use frontload_domain::names::CommandId;
use frontload_domain::names::InstanceId;
use frontload_domain::names::one_line;
use frontload_domain::step::{Report, Waited};
use frontload_domain::volume::Machine;
use frontload_domain::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::settings::Settings;

/// Payload of the function.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    build: Build,
    /// How many of the build's builders EC2 has interrupted. This call is for the one after them.
    #[serde(default)]
    interruptions: u8,
    #[serde(flatten)]
    tried: Tried,
    waited_seconds: Waited,
}

/// The report, and the state for this step's next call and for later steps.
#[derive(Debug, Serialize)]
pub struct Launching {
    #[serde(flatten)]
    report: Report<Answering>,
    #[serde(flatten)]
    tried: Tried,
}

/// No facts for later steps besides the builder's id.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Answering {}

/// Results of the launches so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Tried {
    /// The builder, once EC2 accepted one.
    instance_id: Option<InstanceId>,
    /// How many placements EC2 refused.
    refusals: usize,
    /// Which placements EC2 refused, and why.
    refused: String,
    /// The last probe, while its answer is pending.
    command_id: Option<CommandId>,
}

/// Seconds that the probe may take on the instance (`AWS-RunShellScript`, `executionTimeout`): long
/// enough for an answer, short compared with a boot.
const PROBE_SECONDS: u32 = 30;
/// Seconds until the first poll of the probe. The admin container is mostly up when the agent is.
const FIRST_PROBE_SECONDS: u32 = 1;
/// Seconds until the next placement is requested. EC2 refills two launches a second (EC2 developer
/// guide, "Request throttling").
const NEXT_PLACEMENT_SECONDS: u32 = 1;
/// Longest list of refusals, in characters. It is passed from call to call and into an error.
const MAX_REFUSED: usize = 4000;

/// Moves the builder one step towards answering.
pub async fn handle(context: &Context, input: Input) -> Result<Launching> {
    ensure_builder(&context.home_ec2(), &context.home_ssm(), &context.settings, input).await
}

async fn ensure_builder(
    ec2: &aws_sdk_ec2::Client,
    ssm: &aws_sdk_ssm::Client,
    settings: &Settings,
    input: Input,
) -> Result<Launching> {
    let Input { build, waited_seconds: waited, .. } = &input;
    let launching = match input.tried.instance_id.clone() {
        None => launch_next(ec2, settings, &input).await?,
        Some(id) => poll(ec2, ssm, &input, id).await?,
    };
    match launching.report {
        Report::Waiting { progress, .. } if waited.is_past(build.time_limits.launch_seconds) => {
            Err(Error::LaunchTimedOut { build: build.id.clone(), seconds: waited.0, progress })
        }
        _ => Ok(launching),
    }
}

/// Requests a builder in the next placement, one placement per call. A repeated call sends the same
/// request with the same client token, and gets the instance that EC2 launched before.
async fn launch_next(
    ec2: &aws_sdk_ec2::Client,
    settings: &Settings,
    input: &Input,
) -> Result<Launching> {
    let Input { build, tried, waited_seconds: waited, .. } = input;
    let machine = build.machine();
    let placements = placements_left(input, &machine, &settings.builder_profile);
    let Some(&placement) = placements.first() else { return Err(all_refused(build, tried)) };
    match launch_builder(ec2, &settings.stack, build, placement, user_data::encoded()).await? {
        Launch::Launched(id) => {
            let wait_seconds = waited.next_wait(build.usual_seconds.launch);
            let report = Report::wait(wait_seconds, format!("builder {id} is launched"));
            Ok(Launching { report, tried: Tried { instance_id: Some(id), ..tried.clone() } })
        }
        Launch::Refused(reason) => refuse(input, &placements, &reason),
    }
}

/// Records that EC2 refused the first placement in `left`. The next call tries the next one.
fn refuse(input: &Input, left: &[Placement<'_>], reason: &str) -> Result<Launching> {
    let build = &input.build;
    let Some(Placement { market, instance_type, subnet, .. }) = left.first() else {
        return Err(all_refused(build, &input.tried));
    };
    let subnet = subnet.unwrap_or("the default subnet");
    let refusal = format!("{instance_type} {market} in {subnet}: {reason}");
    tracing::warn!(build = %build.id, refusal, "EC2 launched no builder");
    let earlier = match input.tried.refused.as_str() {
        "" => String::new(),
        earlier => format!("{earlier}; "),
    };
    let tried = Tried {
        instance_id: None,
        refusals: input.tried.refusals + 1,
        refused: one_line(&format!("{earlier}{refusal}"), MAX_REFUSED),
        command_id: None,
    };
    if left.len() == 1 {
        return Err(all_refused(build, &tried));
    }
    let report =
        Report::wait(NEXT_PLACEMENT_SECONDS, format!("EC2 launched no builder: {refusal}"));
    Ok(Launching { report, tried })
}

fn all_refused(build: &Build, tried: &Tried) -> Error {
    Error::LaunchRefused { build: build.id.clone(), reason: tried.refused.clone() }
}

/// Reports how far the launched builder is.
async fn poll(
    ec2: &aws_sdk_ec2::Client,
    ssm: &aws_sdk_ssm::Client,
    input: &Input,
    id: InstanceId,
) -> Result<Launching> {
    let Input { build, tried, waited_seconds: waited, .. } = input;
    let wait =
        |progress: String| Report::wait(waited.next_wait(build.usual_seconds.launch), progress);
    let builder = find_builder(ec2, &id).await?;
    let report = match builder.as_ref().map(|builder| builder.state) {
        None => wait(format!("EC2 does not show builder {id} yet")),
        Some(State::Pending) => wait(format!("builder {id} is starting")),
        Some(State::Running) if !commands::is_online(ssm, &id).await? => {
            wait(format!("builder {id} runs, its SSM agent is not online yet"))
        }
        Some(State::Running) => return ensure_answering(ssm, input, &id).await,
        Some(State::Ending | State::Terminated) => {
            let Some(refused) = builder.as_ref().filter(|builder| builder.refused) else {
                return Err(instances::lost(build, id.as_str(), builder.as_ref()));
            };
            let machine = build.machine();
            let reason = format!("EC2 ended {id} before it ran: {}", refused.reason);
            return refuse(input, &placements_left(input, &machine, ""), &reason);
        }
    };
    Ok(Launching { report, tried: tried.clone() })
}

/// The placements that EC2 has not refused. The second builder of a build is never a Spot instance:
/// it must last, because there is no third.
fn placements_left<'a>(
    input: &'a Input,
    machine: &'a Machine,
    profile: &'a str,
) -> Vec<Placement<'a>> {
    let may_be_spot = input.interruptions == 0;
    let all = placements(&input.build, machine, profile).into_iter();
    let allowed = all.filter(|placement| may_be_spot || placement.market != Market::Spot);
    allowed.skip(input.tried.refusals).collect()
}

/// Every instance type in the first subnet, then every type in the next: first all on Spot, then
/// all on demand. A placement's number does not depend on what was tried before.
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

/// Probes the admin container. `PingStatus Online` only says that the control container runs. The
/// host is reached through the admin container, which starts beside it.
async fn ensure_answering(
    ssm: &aws_sdk_ssm::Client,
    input: &Input,
    id: &InstanceId,
) -> Result<Launching> {
    let Input { build, tried, waited_seconds: waited, .. } = input;
    let status = match &tried.command_id {
        // SSM may list a command only a moment after it was sent.
        Some(probe) => Some(commands::status(ssm, probe).await?.unwrap_or(Status::Running)),
        None => None,
    };
    let (report, command_id) = match status {
        Some(Status::Succeeded) => (Report::Ready(Answering {}), None),
        Some(Status::Running) => {
            (not_answering(id, waited.next_wait(None)), tried.command_id.clone())
        }
        _ => {
            let line = script::PROBE;
            let probe =
                commands::send(ssm, id, &build.id, Purpose::Probe, line, PROBE_SECONDS).await?;
            let is_first = status.is_none();
            let seconds = if is_first { FIRST_PROBE_SECONDS } else { waited.next_wait(None) };
            (not_answering(id, seconds), Some(probe))
        }
    };
    Ok(Launching { report, tried: Tried { command_id, ..tried.clone() } })
}

fn not_answering(id: &InstanceId, wait_seconds: u32) -> Report<Answering> {
    let progress = format!("builder {id} is online, its admin container does not answer yet");
    Report::wait(wait_seconds, progress)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use aws_sdk_ec2::operation::describe_instances::DescribeInstancesOutput;
    use aws_sdk_ec2::operation::run_instances::RunInstancesOutput;
    use aws_sdk_ec2::types::{Instance, InstanceStateName, MarketType, StateReason};
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
            .match_requests(|request| request.instance_ids() == ["i-1"])
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
            .then_output(|| {
                let command = Command::builder().command_id("c-1").build();
                SendCommandOutput::builder().command(command).build()
            })
    }

    fn launched() -> RunInstancesOutput {
        RunInstancesOutput::builder()
            .instances(Instance::builder().instance_id("i-1").build())
            .build()
    }

    /// What the step reports about the builder in `input`, or about a launch.
    async fn says(ec2: &aws_sdk_ec2::Client, ssm: &aws_sdk_ssm::Client, input: Value) -> String {
        match ensure_builder(ec2, ssm, &settings(), crate::testing::input(&input)).await {
            Ok(Launching { report: Report::Waiting { progress, .. }, .. }) => progress,
            Ok(ready) => format!("ready {}", shown(&ready)["instanceId"]),
            Err(error) => error.name().to_owned(),
        }
    }

    async fn report(ec2: &aws_sdk_ec2::Client, ssm: &aws_sdk_ssm::Client, waited: u32) -> String {
        says(ec2, ssm, json!({ "instanceId": "i-1", "waitedSeconds": waited })).await
    }

    /// The same after a probe was sent.
    async fn probed(ec2: &aws_sdk_ec2::Client, ssm: &aws_sdk_ssm::Client) -> String {
        says(ec2, ssm, json!({ "instanceId": "i-1", "commandId": "c-1" })).await
    }

    async fn launch(ec2: &aws_sdk_ec2::Client) -> String {
        says(ec2, &ssm(false, None, &send()), json!({})).await
    }

    /// A device with its encryption and size.
    fn devices(
        mapping: &aws_sdk_ec2::types::BlockDeviceMapping,
    ) -> (&str, Option<bool>, Option<i32>) {
        let ebs = mapping.ebs().unwrap();
        (mapping.device_name().unwrap(), ebs.encrypted(), ebs.volume_size())
    }

    #[tokio::test]
    async fn without_a_builder_one_is_launched_with_token_tags_and_imdsv2() {
        let run = mock!(aws_sdk_ec2::Client::run_instances)
            .match_requests(|request| {
                request.client_token() == Some("default-x86-64-0123456789ab-0")
                    && request.tag_specifications().len() == 2
                    && request.metadata_options().unwrap().http_tokens()
                        == Some(&aws_sdk_ec2::types::HttpTokensState::Required)
                    && request.metadata_options().unwrap().http_endpoint()
                        == Some(&aws_sdk_ec2::types::InstanceMetadataEndpointState::Enabled)
                    && request
                        .block_device_mappings()
                        .iter()
                        .map(devices)
                        .eq([("/dev/xvda", Some(true), None), ("/dev/xvdb", None, Some(20))])
                    && request.network_interfaces()[0].associate_public_ip_address().is_none()
            })
            .then_output(launched);
        assert_eq!(launch(&ec2(None, &[&run])).await, "builder i-1 is launched");
    }

    #[tokio::test]
    async fn each_call_tries_one_placement() {
        let first = mock!(aws_sdk_ec2::Client::run_instances)
            .match_requests(|r| r.client_token().is_some_and(|token| token.ends_with("-0")))
            .then_http_response(|| ec2_error("InsufficientInstanceCapacity"));
        let second = mock!(aws_sdk_ec2::Client::run_instances)
            .match_requests(|r| r.client_token().is_some_and(|token| token.ends_with("-1")))
            .then_output(launched);
        let ec2 = ec2(None, &[&first, &second]);
        let ssm = ssm(false, None, &send());
        let refused = ensure_builder(&ec2, &ssm, &settings(), input(&json!({}))).await.unwrap();
        assert_eq!((first.num_calls(), second.num_calls()), (1, 0));
        let known = shown(&refused);
        let fields = (&known["ready"], &known["instanceId"], &known["refusals"]);
        assert_eq!(fields, (&json!(false), &json!(null), &json!(1)));
        let launched = ensure_builder(&ec2, &ssm, &settings(), input(&known)).await.unwrap();
        assert_eq!(shown(&launched)["instanceId"], "i-1");
        assert_eq!((first.num_calls(), second.num_calls()), (1, 1));
    }

    #[tokio::test]
    async fn a_builder_that_ec2_ended_before_it_ran_is_a_refused_placement() {
        let mut found = interrupted(instances(Some(InstanceStateName::Terminated)));
        let instance = &mut found.reservations.as_mut().unwrap()[0].instances.as_mut().unwrap()[0];
        let reason = StateReason::builder().code("Client.InternalError").message("on launch");
        instance.state_reason = Some(reason.build());
        let input = input(&json!({"instanceId": "i-1"}));
        let ssm = ssm(false, None, &send());
        let refused =
            ensure_builder(&ec2_with(found, &[]), &ssm, &settings(), input).await.unwrap();
        let known = shown(&refused);
        assert_eq!((&known["instanceId"], &known["refusals"]), (&json!(null), &json!(1)));
        assert!(known["refused"].to_string().contains("ended i-1 before it ran: on launch"));
    }

    #[tokio::test]
    async fn a_builder_that_ec2_does_not_show_yet_is_awaited() {
        let unknown = mock!(aws_sdk_ec2::Client::describe_instances)
            .then_http_response(|| ec2_error("InvalidInstanceID.NotFound"));
        let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&unknown]);
        let progress = report(&ec2, &ssm(false, None, &send()), 0).await;
        assert_eq!(progress, "EC2 does not show builder i-1 yet");
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
        let ended =
            ensure_builder(&ec2, &ssm(false, None, &send()), &settings(), input(&json!({}))).await;
        let message = shown(&ended.unwrap())["progress"].to_string();
        assert!(message.contains("Unsupported: noERRORbb"), "{message}");
        assert!(message.len() < 5_000 && !message.contains(['\n', '\u{202e}']), "{message}");
    }

    /// Token number, market, subnet and type of each launch, in the order tried while EC2 has no
    /// capacity, and the final error.
    async fn tried(builder: Value, interruptions: u8) -> (Vec<String>, String) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let recorder = Arc::clone(&seen);
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
                recorder.lock().unwrap().push(format!("{token} {market} {subnet} {kind}"));
                true
            })
            .then_http_response(|| ec2_error("InsufficientInstanceCapacity"));
        let mut payload = json!({"build": build_document(), "waitedSeconds": 0});
        payload["interruptions"] = json!(interruptions);
        for (field, value) in builder.as_object().unwrap() {
            payload["build"]["builder"][field] = value.clone();
        }
        let (ec2, ssm) = (ec2(None, &[&run]), ssm(false, None, &send()));
        let error = loop {
            let input = serde_json::from_value(payload.clone()).unwrap();
            match ensure_builder(&ec2, &ssm, &settings(), input).await {
                Ok(report) => {
                    payload
                        .as_object_mut()
                        .unwrap()
                        .extend(shown(&report).as_object().unwrap().clone());
                }
                Err(error) => break error,
            }
        };
        (seen.lock().unwrap().clone(), error.to_string())
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
    async fn a_builder_after_an_interruption_is_on_demand_with_new_tokens() {
        let builder = json!({"spot": true, "instanceTypes": ["m6i.large", "m5.large"]});
        let (seen, _) = tried(builder, 1).await;
        assert_eq!(seen, ["2 on-demand default m6i.large", "3 on-demand default m5.large"]);
    }

    #[tokio::test]
    async fn an_interrupted_builder_is_reported_to_the_state_machine() {
        let gone = interrupted(instances(Some(InstanceStateName::ShuttingDown)));
        let ended = report(&ec2_with(gone, &[]), &ssm(false, None, &send()), 0).await;
        assert_eq!(ended, "BuilderInterrupted");
    }

    #[tokio::test]
    async fn no_capacity_anywhere_fails_as_launch_refused() {
        let builder = json!({"instanceTypes": ["m6i.large"]});
        let (seen, error) = tried(builder, 0).await;
        assert_eq!(seen.len(), 1);
        assert!(error.contains("m6i.large on-demand in the default subnet"), "{error}");
    }

    #[tokio::test]
    async fn the_token_of_a_vanished_builder_means_lost() {
        let run = mock!(aws_sdk_ec2::Client::run_instances)
            .then_http_response(|| ec2_error("IdempotentInstanceTerminated"));
        assert_eq!(launch(&ec2(None, &[&run])).await, "BuilderLost");
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
        // Under way, or not listed yet.
        for waiting in [Some(CommandStatus::InProgress), None] {
            probed(&running(), &ssm(true, waiting, &sent)).await;
            assert_eq!(sent.num_calls(), 1);
        }
        probed(&running(), &ssm(true, Some(CommandStatus::Failed), &sent)).await;
        assert_eq!(sent.num_calls(), 2);
        let answered = ssm(true, Some(CommandStatus::Success), &sent);
        assert_eq!(probed(&running(), &answered).await, r#"ready "i-1""#);
    }

    #[tokio::test]
    async fn polls_follow_the_usual_launch_time_and_come_soon_after_a_probe() {
        let wait = async |online, probe: Option<CommandStatus>, waited: u32| {
            let mut payload = json!({
                "build": build_document(), "instanceId": "i-1", "waitedSeconds": waited,
                "commandId": probe.as_ref().map(|_| "c-1"),
            });
            payload["build"]["usualSeconds"] = json!({"launch": 100});
            let ec2 = ec2(Some(InstanceStateName::Running), &[]);
            let input = serde_json::from_value(payload).unwrap();
            let report =
                ensure_builder(&ec2, &ssm(online, probe, &send()), &settings(), input).await;
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
