//! Every AWS call of Frontload, one file per resource. SDK types become domain
//! types here and go no further; so do SDK errors.

pub mod commands;
pub mod events;
pub mod executions;
pub mod images;
pub mod instances;
pub mod parameters;
pub mod snapshots;
pub mod tags;

use std::error::Error as StdError;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ec2::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use crate::error::{AwsCall, Error};

/// The SDK configuration of every function: credentials and region of the
/// Lambda, at most 20 s for a call with its retries, so that a function's own
/// limit of 60 s always leaves room to report.
pub async fn sdk_config() -> SdkConfig {
    let timeouts =
        TimeoutConfig::builder().operation_timeout(std::time::Duration::from_secs(20)).build();
    aws_config::defaults(BehaviorVersion::v2026_01_12()).timeout_config(timeouts).load().await
}

/// Error codes that heal by themselves. (EC2 "Error codes", SSM and ECR API
/// references; the last two are throttles of `CreateSnapshot`.)
const TRANSIENT: [&str; 15] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "TooManyUpdates",
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "ServerException",
    "ServiceUnavailable",
    "Unavailable",
    "SnapshotCreationPerVolumeRateExceeded",
    "ConcurrentSnapshotLimitExceeded",
];

const DENIED: [&str; 4] =
    ["AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthFailure"];

/// Gives a failed call its class: [`Error::AwsUnavailable`], [`Error::AwsDenied`]
/// or [`Error::AwsRejected`].
pub(crate) fn call_error<E>(
    operation: &'static str,
    resource: impl Into<String>,
    region: Option<&Region>,
    error: &SdkError<E>,
) -> Error
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let code = error.code().unwrap_or_default();
    let reason = match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        _ => DisplayErrorContext(error).to_string(),
    };
    let call = AwsCall {
        operation,
        resource: resource.into(),
        region: region.map_or_else(|| "an unknown region".to_owned(), ToString::to_string),
        reason,
    };
    let status = error.raw_response().map_or(0, |response| response.status().as_u16());
    let unanswered = error.as_service_error().is_none();
    if DENIED.contains(&code) {
        Error::AwsDenied(call)
    } else if unanswered || status >= 500 || TRANSIENT.contains(&code) {
        Error::AwsUnavailable(call)
    } else {
        Error::AwsRejected(call)
    }
}

/// An answer that lacks what the API reference promises.
pub(crate) fn incomplete_answer(
    operation: &'static str,
    resource: impl Into<String>,
    region: Option<&Region>,
    reason: impl Into<String>,
) -> Error {
    Error::AwsRejected(AwsCall {
        operation,
        resource: resource.into(),
        region: region.map_or_else(|| "an unknown region".to_owned(), ToString::to_string),
        reason: reason.into(),
    })
}
