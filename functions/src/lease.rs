//! Taking a lease: when it is free, or when the execution that holds it is over
//! for so long that none of its calls can still run.

use frontload_shared::Result;
use frontload_shared::aws::executions::is_running;
use frontload_shared::aws::leases::{Applicant, LeaseKey, Leases, Standing, Taking};
use frontload_shared::step::Report;
use serde::Serialize;

/// Seconds between seeing that a holder's execution is over and taking its lease:
/// longer than any Lambda runs (`Timeout` in the template, 60), so that a call of
/// the holder that is still on its way has ended, whatever it wrote.
const LAST_CALL_SECONDS: u32 = 90;

/// Seconds between two looks at a holder that runs.
const LOOK_SECONDS: u32 = 30;

/// What came of trying.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// The lease is ours.
    Ours(Standing),
    /// It is to be tried again.
    Later(Later),
}

/// When to try again, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct Later {
    /// Seconds until then.
    pub seconds: u32,
    /// Who holds the lease: an execution's ARN, or a sentence.
    pub holder: String,
    /// The token whose holder was seen to be over: the next call takes the lease if
    /// it still stands then.
    pub seen_token: Option<u64>,
}

/// A report that carries [`Later::seen_token`] to the next call.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Looked<T: Serialize> {
    #[serde(flatten)]
    report: Report<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen_token: Option<u64>,
}

impl<T: Serialize> From<Report<T>> for Looked<T> {
    fn from(report: Report<T>) -> Self {
        Self { report, seen_token: None }
    }
}

impl<T: Serialize> From<Later> for Looked<T> {
    fn from(later: Later) -> Self {
        let Later { seconds, holder, seen_token } = later;
        Self { report: Report::wait(seconds, format!("waiting for {holder}")), seen_token }
    }
}

/// Tries to take the lease, which stands as `standing` says.
pub async fn take_turn(
    leases: &Leases,
    sfn: &aws_sdk_sfn::Client,
    (key, me): (&LeaseKey, &Applicant),
    taking: Taking,
    standing: Standing,
    seen_token: Option<u64>,
) -> Result<Turn> {
    if standing.is_held_by(&me.build) {
        return Ok(Turn::Ours(standing));
    }
    let later = |seconds, holder: &str, seen_token| {
        Ok(Turn::Later(Later { seconds, holder: holder.to_owned(), seen_token }))
    };
    let mut over = None;
    if let Some(holder) = &standing.holder {
        if is_running(sfn, &holder.execution).await? {
            return later(LOOK_SECONDS, &holder.execution, None);
        }
        if seen_token != Some(standing.token) {
            let last_calls = format!("the last calls of {}, which is over", holder.execution);
            return later(LAST_CALL_SECONDS, &last_calls, Some(standing.token));
        }
        over = seen_token;
    }
    match leases.take(key, me, taking, over).await? {
        Some(standing) => Ok(Turn::Ours(standing)),
        None => later(1, "somebody who was faster", None),
    }
}
