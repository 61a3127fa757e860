//! Every AWS call of Frontload, one file per resource. SDK types and errors become
//! domain types here and go no further.

pub mod clients;
pub mod commands;
pub mod events;
pub mod executions;
pub mod images;
pub mod instances;
pub mod keys;
pub mod leases;
pub mod namers;
pub mod networks;
pub mod parameters;
pub mod regions;
pub mod replicas;
pub mod sdk;
pub mod snapshots;
pub mod tagging;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod turns;

use std::error::Error as StdError;

use aws_config::Region;
use aws_sdk_ec2::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use frontload_domain::names::one_line;
use frontload_domain::{AwsAnswer, AwsCall, Error};

/// Codes of transient errors (EC2 "Error codes", SSM and ECR API references, `DynamoDB`'s "Error
/// handling"). Three are throttles of `CreateSnapshot`. SSM returns `InvalidInstanceId` for an
/// instance whose agent is not connected at that moment; EC2 reports whether the instance is gone.
const TRANSIENT: [&str; 18] = [
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
    "PendingSnapshotLimitExceeded",
    "ProvisionedThroughputExceededException",
    "InvalidInstanceId",
];

/// Longest reason in an error, in characters: AWS repeats text that others wrote.
const MAX_REASON: usize = 1000;
/// Longest error code, in characters.
const MAX_CODE: usize = 100;

const DENIED: [&str; 4] =
    ["AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthFailure"];

/// Classifies a failed call as [`Error::AwsUnavailable`], [`Error::AwsDenied`] or
/// [`Error::AwsRejected`].
pub(crate) fn call_error<E>(
    operation: &'static str,
    resource: impl Into<String>,
    region: Option<&Region>,
    error: &SdkError<E>,
) -> Error
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let message = match (error.code(), error.message()) {
        (_, Some(message)) => message.to_owned(),
        (Some(_), None) => "AWS gives no reason".to_owned(),
        (None, None) => DisplayErrorContext(error).to_string(),
    };
    let call = failed_call(operation, resource, region, error.code(), &message);
    let status = error.raw_response().map_or(0, |response| response.status().as_u16());
    if error.as_service_error().is_none() || status >= 500 {
        return Error::AwsUnavailable(call);
    }
    classed(error.code().unwrap_or_default(), call)
}

/// Classifies a failed entry of a call that succeeded, by its error code.
pub(crate) fn entry_error(
    operation: &'static str,
    resource: impl Into<String>,
    region: Option<&Region>,
    code: &str,
    message: &str,
) -> Error {
    classed(code, failed_call(operation, resource, region, Some(code), message))
}

/// The error of an answer that lacks what the API reference promises.
pub fn incomplete_answer(
    operation: &'static str,
    resource: impl Into<String>,
    region: Option<&Region>,
    reason: impl AsRef<str>,
) -> Error {
    Error::AwsRejected(failed_call(operation, resource, region, None, reason.as_ref()))
}

fn classed(code: &str, call: AwsCall) -> Error {
    if DENIED.contains(&code) {
        Error::AwsDenied(call)
    } else if TRANSIENT.contains(&code) {
        Error::AwsUnavailable(call)
    } else {
        Error::AwsRejected(call)
    }
}

fn failed_call(
    operation: &'static str,
    resource: impl Into<String>,
    region: Option<&Region>,
    code: Option<&str>,
    message: &str,
) -> AwsCall {
    AwsCall {
        operation,
        resource: resource.into(),
        region: region.map_or_else(|| "an unknown region".to_owned(), ToString::to_string),
        answer: AwsAnswer {
            code: code.map(|code| one_line(code, MAX_CODE)),
            message: one_line(message, MAX_REASON),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_config::retry::RetryConfig;
    use aws_sdk_ssm::Client;
    use aws_smithy_mocks::{RuleMode, mock, mock_client};
    use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

    use super::parameters;

    async fn name_of(status: u16, code: &'static str) -> &'static str {
        let rule = mock!(Client::get_parameter).then_http_response(move || {
            let body = format!(r#"{{"__type":"{code}","message":"planted"}}"#);
            HttpResponse::new(status.try_into().unwrap(), body.into())
        });
        let client = mock_client!(aws_sdk_ssm, RuleMode::MatchAny, [&rule], |config| {
            config.retry_config(RetryConfig::disabled())
        });
        parameters::get(&client, "/p").await.unwrap_err().name()
    }

    #[tokio::test]
    async fn an_answer_gets_the_right_retry_class() {
        assert_eq!(name_of(400, "ThrottlingException").await, "AwsUnavailable");
        assert_eq!(name_of(500, "InternalServerError").await, "AwsUnavailable");
        assert_eq!(name_of(400, "PendingSnapshotLimitExceeded").await, "AwsUnavailable");
        assert_eq!(name_of(400, "ProvisionedThroughputExceededException").await, "AwsUnavailable");
        assert_eq!(name_of(400, "InvalidInstanceId").await, "AwsUnavailable");
        assert_eq!(name_of(503, "").await, "AwsUnavailable");
        assert_eq!(name_of(400, "AccessDeniedException").await, "AwsDenied");
        assert_eq!(name_of(400, "ValidationException").await, "AwsRejected");
    }

    #[tokio::test]
    async fn the_message_names_call_resource_and_reason() {
        let rule = mock!(Client::get_parameter).then_http_response(|| {
            let body = r#"{"__type":"AccessDeniedException","message":"no"}"#;
            HttpResponse::new(400.try_into().unwrap(), body.into())
        });
        let client = mock_client!(aws_sdk_ssm, RuleMode::MatchAny, [&rule]);
        let message = parameters::get(&client, "/p").await.unwrap_err().chain();
        assert!(message.contains("ssm:GetParameter of parameter /p in "), "{message}");
        assert!(message.contains("AccessDeniedException: no"), "{message}");
    }

    #[tokio::test]
    async fn a_message_that_repeats_hostile_text_stays_one_line() {
        let rule = mock!(Client::get_parameter).then_http_response(|| {
            let text = "a\\nERROR\\u202e\\u2028".to_owned() + &"b".repeat(10_000);
            let body = format!(r#"{{"__type":"ValidationException","message":"{text}"}}"#);
            HttpResponse::new(400.try_into().unwrap(), body.into())
        });
        let client = mock_client!(aws_sdk_ssm, RuleMode::MatchAny, [&rule]);
        let message = parameters::get(&client, "/p").await.unwrap_err().chain();
        assert!(message.contains("ValidationException: aERRORbb"), "{message}");
        frontload_domain::testing::assert_sentence(&message);
    }

    #[tokio::test]
    async fn a_call_that_is_throttled_once_succeeds() {
        let output = || {
            let parameter = aws_sdk_ssm::types::Parameter::builder().value("v").version(1).build();
            aws_sdk_ssm::operation::get_parameter::GetParameterOutput::builder()
                .parameter(parameter)
                .build()
        };
        let throttled = r#"{"__type":"ThrottlingException"}"#.to_owned();
        let rule = mock!(Client::get_parameter)
            .sequence()
            .http_status(400, Some(throttled))
            .output(output)
            .build();
        let at_once = RetryConfig::standard().with_initial_backoff(Duration::from_millis(1));
        let client = mock_client!(aws_sdk_ssm, RuleMode::Sequential, [&rule], |config| {
            config.retry_config(at_once.clone())
        });
        assert_eq!(parameters::get(&client, "/p").await.unwrap().unwrap().value, "v");
        assert_eq!(rule.num_calls(), 2);
    }
}
