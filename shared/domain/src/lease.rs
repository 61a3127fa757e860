//! The lease of one cache and architecture, and what a contender does to get it. [`next`] alone
//! decides that, for the functions and for the model whose states the simulation explores.

use std::fmt;

use crate::step::Waited;
use crate::{Architecture, BuildId, BuildRequest, CacheName, Debounce};

/// What is leased: one cache for one architecture.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseKey {
    /// The cache.
    pub cache: CacheName,
    /// The architecture.
    pub architecture: Architecture,
}

impl LeaseKey {
    /// The key of one cache for one architecture.
    #[must_use]
    pub fn new(cache: &CacheName, architecture: Architecture) -> Self {
        Self { cache: cache.clone(), architecture }
    }
}

/// The item's key, such as `default/x86_64`.
impl fmt::Display for LeaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cache, self.architecture)
    }
}

/// A build or rollback, and the execution that runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// Its id.
    pub build: BuildId,
    /// ARN of its execution. When the execution is over, the lease is void.
    pub execution: String,
}

/// What a request demands beyond building what has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BuildOptions {
    /// Build even if nothing has changed.
    pub force: bool,
    /// Build everything on an empty volume, regardless of what is published.
    pub full: bool,
}

impl BuildOptions {
    /// The options of a request.
    #[must_use]
    pub fn of(request: &BuildRequest) -> Self {
        Self { force: request.force, full: request.full }
    }

    /// Both demands combined.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { force: self.force || other.force, full: self.full || other.full }
    }
}

/// State of the item of one cache and architecture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseState {
    /// The newest request.
    pub newest: Option<Contender>,
    /// Epoch seconds of the first request that no build has begun to serve.
    pub waiting_since: Option<i64>,
    /// Who holds the lease.
    pub holder: Option<Contender>,
    /// The options that the holder serves.
    pub options: BuildOptions,
    /// The fencing token of the last acquisition; 0 if the lease was never taken.
    pub token: u64,
}

impl LeaseState {
    /// Whether `build` holds the lease.
    #[must_use]
    pub fn is_held_by(&self, build: &BuildId) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.build == *build)
    }
}

/// Who may take an available lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquire {
    /// Only the newest request; its build serves all earlier ones.
    AsNewest,
    /// Anybody: a rollback serves no request.
    AsAnybody,
}

/// Seconds between seeing that a holder's execution is over and taking its lease. This is longer
/// than any Lambda runs (`Timeout` in the template), so by then the holder's last calls and their
/// writes have ended.
pub const LAST_CALL_SECONDS: u32 = 90;

/// Seconds between two polls of a holder whose execution runs.
const POLL_SECONDS: u32 = 30;

/// When to try again, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryLater {
    /// Seconds until then.
    pub seconds: u32,
    /// Who holds the lease: an execution's ARN, or a phrase.
    pub holder: String,
    /// The token whose holder's execution was seen to be over. The next call takes the lease if the
    /// lease still has this token.
    pub seen_token: Option<u64>,
}

/// What a contender knows when it decides.
#[derive(Clone, Copy, Debug)]
pub struct LeaseView<'a> {
    /// The state of the lease.
    pub state: &'a LeaseState,
    /// The contender's build.
    pub build: &'a BuildId,
    /// The [`RetryLater::seen_token`] that its last call returned.
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

/// What a contender does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextAction {
    /// It ends. This newer contender serves its request.
    Superseded(Contender),
    /// It waits this many seconds for more pushes.
    Quiet(u32),
    /// It tries for the lease.
    Acquisition(Acquisition),
}

/// The next action towards the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquisition {
    /// The contender holds it already.
    Ours,
    /// Ask whether the execution of this holder is over.
    Ask(Contender),
    /// Try again later.
    RetryLater(RetryLater),
    /// Take it: from the holder seen under this token, or as a free lease.
    Take(Option<u64>),
}

/// What a contender does next. The newest request serves all earlier ones. It proceeds once no
/// other has arrived for the quiet time, or once the first of them has waited for the limit. The
/// holder of the lease skips these checks.
#[must_use]
pub fn next(view: &LeaseView<'_>, burst: Option<&Burst<'_>>) -> NextAction {
    let LeaseView { state, build, .. } = view;
    if let Some(burst) = burst.filter(|_| !state.is_held_by(build)) {
        if let Some(newest) = state.newest.as_ref().filter(|newest| newest.build != **build) {
            return NextAction::Superseded(newest.clone());
        }
        if let Some(seconds) = quiet_left(state.waiting_since, burst) {
            return NextAction::Quiet(seconds);
        }
    }
    NextAction::Acquisition(approach(view))
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
#[must_use]
pub fn approach(view: &LeaseView<'_>) -> Acquisition {
    let LeaseView { state, build, seen_token, holder_is_over } = view;
    if state.is_held_by(build) {
        return Acquisition::Ours;
    }
    let Some(holder) = &state.holder else { return Acquisition::Take(None) };
    match holder_is_over {
        None => Acquisition::Ask(holder.clone()),
        Some(false) => Acquisition::RetryLater(after(POLL_SECONDS, holder.execution.clone())),
        Some(true) if *seen_token == Some(state.token) => Acquisition::Take(*seen_token),
        Some(true) => Acquisition::RetryLater(RetryLater {
            seconds: LAST_CALL_SECONDS,
            holder: format!("the last calls of {}, which has ended", holder.execution),
            seen_token: Some(state.token),
        }),
    }
}

/// A later try that saw no execution end.
#[must_use]
pub fn after(seconds: u32, holder: String) -> RetryLater {
    RetryLater { seconds, holder, seen_token: None }
}
