//! Takes a lease when it is free, or when its holder's execution ended so long ago that none of its
//! calls can still run. [`next`] alone decides what an applicant does next, here and in the model
//! whose states the tests explore.

#[cfg(test)]
mod explore;
#[cfg(test)]
mod item;
#[cfg(test)]
mod model;

use frontload_shared::Result;
use frontload_shared::aws::executions::is_running;
use frontload_shared::aws::leases::{Applicant, LeaseKey, Leases, Standing, Taking};
use frontload_shared::domain::{BuildId, Debounce};
use frontload_shared::step::{Report, Waited};
use serde::Serialize;

/// Seconds between seeing that a holder's execution is over and taking its lease. This is longer
/// than any Lambda runs (`Timeout` in the template), so by then the holder's last calls and their
/// writes have ended.
pub(crate) const LAST_CALL_SECONDS: u32 = 90;

/// Seconds between two looks at a holder whose execution runs.
const LOOK_SECONDS: u32 = 30;

/// The result of trying to take a lease.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// The lease is ours.
    Ours(Standing),
    /// Try again later.
    Later(Later),
}

/// When to try again, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Later {
    /// Seconds until then.
    pub seconds: u32,
    /// Who holds the lease: an execution's ARN, or a phrase.
    pub holder: String,
    /// The token whose holder's execution was seen to be over. The next call takes the lease if the
    /// lease still has this token.
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

/// What an applicant knows when it decides.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// The state of the lease.
    pub standing: &'a Standing,
    /// The applicant's build.
    pub build: &'a BuildId,
    /// The [`Later::seen_token`] that its last call returned.
    pub seen_token: Option<u64>,
    /// Whether the holder's execution is over; `None` if not asked yet.
    pub holder_is_over: Option<bool>,
}

/// How a request waits for others. A rollback serves no request and has no burst.
#[derive(Clone, Copy, Debug)]
pub struct Burst<'a> {
    /// The request's debounce settings.
    pub debounce: &'a Debounce,
    /// Time since the request arrived.
    pub waited: Waited,
    /// The time, in epoch seconds.
    pub now: i64,
}

/// What an applicant does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// It ends. This newer applicant serves its request.
    Superseded(Applicant),
    /// It waits this many seconds for more pushes.
    Quiet(u32),
    /// It tries for the lease.
    Approach(Approach),
}

/// The next action towards the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approach {
    /// The applicant holds it already.
    Ours,
    /// Ask whether the execution of this holder is over.
    Ask(Applicant),
    /// Try again later.
    Later(Later),
    /// Take it: from the holder seen under this token, or as a free lease.
    Take(Option<u64>),
}

/// What an applicant does next. The newest request serves all earlier ones. It proceeds once no
/// other has arrived for the quiet time, or once the first of them has waited for the limit. The
/// holder of the lease skips these checks.
pub fn next(look: &Look<'_>, burst: Option<&Burst<'_>>) -> Next {
    let Look { standing, build, .. } = look;
    if let Some(burst) = burst.filter(|_| !standing.is_held_by(build)) {
        if let Some(newest) = standing.newest.as_ref().filter(|newest| newest.build != **build) {
            return Next::Superseded(newest.clone());
        }
        if let Some(seconds) = quiet_left(standing.waiting_since, burst) {
            return Next::Quiet(seconds);
        }
    }
    Next::Approach(approach(look))
}

/// Seconds to wait for more pushes, if any.
fn quiet_left(waiting_since: Option<i64>, burst: &Burst<'_>) -> Option<u32> {
    let Burst { debounce, waited, now } = burst;
    let quiet_left = i64::from(debounce.quiet_seconds)
        .saturating_sub(i64::try_from(waited.0).unwrap_or(i64::MAX));
    let first = waiting_since.unwrap_or(*now);
    let limit_left = first.saturating_add(debounce.limit_seconds.into()) - now;
    u32::try_from(quiet_left.min(limit_left)).ok().filter(|seconds| *seconds > 0)
}

/// The part of [`next`] that is not about requests.
fn approach(look: &Look<'_>) -> Approach {
    let Look { standing, build, seen_token, holder_is_over } = look;
    if standing.is_held_by(build) {
        return Approach::Ours;
    }
    let Some(holder) = &standing.holder else { return Approach::Take(None) };
    match holder_is_over {
        None => Approach::Ask(holder.clone()),
        Some(false) => Approach::Later(after(LOOK_SECONDS, holder.execution.clone())),
        Some(true) if *seen_token == Some(standing.token) => Approach::Take(*seen_token),
        Some(true) => Approach::Later(Later {
            seconds: LAST_CALL_SECONDS,
            holder: format!("the last calls of {}, which is over", holder.execution),
            seen_token: Some(standing.token),
        }),
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

fn after(seconds: u32, holder: String) -> Later {
    Later { seconds, holder, seen_token: None }
}
