//! The `bootstrap` that Lambda starts; see the library for its functions.

// One future contains those of every function.
#![recursion_limit = "256"]

use std::env;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::sync::Arc;

use frontload_aws::clients::Clients;
use frontload_aws::sdk;
use frontload_domain::VERSION;
use frontload_functions::context::Context;
use frontload_functions::planning::documents::Documents;
use frontload_functions::runtime::{epoch_seconds, init_log};
use frontload_functions::settings::Settings;
use frontload_functions::steps::{access, serve};
use lambda_runtime::{LambdaEvent, run, service_fn};
use serde_json::Value;

fn main() -> Result<(), lambda_runtime::Error> {
    if is_asked_for_version(env::args_os().nth(1).as_deref()) {
        writeln!(io::stdout(), "frontload {VERSION}")?;
        return Ok(());
    }
    serve_calls()
}

/// Lambda passes no argument. The runtime emulator passes the handler's name.
fn is_asked_for_version(argument: Option<&OsStr>) -> bool {
    argument.is_some_and(|argument| argument == "--version")
}

/// One runtime for all functions: with one runtime each, the binary would contain it thirteen
/// times.
#[tokio::main(flavor = "current_thread")]
async fn serve_calls() -> Result<(), lambda_runtime::Error> {
    init_log();
    let settings = Settings::from_env()?;
    let sdk = sdk::config(&settings.home.region);
    let clients = Clients::new(sdk, Settings::external_id(), access(&settings.handler));
    let shared = &Context { clients, settings, documents: Arc::new(Documents::default()), now: 0 };
    run(service_fn(async |event: LambdaEvent<Value>| {
        serve(&Context { now: epoch_seconds(), ..shared.clone() }, event.payload).await
    }))
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_printed_only_for_the_first_argument() {
        assert!(is_asked_for_version(Some(OsStr::new("--version"))));
        assert!(!is_asked_for_version(Some(OsStr::new("plan"))));
        assert!(!is_asked_for_version(None));
    }
}
