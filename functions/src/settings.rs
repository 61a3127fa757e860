//! What every function shares: its settings from the environment, its log, and
//! the way from payload to answer.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

use frontload_shared::Error;
use frontload_shared::domain::names::one_line;
use frontload_shared::domain::{Home, ParameterPrefix};
use lambda_runtime::Diagnostic;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tracing_subscriber::filter::LevelFilter;

/// Settings that the template passes to a function.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which function this is.
    pub handler: String,
    /// The stack: scope of our tags.
    pub stack: String,
    /// Root of our parameters.
    pub prefix: ParameterPrefix,
    /// The table of leases.
    pub lease_table: String,
    /// Bus of our events.
    pub event_bus: String,
    /// Instance profile of builders; empty except in `launch`.
    pub builder_profile: String,
    /// Where Frontload runs.
    pub home: Home,
}

impl Settings {
    /// The external id that consumers' roles require; `None` when there are no consumers.
    #[must_use]
    pub fn external_id() -> Option<String> {
        env::var("FRONTLOAD_EXTERNAL_ID").ok().filter(|id| !id.is_empty())
    }

    /// Reads the environment.
    ///
    /// # Errors
    /// A sentence that names the variable which is missing or wrong.
    pub fn from_env() -> Result<Self, String> {
        let required = |name: &str| env::var(name).map_err(|_| format!("{name} is not set"));
        Ok(Self {
            handler: required("_HANDLER")?,
            stack: required("FRONTLOAD_STACK")?,
            prefix: required("FRONTLOAD_PREFIX")?
                .parse()
                .map_err(|problem| format!("FRONTLOAD_PREFIX: {problem}"))?,
            lease_table: required("FRONTLOAD_LEASE_TABLE")?,
            event_bus: required("FRONTLOAD_EVENT_BUS")?,
            builder_profile: env::var("FRONTLOAD_BUILDER_PROFILE").unwrap_or_default(),
            home: Home {
                account: required("FRONTLOAD_ACCOUNT")?.parse()?,
                region: required("AWS_REGION")?.parse()?,
            },
        })
    }
}

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
            tracing::error!(step, error = name, class, cause = %error, "step failed");
        }
    }
    result.map_err(Diagnostic::from)
}
