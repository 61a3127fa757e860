//! `pull`: gets every image onto the builder's data volume, checked and flushed. It leaves nothing
//! but the volume, which is deleted with the builder.

use frontload_aws::commands::{self, Command, Output, Purpose, Status};
use frontload_aws::instances::{self, Builder, State, find_builder};
use frontload_builder::report::read_report;
use frontload_builder::script;
use frontload_domain::Build;
use frontload_domain::names::CommandId;
use frontload_domain::names::one_line;
use frontload_domain::names::{InstanceId, VolumeId};
use frontload_domain::pulled::PulledImages;
use frontload_domain::step::{Report, Waited};
use frontload_domain::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::context::Context;

/// Payload of the function.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    build: Build,
    /// The builder that answered.
    instance_id: InstanceId,
    /// The command, once SSM accepted it.
    #[serde(default)]
    command_id: Option<CommandId>,
    waited_seconds: Waited,
}

/// The report, and the state for this step's next call.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pulling {
    #[serde(flatten)]
    report: Report<PullReport>,
    command_id: Option<CommandId>,
}

/// Facts for later steps.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct PullReport {
    pulled: PulledImages,
    /// The builder's data volume. Later steps know it only by this id.
    volume_id: VolumeId,
}

/// Seconds between SSM's own limit and ours, so that SSM can report its timeout first.
const GRACE_SECONDS: u32 = 60;

/// Sends the script once, then reads its result.
pub async fn handle(context: &Context, input: Input) -> Result<Pulling> {
    ensure_pulled(&context.home_ec2(), &context.home_ssm(), input).await
}

async fn ensure_pulled(
    ec2: &aws_sdk_ec2::Client,
    ssm: &aws_sdk_ssm::Client,
    input: Input,
) -> Result<Pulling> {
    let Input { build, instance_id, command_id, waited_seconds: waited } = &input;
    let found = find_builder(ec2, instance_id).await?;
    let builder = match &found {
        Some(builder) if builder.state == State::Running => builder,
        _ => return Err(instances::lost(build, instance_id.as_str(), found.as_ref())),
    };
    let Some(command) = command_of(ssm, build, builder, command_id.as_ref()).await? else {
        let limit = build.time_limits.pull_seconds;
        let line = script::ssm_command(build);
        let id = commands::send(ssm, &builder.id, &build.id, Purpose::Pull, &line, limit).await?;
        return Ok(Pulling { report: wait(build, *waited), command_id: Some(id) });
    };
    let report = poll(ssm, build, builder, &command, *waited).await?;
    Ok(Pulling { report, command_id: Some(command.id) })
}

/// The command that was sent, if any. If its id was lost with the answer, it is found by its
/// comment.
async fn command_of(
    ssm: &aws_sdk_ssm::Client,
    build: &Build,
    builder: &Builder,
    known: Option<&CommandId>,
) -> Result<Option<Command>> {
    let Some(id) = known else {
        let sent = commands::find(ssm, &builder.id, &build.id, Purpose::Pull).await?;
        return Ok(sent.into_iter().next());
    };
    // SSM may list a command only a moment after it was sent.
    let status = commands::status(ssm, id).await?.unwrap_or(Status::Running);
    Ok(Some(Command { id: id.clone(), status }))
}

async fn poll(
    ssm: &aws_sdk_ssm::Client,
    build: &Build,
    builder: &Builder,
    command: &Command,
    waited: Waited,
) -> Result<Report<PullReport>> {
    if command.status != Status::Running {
        return read_outcome(ssm, build, builder, command).await;
    }
    if waited.is_past(build.time_limits.pull_seconds + GRACE_SECONDS) {
        let reason = format!("SSM command {} still runs", command.id);
        return Err(Error::PullTimedOut { build: build.id.clone(), reason });
    }
    Ok(wait(build, waited))
}

fn wait(build: &Build, waited: Waited) -> Report<PullReport> {
    Report::wait(waited.next_wait(build.usual_seconds.pull), progress(build))
}

fn progress(build: &Build) -> String {
    let bytes = build.images.iter().filter_map(|image| image.compressed_bytes);
    let bytes = bytes.fold(0, u64::saturating_add);
    format!("pulling {} images, {} MB compressed", build.images.len(), bytes / 1_000_000)
}

async fn read_outcome(
    ssm: &aws_sdk_ssm::Client,
    build: &Build,
    builder: &Builder,
    command: &Command,
) -> Result<Report<PullReport>> {
    let Some(output) = commands::output(ssm, &builder.id, &command.id).await? else {
        return Ok(Report::wait(1, "reading the builder's output"));
    };
    let pulled = judge(build, &command.status, &output)?;
    let Some(volume) = &builder.data_volume else {
        return Ok(Report::wait(1, "looking for the builder's data volume"));
    };
    Ok(Report::Ready(PullReport { pulled, volume_id: volume.id.clone() }))
}

/// What an ended command means.
fn judge(build: &Build, status: &Status, output: &Output) -> Result<PulledImages> {
    match status {
        Status::Succeeded => read_report(build, &output.stdout),
        // The script reports a named failure and exits with 1. Output of a failed command never
        // counts as success.
        Status::Failed => match read_report(build, &output.stdout) {
            Err(error) if error.name() != "BuilderFailed" => Err(error),
            _ => Err(failed(build, output)),
        },
        Status::TimedOut => Err(Error::PullTimedOut {
            build: build.id.clone(),
            reason: format!("SSM ended the command: {}", output.details),
        }),
        Status::Dropped | Status::Running => Err(failed(build, output)),
    }
}

fn failed(build: &Build, output: &Output) -> Error {
    let last_lines = |text: &str| {
        let mut last: Vec<_> = text.lines().rev().take(3).map(|line| one_line(line, 300)).collect();
        last.reverse();
        last.join(" | ")
    };
    Error::BuilderFailed {
        build: build.id.clone(),
        reason: format!(
            "SSM reports {}; output: {}; errors: {}",
            one_line(&output.details, 100),
            last_lines(&output.stdout),
            last_lines(&output.stderr)
        ),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::InstanceStateName;
    use aws_sdk_ssm::operation::list_commands::ListCommandsOutput;
    use aws_sdk_ssm::operation::send_command::SendCommandOutput;
    use aws_sdk_ssm::types::CommandStatus;
    use aws_smithy_mocks::{RuleMode, mock, mock_client};
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{build, build_document, input, instances, printed, shown};

    fn outcome(status: &Status, stdout: &Value) -> String {
        let output = Output {
            stdout: stdout.as_str().map_or_else(|| stdout.to_string(), ToOwned::to_owned),
            stderr: "a\nb\nc\nd".to_owned(),
            details: "Details".to_owned(),
        };
        match judge(&build(), status, &output) {
            Ok(_) => "pulled".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn a_running_pull_is_polled_by_its_usual_time() {
        let builders = mock!(aws_sdk_ec2::Client::describe_instances)
            .then_output(|| instances(Some(InstanceStateName::Running)));
        let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&builders]);
        let list = mock!(aws_sdk_ssm::Client::list_commands).then_output(|| {
            let command = aws_sdk_ssm::types::Command::builder()
                .command_id("c-1")
                .comment("frontload pull default-x86-64-0123456789ab")
                .status(CommandStatus::InProgress);
            ListCommandsOutput::builder().commands(command.build()).build()
        });
        let ssm = mock_client!(aws_sdk_ssm, RuleMode::MatchAny, [&list]);
        for (usual, wait) in [(json!({}), 5), (json!({"pull": 100}), 2)] {
            let mut payload = json!({
                "build": build_document(), "instanceId": "i-1", "commandId": "c-1",
                "waitedSeconds": 100,
            });
            payload["build"]["usualSeconds"] = usual;
            let input = serde_json::from_value(payload).unwrap();
            let report = ensure_pulled(&ec2, &ssm, input).await.unwrap();
            assert_eq!(shown(&report)["waitSeconds"], wait);
        }
    }

    #[tokio::test]
    async fn a_command_is_sent_once_whether_ssm_lists_it_or_not() {
        let builders = mock!(aws_sdk_ec2::Client::describe_instances)
            .then_output(|| instances(Some(InstanceStateName::Running)));
        let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&builders]);
        let list = mock!(aws_sdk_ssm::Client::list_commands)
            .then_output(|| ListCommandsOutput::builder().build());
        let send = mock!(aws_sdk_ssm::Client::send_command).then_output(|| {
            let command = aws_sdk_ssm::types::Command::builder().command_id("c-1").build();
            SendCommandOutput::builder().command(command).build()
        });
        let ssm = mock_client!(aws_sdk_ssm, RuleMode::MatchAny, [&list, &send]);
        let mut known = json!({"instanceId": "i-1", "commandId": null});
        for _ in 0..2 {
            let report = ensure_pulled(&ec2, &ssm, input(&known)).await.unwrap();
            known["commandId"] = shown(&report)["commandId"].clone();
            assert_eq!(known["commandId"], "c-1");
        }
        assert_eq!(send.num_calls(), 1);
    }

    #[tokio::test]
    async fn a_builder_that_ec2_no_longer_shows_is_lost_by_its_id() {
        let none = mock!(aws_sdk_ec2::Client::describe_instances).then_output(|| instances(None));
        let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&none]);
        let ssm = mock_client!(aws_sdk_ssm, RuleMode::MatchAny, []);
        let error =
            ensure_pulled(&ec2, &ssm, input(&json!({"instanceId": "i-1"}))).await.unwrap_err();
        assert!(error.to_string().starts_with("builder i-1 of build"), "{error}");
    }

    #[test]
    fn success_needs_both_exit_code_and_report() {
        assert_eq!(outcome(&Status::Succeeded, &printed()), "pulled");
        assert!(outcome(&Status::Succeeded, &json!("")).contains("is not a report"));
        assert!(outcome(&Status::Failed, &printed()).starts_with("the builder of build"));
    }

    #[test]
    fn a_named_failure_reaches_the_state_machine_under_its_name() {
        let report =
            json!({"outcome": "failed", "step": "pull", "image": "r", "reason": "r: not found"});
        let message = outcome(&Status::Failed, &report);
        assert!(message.starts_with("image r was not found"), "{message}");
    }

    #[test]
    fn a_failure_without_report_shows_the_last_lines() {
        let message = outcome(&Status::Failed, &json!("Killed"));
        assert!(
            message.ends_with("SSM reports Details; output: Killed; errors: b | c | d"),
            "{message}"
        );
    }

    #[test]
    fn a_builders_output_cannot_forge_lines_or_fill_the_log() {
        let long = format!("\u{1b}[31m{}", "x".repeat(9000));
        let message = outcome(&Status::Failed, &json!(long));
        assert!(message.len() < 600 && !message.contains('\u{1b}'), "{message}");
    }

    #[test]
    fn a_command_that_ssm_ended_fails_as_pull_timed_out() {
        let message = outcome(&Status::TimedOut, &json!(""));
        assert!(message.contains("did not pull its images in time"), "{message}");
    }
}
