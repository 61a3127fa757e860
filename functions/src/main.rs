//! The Lambda functions of Frontload: one `bootstrap` for all of them, since
//! linking the SDK is what a build mostly costs, and so it is done once.
//! `_HANDLER`, the function's `Handler` in the template, says which one this is.

mod claim;
mod clean_up;
mod launch;
mod lease;
mod plan;
mod preflight;
mod prune;
mod publish;
mod pull;
mod replicate;
mod rollback;
mod settings;
mod snapshot;
#[cfg(test)]
mod soak;
#[cfg(test)]
mod testing;

use frontload_shared::aws::clients::Clients;
use frontload_shared::aws::sdk_config;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};

use settings::{Settings, epoch_seconds};

/// Serves one function: parses the payload, calls the step, logs its outcome.
macro_rules! serve {
    ($name:literal, $step:expr) => {
        run(service_fn(async |event: LambdaEvent<serde_json::Value>| {
            settings::answer($name, event.payload, $step).await
        }))
        .await
    };
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    settings::init_log();
    let settings = &Settings::from_env()?;
    let clients = &Clients::new(sdk_config().await, Settings::external_id());
    let ec2 = || clients.own_ec2(&settings.home.region);
    let ssm = || clients.own_ssm(&settings.home.region);
    match settings.handler.as_str() {
        "plan" => {
            serve!("plan", |input| plan::handle(clients, settings, epoch_seconds(), input))
        }
        "claim" => {
            serve!("claim", |input| claim::handle(clients, settings, epoch_seconds(), input))
        }
        "preflight" => {
            serve!("preflight", |input| preflight::handle(clients, settings, input))
        }
        "launch" => {
            let (ec2, ssm) = (&ec2(), &ssm());
            serve!("launch", |input| launch::handle(ec2, ssm, settings, input))
        }
        "pull" => {
            let (ec2, ssm) = (&ec2(), &ssm());
            serve!("pull", |input| pull::handle(ec2, ssm, settings, input))
        }
        "snapshot" => {
            let ec2 = &ec2();
            serve!("snapshot", |input| snapshot::handle(ec2, settings, input))
        }
        "replicate" => {
            serve!("replicate", |input| replicate::handle(clients, settings, input))
        }
        "publish" => serve!("publish", |input| publish::handle(clients, settings, input)),
        "prune" => serve!("prune", |input| prune::handle(clients, settings, input)),
        "rollback" => serve!("rollback", |input| rollback::handle(clients, settings, input)),
        "clean_up" => serve!("clean_up", |input| clean_up::handle(clients, settings, input)),
        other => Err(format!("_HANDLER is {other:?}, which is no function of Frontload").into()),
    }
}
