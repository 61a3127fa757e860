//! Executions of our state machines.

use aws_sdk_sfn::Client;
use aws_sdk_sfn::error::ProvideErrorMetadata;
use aws_sdk_sfn::types::ExecutionStatus;

use super::call_error;
use crate::error::Result;

/// Whether an execution still runs. One that Step Functions no longer knows is
/// over: it forgets none that runs.
///
/// # Errors
/// Those of [`super::call_error`].
pub async fn is_running(sfn: &Client, arn: &str) -> Result<bool> {
    match sfn.describe_execution().execution_arn(arn).send().await {
        Ok(output) => Ok(*output.status() == ExecutionStatus::Running),
        Err(error) if error.code() == Some("ExecutionDoesNotExist") => Ok(false),
        Err(error) => Err(call_error(
            "states:DescribeExecution",
            format!("execution {arn}"),
            sfn.config().region(),
            &error,
        )),
    }
}
