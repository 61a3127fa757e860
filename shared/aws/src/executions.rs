//! Executions of our state machines.

use aws_sdk_sfn::Client;
use aws_sdk_sfn::error::ProvideErrorMetadata;
use aws_sdk_sfn::types::ExecutionStatus;

use super::call_error;
use frontload_domain::Result;

/// State of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It runs, or is about to be redriven.
    Running,
    /// It has ended, successfully or not.
    Over {
        /// Epoch seconds of its end; `None` when Step Functions no longer knows it.
        ended: Option<i64>,
    },
}

/// State of an execution. One that Step Functions no longer knows is over: Step
/// Functions keeps every running execution.
///
/// # Errors
/// Those of [`super::call_error`].
pub async fn find_progress(sfn: &Client, arn: &str) -> Result<Progress> {
    match sfn.describe_execution().execution_arn(arn).send().await {
        Ok(output) => Ok(match output.status() {
            ExecutionStatus::Running | ExecutionStatus::PendingRedrive => Progress::Running,
            _ => Progress::Over { ended: output.stop_date().map(aws_smithy_types::DateTime::secs) },
        }),
        Err(error) if error.code() == Some("ExecutionDoesNotExist") => {
            Ok(Progress::Over { ended: None })
        }
        Err(error) => Err(call_error(
            "states:DescribeExecution",
            format!("execution {arn}"),
            sfn.config().region(),
            &error,
        )),
    }
}

/// Whether an execution still runs.
///
/// # Errors
/// Those of [`find_progress`].
pub async fn is_running(sfn: &Client, arn: &str) -> Result<bool> {
    Ok(find_progress(sfn, arn).await? == Progress::Running)
}
