//! SSM commands on the builder. The id identifies a command; if it is lost, the comment does.

use aws_sdk_ssm::Client;
use aws_sdk_ssm::error::ProvideErrorMetadata;
use aws_sdk_ssm::types::{CommandStatus, InstanceInformationStringFilter, PingStatus};

use super::{call_error, incomplete_answer};
use frontload_domain::BuildId;
use frontload_domain::Result;
use frontload_domain::names::{CommandId, InstanceId};

/// Purpose of a command. Purpose and build id form the command's comment (at most
/// 100 characters, SSM `SendCommand`). [`find`] searches for that comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Asks whether the admin container answers.
    Probe,
    /// Pulls the images.
    Pull,
}

impl Purpose {
    fn comment(self, build: &BuildId) -> String {
        match self {
            Self::Probe => format!("frontload probe {build}"),
            Self::Pull => format!("frontload pull {build}"),
        }
    }
}

/// A command that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// SSM's id of it.
    pub id: CommandId,
    /// Its status.
    pub status: Status,
}

/// Status of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not ended yet.
    Running,
    /// Ended with exit code 0.
    Succeeded,
    /// Ended with another exit code.
    Failed,
    /// Ended by SSM's time limit.
    TimedOut,
    /// Cancelled, or never delivered.
    Dropped,
}

impl From<Option<&CommandStatus>> for Status {
    fn from(status: Option<&CommandStatus>) -> Self {
        match status {
            Some(CommandStatus::Success) => Self::Succeeded,
            Some(CommandStatus::Failed) => Self::Failed,
            Some(CommandStatus::TimedOut) => Self::TimedOut,
            Some(CommandStatus::Cancelled) => Self::Dropped,
            // Pending, InProgress, Cancelling, and statuses that SSM adds later:
            // the step's own limit ends the wait.
            _ => Self::Running,
        }
    }
}

/// Output of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// At most 24,000 characters (SSM `GetCommandInvocation`).
    pub stdout: String,
    /// At most 8,000 characters.
    pub stderr: String,
    /// SSM's detailed status, such as `ExecutionTimedOut`.
    pub details: String,
}

/// Whether the SSM agent of an instance is online.
///
/// # Errors
/// Those of [`super::call_error`].
pub async fn is_online(ssm: &Client, instance: &InstanceId) -> Result<bool> {
    let filter = InstanceInformationStringFilter::builder()
        .key("InstanceIds")
        .values(instance.as_str())
        .build();
    let Ok(filter) = filter else { return Ok(false) };
    let output =
        ssm.describe_instance_information().filters(filter).send().await.map_err(|error| {
            call_error(
                "ssm:DescribeInstanceInformation",
                format!("instance {instance}"),
                ssm.config().region(),
                &error,
            )
        })?;
    let status = output.instance_information_list().first().and_then(|i| i.ping_status());
    Ok(status == Some(&PingStatus::Online))
}

/// Commands of one build and purpose, newest first. Lists commands, not invocations:
/// SSM knows no invocation right after `SendCommand`, and a command that is not
/// found would be sent again.
///
/// # Errors
/// Those of [`super::call_error`].
pub async fn find(
    ssm: &Client,
    instance: &InstanceId,
    build: &BuildId,
    purpose: Purpose,
) -> Result<Vec<Command>> {
    let comment = purpose.comment(build);
    let mut pages = ssm.list_commands().instance_id(instance.as_str()).into_paginator().send();
    let mut commands = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| {
            call_error(
                "ssm:ListCommands",
                format!("instance {instance}"),
                ssm.config().region(),
                &error,
            )
        })?;
        for command in page.commands() {
            let Some(Ok(id)) = command.command_id().map(str::parse) else { continue };
            if command.comment() == Some(&comment) {
                let requested =
                    command.requested_date_time().map_or(0, aws_smithy_types::DateTime::secs);
                let status = Status::from(command.status());
                commands.push((requested, Command { id, status }));
            }
        }
    }
    commands.sort_by_key(|(requested, _)| std::cmp::Reverse(*requested));
    Ok(commands.into_iter().map(|(_, command)| command).collect())
}

/// Status of a command; `None` while SSM does not list it.
///
/// # Errors
/// Those of [`super::call_error`].
pub async fn status(ssm: &Client, id: &CommandId) -> Result<Option<Status>> {
    let answer = ssm.list_commands().command_id(id.as_str()).send().await;
    let output = answer.map_err(|error| {
        call_error("ssm:ListCommands", format!("command {id}"), ssm.config().region(), &error)
    })?;
    Ok(output.commands().first().map(|command| Status::from(command.status())))
}

/// Sends one line to the control container's shell; returns the command's id.
///
/// # Errors
/// Those of [`super::call_error`].
pub async fn send(
    ssm: &Client,
    instance: &InstanceId,
    build: &BuildId,
    purpose: Purpose,
    line: &str,
    timeout_seconds: u32,
) -> Result<CommandId> {
    let (operation, resource) = ("ssm:SendCommand", format!("instance {instance}"));
    let region = ssm.config().region();
    let answer = ssm
        .send_command()
        .document_name("AWS-RunShellScript")
        .instance_ids(instance.as_str())
        .comment(purpose.comment(build))
        .parameters("commands", vec![line.to_owned()])
        .parameters("executionTimeout", vec![timeout_seconds.to_string()])
        .send()
        .await;
    match answer {
        Ok(output) => {
            let id = output.command().and_then(|command| command.command_id()).unwrap_or_default();
            id.parse()
                .map_err(|reason: String| incomplete_answer(operation, resource, region, reason))
        }
        Err(error) => Err(call_error(operation, resource, region, &error)),
    }
}

/// Output of a command; `None` while SSM does not know the invocation yet,
/// which is normal right after `SendCommand`.
///
/// # Errors
/// Those of [`super::call_error`].
pub async fn output(
    ssm: &Client,
    instance: &InstanceId,
    command: &CommandId,
) -> Result<Option<Output>> {
    let answer = ssm
        .get_command_invocation()
        .instance_id(instance.as_str())
        .command_id(command.as_str())
        .send()
        .await;
    match answer {
        Ok(output) => Ok(Some(Output {
            stdout: output.standard_output_content().unwrap_or_default().to_owned(),
            stderr: output.standard_error_content().unwrap_or_default().to_owned(),
            details: output.status_details().unwrap_or_default().to_owned(),
        })),
        Err(error) if error.code() == Some("InvocationDoesNotExist") => Ok(None),
        Err(error) => Err(call_error(
            "ssm:GetCommandInvocation",
            format!("command {command} on instance {instance}"),
            ssm.config().region(),
            &error,
        )),
    }
}
