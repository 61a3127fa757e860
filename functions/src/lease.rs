//! Tries to take a lease that is free, or whose holder's execution ended so long ago that none of
//! its calls can still run.

use frontload_aws::executions::is_running;
use frontload_aws::leases::Leases;
use frontload_domain::Result;
use frontload_domain::lease::{
    Applicant, Approach, Later, LeaseKey, Look, Standing, Taking, after, approach,
};
use frontload_domain::step::Report;
use serde::Serialize;

/// The result of trying to take a lease.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// The lease is ours.
    Ours(Standing),
    /// Try again later.
    Later(Later),
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

/// Tries to take the lease, whose state is `standing`. `now` is in epoch seconds.
pub async fn take_turn(
    leases: &Leases,
    sfn: &aws_sdk_sfn::Client,
    (key, me): (&LeaseKey, &Applicant),
    taking: Taking,
    standing: Standing,
    seen_token: Option<u64>,
    now: i64,
) -> Result<Turn> {
    let mut look = Look { standing: &standing, build: &me.build, seen_token, holder_is_over: None };
    let over = loop {
        match approach(&look) {
            Approach::Ours => return Ok(Turn::Ours(standing)),
            Approach::Later(later) => return Ok(Turn::Later(later)),
            Approach::Take(over) => break over,
            Approach::Ask(holder) => {
                look.holder_is_over = Some(!is_running(sfn, &holder.execution).await?);
            }
        }
    };
    match leases.take(key, me, taking, over, now).await? {
        Some(standing) => Ok(Turn::Ours(standing)),
        None => Ok(Turn::Later(after(1, "somebody who was faster".to_owned()))),
    }
}
