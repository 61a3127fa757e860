//! Tries to take a lease that is free, or whose holder's execution ended so long ago that none of
//! its calls can still run.

use frontload_aws::executions::is_running;
use frontload_aws::leases::Leases;
use frontload_domain::Result;
use frontload_domain::lease::{
    Acquire, Acquisition, Contender, LeaseKey, LeaseState, LeaseView, RetryLater, after, approach,
};
use frontload_domain::step::Report;
use serde::Serialize;

/// The result of trying to take a lease.
#[derive(Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The lease is ours.
    Acquired(LeaseState),
    /// Try again later.
    RetryLater(RetryLater),
}

/// A report that carries [`RetryLater::seen_token`] to the next call.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseReport<T: Serialize> {
    #[serde(flatten)]
    report: Report<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen_token: Option<u64>,
}

impl<T: Serialize> From<Report<T>> for LeaseReport<T> {
    fn from(report: Report<T>) -> Self {
        Self { report, seen_token: None }
    }
}

impl<T: Serialize> From<RetryLater> for LeaseReport<T> {
    fn from(later: RetryLater) -> Self {
        let RetryLater { seconds, holder, seen_token } = later;
        Self { report: Report::wait(seconds, format!("waiting for {holder}")), seen_token }
    }
}

/// Tries to take the lease, whose state is `state`. `now` is in epoch seconds.
pub async fn try_acquire(
    leases: &Leases,
    sfn: &aws_sdk_sfn::Client,
    (key, me): (&LeaseKey, &Contender),
    acquire: Acquire,
    state: LeaseState,
    seen_token: Option<u64>,
    now: i64,
) -> Result<Attempt> {
    let mut view = LeaseView { state: &state, build: &me.build, seen_token, holder_is_over: None };
    let over = loop {
        match approach(&view) {
            Acquisition::Ours => return Ok(Attempt::Acquired(state)),
            Acquisition::RetryLater(later) => return Ok(Attempt::RetryLater(later)),
            Acquisition::Take(over) => break over,
            Acquisition::Ask(holder) => {
                view.holder_is_over = Some(!is_running(sfn, &holder.execution).await?);
            }
        }
    };
    match leases.take(key, me, acquire, over, now).await? {
        Some(state) => Ok(Attempt::Acquired(state)),
        None => Ok(Attempt::RetryLater(after(1, "another execution, which was faster".to_owned()))),
    }
}
