//! One file per Lambda function, and the table of their names.

pub mod claim;
pub mod clean_up;
mod end;
mod launch;
pub mod plan;
mod preflight;
mod prune;
pub mod publish;
mod pull;
pub mod reap;
mod replicate;
mod rollback;
mod snapshot;

use frontload_domain::{Access, Error};
use lambda_runtime::Diagnostic;
use serde_json::Value;

use crate::context::Context;
use crate::runtime::{answer, finish};

/// The role that a function assumes in consumers' accounts. The template and `infra/consumer.yaml`
/// let it assume no other.
#[must_use]
pub fn access(handler: &str) -> Access {
    let publishes = matches!(handler, "publish" | "prune" | "rollback" | "reap" | "clean_up");
    if publishes { Access::Publishes } else { Access::Reads }
}

/// Calls the function that the settings name.
///
/// # Errors
/// The step's error, under its name.
pub async fn serve(context: &Context, payload: Value) -> Result<Value, Diagnostic> {
    let step = context.settings.handler.as_str();
    match step {
        "plan" => answer(step, payload, |input| plan::handle(context, input)).await,
        "claim" => answer(step, payload, |input| claim::handle(context, input)).await,
        "preflight" => answer(step, payload, |input| preflight::handle(context, input)).await,
        "launch" => answer(step, payload, |input| launch::handle(context, input)).await,
        "pull" => answer(step, payload, |input| pull::handle(context, input)).await,
        "end" => answer(step, payload, |input| end::handle(context, input)).await,
        "snapshot" => answer(step, payload, |input| snapshot::handle(context, input)).await,
        "replicate" => answer(step, payload, |input| replicate::handle(context, input)).await,
        "publish" => answer(step, payload, |input| publish::handle(context, input)).await,
        "prune" => answer(step, payload, |input| prune::handle(context, input)).await,
        "rollback" => answer(step, payload, |input| rollback::handle(context, input)).await,
        "reap" => answer(step, payload, |input| reap::handle(context, input)).await,
        "clean_up" => answer(step, payload, |input| clean_up::handle(context, input)).await,
        _ => {
            let problem = format!("_HANDLER is {step:?}, which is not a function of Frontload");
            finish(step, Err(Error::InvalidRequest(problem)))
        }
    }
}
