//! The Lambda functions of Frontload. All share one `bootstrap`: linking the SDK is most of a
//! build's cost, and this way it happens once. `_HANDLER`, the function's `Handler` in the
//! template, selects the function.

mod claim;
mod clean_up;
mod end;
#[cfg(test)]
mod hostile;
mod launch;
mod lease;
mod plan;
mod preflight;
mod prune;
mod publish;
mod pull;
mod reap;
mod replicate;
mod rollback;
mod settings;
mod snapshot;
#[cfg(test)]
mod soak;
#[cfg(test)]
mod testing;
mod warnings;

use std::env;
use std::ffi::OsStr;
use std::io::{self, Write};

use frontload_shared::aws::clients::Clients;
use frontload_shared::aws::sdk;
use frontload_shared::domain::Access;
use frontload_shared::{Error, VERSION};
use lambda_runtime::{Diagnostic, LambdaEvent, run, service_fn};
use serde_json::Value;

use plan::documents::Documents;
use settings::{Settings, answer, epoch_seconds, finish};

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
    settings::init_log();
    let settings = &Settings::from_env()?;
    let access = access(&settings.handler);
    let clients =
        &Clients::new(sdk::config(&settings.home.region), Settings::external_id(), access);
    let documents = &Documents::default();
    run(service_fn(async |event: LambdaEvent<Value>| {
        serve(clients, settings, documents, event.payload).await
    }))
    .await
}

/// The role that a function assumes in consumers' accounts. The template and `infra/consumer.yaml`
/// let it assume no other.
fn access(handler: &str) -> Access {
    let publishes = matches!(handler, "publish" | "prune" | "rollback" | "reap" | "clean_up");
    if publishes { Access::Publishes } else { Access::Reads }
}

/// Calls the function that `settings` names. The SDK clients created here share the connections of
/// `clients`. `documents` is kept between calls.
async fn serve(
    clients: &Clients,
    settings: &Settings,
    documents: &Documents,
    payload: Value,
) -> Result<Value, Diagnostic> {
    let home = &settings.home.region;
    let now = epoch_seconds();
    let step = settings.handler.as_str();
    match step {
        "plan" => {
            answer(step, payload, |input| plan::handle(clients, settings, documents, now, input))
                .await
        }
        "claim" => {
            answer(step, payload, |input| claim::handle(clients, settings, now, input)).await
        }
        "preflight" => {
            answer(step, payload, |input| preflight::handle(clients, settings, input)).await
        }
        "launch" => {
            let (ec2, ssm) = (&clients.own_ec2(home), &clients.own_ssm(home));
            answer(step, payload, |input| launch::handle(ec2, ssm, settings, input)).await
        }
        "pull" => {
            let (ec2, ssm) = (&clients.own_ec2(home), &clients.own_ssm(home));
            answer(step, payload, |input| pull::handle(ec2, ssm, input)).await
        }
        "end" => {
            let ec2 = &clients.own_ec2(home);
            answer(step, payload, |input| end::handle(ec2, input)).await
        }
        "snapshot" => {
            let ec2 = &clients.own_ec2(home);
            answer(step, payload, |input| snapshot::handle(ec2, settings, input)).await
        }
        "replicate" => {
            answer(step, payload, |input| replicate::handle(clients, settings, input)).await
        }
        "publish" => answer(step, payload, |input| publish::handle(clients, settings, input)).await,
        "prune" => answer(step, payload, |input| prune::handle(clients, settings, input)).await,
        "rollback" => {
            answer(step, payload, |input| rollback::handle(clients, settings, now, input)).await
        }
        "reap" => answer(step, payload, |input| reap::handle(clients, settings, now, input)).await,
        "clean_up" => {
            answer(step, payload, |input| clean_up::handle(clients, settings, input)).await
        }
        _ => {
            let problem = format!("_HANDLER is {step:?}, which is no function of Frontload");
            finish(step, Err(Error::InvalidRequest(problem)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_argument_can_ask_for_the_version() {
        assert!(is_asked_for_version(Some(OsStr::new("--version"))));
        assert!(!is_asked_for_version(Some(OsStr::new("plan"))));
        assert!(!is_asked_for_version(None));
    }
}
