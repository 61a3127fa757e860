//! `pull`: ensures that every image lies on the builder's data volume, checked
//! and flushed. It leaves nothing but the volume, which goes with the builder.

use frontload_shared::aws::commands::{self, Command, Output, Purpose, Status};
use frontload_shared::aws::instances::{self, InstanceId, State, find_builders};
use frontload_shared::aws::tags::Owner;
use frontload_shared::builder::report::{PulledImages, read_report};
use frontload_shared::builder::script;
use frontload_shared::domain::Build;
use frontload_shared::domain::names::one_line;
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
pub struct Pulled {
    pulled: PulledImages,
}

/// Seconds between SSM's own limit and ours: time to be told of the former.
const GRACE_SECONDS: u32 = 60;

/// Sends the script once, then reads what came of it.
pub async fn handle(
    ec2: &aws_sdk_ec2::Client,
    ssm: &aws_sdk_ssm::Client,
    settings: &Settings,
    input: Input,
) -> Result<Report<Pulled>> {
    let build = &input.build;
    let limit = build.time_limits.pull_seconds;
    let wait_seconds = input.waited_seconds.next_wait(build.usual_seconds.pull);
    let owner = Owner { stack: &settings.stack, build: &build.id };
    let builders = find_builders(ec2, owner).await?;
    let running = builders.iter().find(|builder| builder.state == State::Running);
    let Some(builder) = running else { return Err(instances::lost(build, &builders)) };
    let sent = commands::find(ssm, &builder.id, &build.id, Purpose::Pull).await?;
    let Some(command) = sent.first() else {
        let line = script::ssm_command(build);
        commands::send(ssm, &builder.id, &build.id, Purpose::Pull, &line, limit).await?;
        return Ok(Report::wait(wait_seconds, progress(build)));
    };
    if command.status != Status::Running {
        return read_outcome(ssm, build, &builder.id, command).await;
    }
    if input.waited_seconds.is_past(limit + GRACE_SECONDS) {
        let reason = format!("SSM command {} still runs", command.id);
        return Err(Error::PullTimedOut { build: build.id.clone(), reason });
    }
    Ok(Report::wait(wait_seconds, progress(build)))
}

fn progress(build: &Build) -> String {
    let bytes = build.images.iter().filter_map(|image| image.compressed_bytes);
    let bytes = bytes.fold(0, u64::saturating_add);
    format!("pulling {} images, {} MB compressed", build.images.len(), bytes / 1_000_000)
}

async fn read_outcome(
    ssm: &aws_sdk_ssm::Client,
    build: &Build,
    instance: &InstanceId,
    command: &Command,
) -> Result<Report<Pulled>> {
    match commands::output(ssm, instance, &command.id).await? {
        None => Ok(Report::wait(1, "reading what the builder printed")),
        Some(output) => judge(build, &command.status, &output).map(Report::Ready),
    }
}

/// What an ended command means.
fn judge(build: &Build, status: &Status, output: &Output) -> Result<Pulled> {
    match status {
        Status::Succeeded => Ok(Pulled { pulled: read_report(build, &output.stdout)? }),
        // The script reports a named failure and exits with 1. Output of a
        // failed command is never taken for success.
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
    let says = |text: &str| {
        let mut last: Vec<_> = text.lines().rev().take(3).map(|line| one_line(line, 300)).collect();
        last.reverse();
        last.join(" | ")
    };
    Error::BuilderFailed {
        build: build.id.clone(),
        reason: format!(
            "SSM says {}; output: {}; errors: {}",
            one_line(&output.details, 100),
            says(&output.stdout),
            says(&output.stderr)
        ),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::InstanceStateName;
    use aws_sdk_ssm::operation::list_commands::ListCommandsOutput;
    use aws_sdk_ssm::types::CommandStatus;
    use aws_smithy_mocks::{RuleMode, mock, mock_client};
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{build, build_document, instances, pulled, settings, shown};

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

    fn success() -> Value {
        let mut report = pulled();
        report["outcome"] = json!("pulled");
        report
    }

    #[tokio::test]
    async fn a_running_pull_is_looked_at_by_what_it_usually_takes() {
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
            let mut payload = json!({"build": build_document(), "waitedSeconds": 100});
            payload["build"]["usualSeconds"] = usual;
            let input = serde_json::from_value(payload).unwrap();
            let report = handle(&ec2, &ssm, &settings(), input).await.unwrap();
            assert_eq!(shown(&report)["waitSeconds"], wait);
        }
    }

    #[test]
    fn success_needs_both_exit_code_and_report() {
        assert_eq!(outcome(&Status::Succeeded, &success()), "pulled");
        assert!(outcome(&Status::Succeeded, &json!("")).contains("is no report"));
        assert!(outcome(&Status::Failed, &success()).starts_with("the builder of build"));
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
            message.ends_with("SSM says Details; output: Killed; errors: b | c | d"),
            "{message}"
        );
    }

    #[test]
    fn what_a_builder_printed_cannot_write_lines_of_its_own_nor_fill_the_log() {
        let long = format!("\u{1b}[31m{}", "x".repeat(9000));
        let message = outcome(&Status::Failed, &json!(long));
        assert!(message.len() < 600 && !message.contains('\u{1b}'), "{message}");
    }

    #[test]
    fn a_command_that_ssm_ended_is_a_pull_timed_out() {
        let message = outcome(&Status::TimedOut, &json!(""));
        assert!(message.contains("did not pull its images in time"), "{message}");
    }
}
