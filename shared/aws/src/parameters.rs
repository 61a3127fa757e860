//! Parameter Store: cache documents, publications, public parameters.

use aws_config::retry::RetryConfig;
use aws_sdk_ssm::Client;
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ssm::types::{ParameterTier, ParameterType};

use super::{call_error, incomplete_answer};
use frontload_domain::{Error, Result};

/// A version of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its text.
    pub value: String,
    /// Counts up from 1 with each write.
    pub version: i64,
}

/// The label on the version that is published.
pub const CURRENT: &str = "current";
/// The label on the version published before it.
pub const PREVIOUS: &str = "previous";
/// The label on the version that was [`PREVIOUS`] before the current one was published. Undoing
/// a publication moves [`PREVIOUS`] back to it.
pub const SUPERSEDED: &str = "superseded";

const ABSENT: [&str; 2] = ["ParameterNotFound", "ParameterVersionNotFound"];

/// How often a call is repeated that was throttled up to the SDK's last attempt. The pauses
/// double: 15 s in all.
const ROUNDS: u32 = 4;

/// Whether a call failed only because it was throttled.
#[must_use]
pub fn is_throttled(error: &Error) -> bool {
    matches!(error, Error::AwsUnavailable(call) if call.answer.code.as_deref() == Some("ThrottlingException"))
}

type Answer<T, E> = std::result::Result<T, SdkError<E>>;

/// Repeats a throttled call. Parameter Store takes 3 writes and 40 reads a second from all
/// callers in an account and region ("AWS Systems Manager endpoints and quotas"). The state
/// machine retries other failures. A client without retries does not wait.
#[expect(
    clippy::disallowed_methods,
    reason = "paid for some seconds: what the state machine waits for is published in part meanwhile"
)]
async fn wait_out_throttling<T, E, F>(ssm: &Client, send: impl Fn() -> F) -> Answer<T, E>
where
    E: ProvideErrorMetadata,
    F: Future<Output = Answer<T, E>>,
{
    let retries = ssm.config().retry_config().filter(|retries| retries.has_retry());
    let Some(mut pause) = retries.map(RetryConfig::initial_backoff) else { return send().await };
    for _ in 0..ROUNDS {
        match send().await {
            Err(error) if error.code() == Some("ThrottlingException") => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            answer => return answer,
        }
    }
    send().await
}

/// The newest version, or `None`.
///
/// # Errors
/// Those of [`super::call_error`].
pub async fn get(ssm: &Client, name: &str) -> Result<Option<Parameter>> {
    let operation = "ssm:GetParameter";
    let region = ssm.config().region();
    let resource = || format!("parameter {name}");
    match wait_out_throttling(ssm, || ssm.get_parameter().name(name).send()).await {
        Ok(output) => {
            let parameter = output.parameter();
            let value = parameter.and_then(|p| p.value());
            let Some((parameter, value)) = parameter.zip(value) else {
                return Err(incomplete_answer(operation, resource(), region, "it has no value"));
            };
            Ok(Some(Parameter { value: value.to_owned(), version: parameter.version() }))
        }
        Err(error) if error.code().is_some_and(|code| ABSENT.contains(&code)) => Ok(None),
        Err(error) => Err(call_error(operation, resource(), region, &error)),
    }
}

/// The version that carries `label`, or `None`.
///
/// # Errors
/// Those of [`super::call_error`].
pub async fn get_labelled(ssm: &Client, name: &str, label: &str) -> Result<Option<Parameter>> {
    get(ssm, &format!("{name}:{label}")).await
}

/// Every parameter directly under `path`: pairs of full name and value.
///
/// # Errors
/// Those of [`super::call_error`].
pub async fn list(ssm: &Client, path: &str) -> Result<Vec<(String, String)>> {
    let region = ssm.config().region();
    let mut pages = ssm.get_parameters_by_path().path(path).into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| {
            call_error("ssm:GetParametersByPath", format!("path {path}"), region, &error)
        })?;
        for parameter in page.parameters() {
            if let (Some(name), Some(value)) = (parameter.name(), parameter.value()) {
                found.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    Ok(found)
}

/// Writes a new version and returns its number. Intelligent tiering: a manifest
/// above 4 KB becomes an advanced parameter, at most 8 KB (Parameter Store,
/// "Parameter tiers").
///
/// # Errors
/// Those of [`super::call_error`].
pub async fn put(ssm: &Client, name: &str, value: &str) -> Result<i64> {
    let write = || {
        ssm.put_parameter()
            .name(name)
            .value(value)
            .r#type(ParameterType::String)
            .tier(ParameterTier::IntelligentTiering)
            .overwrite(true)
            .send()
    };
    let output = wait_out_throttling(ssm, write).await.map_err(|error| {
        call_error("ssm:PutParameter", format!("parameter {name}"), ssm.config().region(), &error)
    })?;
    Ok(output.version())
}

/// Deletes a parameter; one that is gone already is no error.
///
/// # Errors
/// Those of [`super::call_error`].
pub async fn delete(ssm: &Client, name: &str) -> Result<()> {
    match wait_out_throttling(ssm, || ssm.delete_parameter().name(name).send()).await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some("ParameterNotFound") => Ok(()),
        Err(error) => Err(call_error(
            "ssm:DeleteParameter",
            format!("parameter {name}"),
            ssm.config().region(),
            &error,
        )),
    }
}

/// Moves `label` to one version of a parameter.
///
/// # Errors
/// Those of [`super::call_error`].
pub async fn label(ssm: &Client, name: &str, version: i64, label: &str) -> Result<()> {
    let write = || {
        let named = ssm.label_parameter_version().name(name).parameter_version(version);
        named.labels(label).send()
    };
    wait_out_throttling(ssm, write).await.map(drop).map_err(|error| {
        call_error(
            "ssm:LabelParameterVersion",
            format!("parameter {name} version {version}"),
            ssm.config().region(),
            &error,
        )
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use aws_smithy_mocks::{RuleMode, mock, mock_client};
    use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

    use super::*;

    /// How often a write is sent if each attempt gets this answer.
    async fn calls(status: u16, code: &'static str, retries: RetryConfig) -> u32 {
        let made = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&made);
        let rule = mock!(Client::put_parameter).then_http_response(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            let body = format!(r#"{{"__type":"{code}"}}"#);
            HttpResponse::new(status.try_into().unwrap(), body.into())
        });
        let retries = retries.with_initial_backoff(Duration::from_millis(1));
        let ssm = mock_client!(aws_sdk_ssm, RuleMode::MatchAny, [&rule], |config| {
            config.retry_config(retries.clone())
        });
        put(&ssm, "/p", "v").await.unwrap_err();
        made.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn only_a_throttled_call_waits() {
        let usual = RetryConfig::standard;
        assert_eq!(calls(400, "ThrottlingException", usual()).await, 3 * (ROUNDS + 1));
        assert_eq!(calls(500, "InternalServerError", usual()).await, 3);
        assert_eq!(calls(400, "AccessDeniedException", usual()).await, 1);
        assert_eq!(calls(400, "ThrottlingException", RetryConfig::disabled()).await, 1);
    }
}
