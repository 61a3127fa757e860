//! Lambda's side of a function: the log, the way from payload to report, and the name of an error.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

use frontload_domain::Error;
use frontload_domain::names::one_line;
use lambda_runtime::Diagnostic;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tracing_subscriber::filter::LevelFilter;

/// The time, in epoch seconds.
pub fn epoch_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Logs one JSON object per line, for the log group. `RUST_LOG` sets the level. Directives for
/// single modules would bring in a regex engine, a tenth of the binary.
pub fn init_log() {
    let level = env::var("RUST_LOG").ok().and_then(|level| level.parse().ok());
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_ansi(false)
        .with_target(false)
        .with_current_span(false)
        .with_span_list(false)
        .with_max_level(level.unwrap_or(LevelFilter::INFO))
        .init();
}

/// Longest description of an invalid payload, in characters. It may repeat a field's name.
const MAX_PROBLEM: usize = 600;

/// Parses the payload, calls the step, and logs the result.
pub async fn answer<I, O>(
    step: &str,
    payload: Value,
    handle: impl AsyncFnOnce(I) -> Result<O, Error>,
) -> Result<Value, Diagnostic>
where
    I: DeserializeOwned,
    O: Serialize,
{
    let input = serde_path_to_error::deserialize(payload).map_err(|error| {
        let error = one_line(&error.to_string(), MAX_PROBLEM);
        Error::InvalidRequest(format!("the payload of {step}: {error}"))
    });
    let result = match input {
        Ok(input) => handle(input).await,
        Err(error) => Err(error),
    };
    finish(step, result.map(|output| json!(output)))
}

/// The one place where an error is logged and gets the name that the state machine
/// sees.
pub fn finish(step: &str, result: Result<Value, Error>) -> Result<Value, Diagnostic> {
    match &result {
        Ok(report) => tracing::info!(step, report = %report, "step reports"),
        Err(error) => {
            let (name, class) = (error.name(), error.class().as_str());
            tracing::error!(step, error = name, class, cause = error.chain(), "step failed");
        }
    }
    result.map_err(|error| diagnostic(&error))
}

/// Passes the error's name on. A boxed error would reach Step Functions as the name of its Rust
/// type.
fn diagnostic(error: &Error) -> Diagnostic {
    Diagnostic { error_type: error.name().to_owned(), error_message: error.chain() }
}
