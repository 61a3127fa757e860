//! A step's report to the state machine.
//!
//! A step is an *ensure* function: each call finds resources by our tags, makes one step of
//! progress and reports. The state machine waits and calls again.

use serde::{Deserialize, Serialize};

/// A step's report: `{"ready": true, "waitSeconds": 0, …facts}` or
/// `{"ready": false, "waitSeconds": 10, "progress": "…"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report<T> {
    /// Done, with facts for later steps.
    Ready(T),
    /// Not done; the step must be called again.
    Waiting {
        /// Seconds until the next call.
        wait_seconds: u32,
        /// The progress, as text for a person.
        progress: String,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReadyDocument<'a, T> {
    ready: bool,
    wait_seconds: u32,
    #[serde(flatten)]
    facts: &'a T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WaitingDocument<'a> {
    ready: bool,
    wait_seconds: u32,
    progress: &'a str,
}

impl<T: Serialize> Serialize for Report<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Ready(facts) => {
                ReadyDocument { ready: true, wait_seconds: 0, facts }.serialize(serializer)
            }
            Self::Waiting { wait_seconds, progress } => {
                WaitingDocument { ready: false, wait_seconds: *wait_seconds, progress }
                    .serialize(serializer)
            }
        }
    }
}

impl<T> Report<T> {
    /// A report that asks for another call after `wait_seconds`.
    #[must_use]
    pub fn wait(wait_seconds: u32, progress: impl Into<String>) -> Self {
        Self::Waiting { wait_seconds, progress: progress.into() }
    }
}

/// Seconds that a step's loop has waited so far. The state machine adds up the seconds that it was
/// asked to wait, so scaled time in tests does not change the sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Waited(pub u64);

/// Seconds until the second poll, and the shortest wait far from the usual time.
const SHORTEST_SECONDS: u64 = 2;
/// The longest wait in seconds of a loop that runs alone. A day of waiting then takes 850 polls of
/// 9 events each; an execution may have 25,000 events (Step Functions quotas).
const LONGEST_SECONDS: u64 = 120;

impl Waited {
    /// Seconds until the next poll of a loop that runs alone; see [`Waited::next_wait_among`].
    #[must_use]
    pub fn next_wait(self, usual: Option<u32>) -> u32 {
        self.next_wait_among(1, usual)
    }

    /// Seconds until the next poll of one of `loops` loops that run in parallel and share an
    /// execution's history. `usual` is how many seconds the same wait took the last time, if known.
    ///
    /// Around the usual time, polls are so frequent that each is late by at most a fortieth of it.
    /// Before, they are rare: success is unlikely, but a failure, or success in half the time, is
    /// still noticed. After it, or if `usual` is unknown, each poll comes after a further twentieth
    /// of the time waited, or later if many loops share the history.
    #[must_use]
    pub fn next_wait_among(self, loops: usize, usual: Option<u32>) -> u32 {
        let (waited, loops) = (self.0, u64::try_from(loops).unwrap_or(u64::MAX).max(1));
        let shortest = loops.div_ceil(10);
        let apart = SHORTEST_SECONDS.max(shortest);
        let longest = LONGEST_SECONDS.saturating_mul(loops);
        let usual = u64::from(usual.unwrap_or(0));
        let (begin, end) = (usual * 85 / 100, usual * 125 / 100);
        let wait = if waited < begin {
            let few = (waited / 4).max(usual / 25).clamp(apart, longest);
            few.min(begin - waited)
        } else if waited < end {
            (usual / 40).clamp(shortest, longest)
        } else {
            let percent = (loops.saturating_mul(4) / 5).clamp(5, 100);
            (waited.saturating_mul(percent) / 100).clamp(apart, longest)
        };
        u32::try_from(wait).unwrap_or(u32::MAX)
    }

    /// Whether the loop has waited at least `limit_seconds`.
    #[must_use]
    pub fn is_past(self, limit_seconds: u32) -> bool {
        self.0 >= u64::from(limit_seconds)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{json, to_value};

    use super::*;

    #[derive(Serialize)]
    struct Facts {
        number: u8,
    }

    #[test]
    fn both_reports_have_the_state_machines_format() {
        let ready = to_value(Report::Ready(Facts { number: 1 })).unwrap();
        assert_eq!(ready, json!({"ready": true, "waitSeconds": 0, "number": 1}));
        let waiting = to_value(Report::<Facts>::wait(10, "37 %")).unwrap();
        assert_eq!(waiting, json!({"ready": false, "waitSeconds": 10, "progress": "37 %"}));
    }

    const DAY: u64 = 86_400;

    /// The times of all polls within a day, in seconds since the first.
    fn polls(loops: usize, usual: Option<u32>) -> Vec<u64> {
        let next = |at: &u64| Some(at + u64::from(Waited(*at).next_wait_among(loops, usual)));
        std::iter::successors(Some(0), next).take_while(|at| *at <= DAY + 3600).collect()
    }

    /// Seconds from `done` until the next poll.
    fn late(polls: &[u64], done: u64) -> u64 {
        polls.iter().find(|at| **at >= done).unwrap() - done
    }

    fn usual_times() -> impl Strategy<Value = Option<u32>> {
        prop_oneof![Just(None), (0..600_u32).prop_map(Some), (0..100_000_u32).prop_map(Some)]
    }

    #[test]
    fn polls_are_frequent_at_first_and_slow_down() {
        let waits = [0, 60, 240, 1200, 90_000].map(|at| Waited(at).next_wait(None));
        assert_eq!(waits, [2, 3, 12, 60, 120]);
    }

    #[test]
    fn polls_are_rare_before_the_usual_time_frequent_around_it_and_normal_afterwards() {
        let waits = [0, 40, 160, 200, 204, 299, 300].map(|at| Waited(at).next_wait(Some(240)));
        assert_eq!(waits, [9, 10, 40, 4, 6, 6, 15]);
    }

    #[test]
    fn the_waits_of_a_build_end_soon_after_the_event() {
        // Seconds until an instance is online, images pulled, a snapshot and a copy completed.
        let physical = [45, 120, 180, 240];
        let percent_late = |known: bool| {
            let overshoot = |done: u32| {
                let usual = known.then_some(done);
                let around = u64::from(done) * 9 / 10..=u64::from(done) * 11 / 10;
                around.map(|done| late(&polls(1, usual), done)).max().unwrap()
            };
            physical.map(overshoot).iter().sum::<u64>() * 100
                / u64::from(physical.iter().sum::<u32>())
        };
        assert_eq!((percent_late(true), percent_late(false)), (1, 4));
    }

    #[test]
    fn a_known_time_saves_two_of_three_polls() {
        let before = |polls: &[u64]| polls.iter().filter(|at| **at < 240).count();
        assert_eq!([None, Some(240)].map(|usual| before(&polls(1, usual))), [61, 18]);
    }

    proptest! {
        #[test]
        fn no_poll_is_later_than_its_share(
            usual in usual_times(),
            done in prop_oneof![1..600_u64, 1..DAY],
        ) {
            let late = late(&polls(1, usual), done);
            let far = usual.map_or(0, |usual| (done / 4).max(u64::from(usual) / 25));
            prop_assert!(late < far.max(done / 20).clamp(SHORTEST_SECONDS, LONGEST_SECONDS));
        }

        #[test]
        fn near_the_usual_time_no_poll_is_later_than_a_fortieth(
            usual in prop_oneof![1..600_u32, 1..50_000_u32],
            percent in 86..125_u64,
        ) {
            let done = u64::from(usual) * percent / 100;
            prop_assert!(late(&polls(1, Some(usual)), done) <= u64::from(usual) / 40);
        }

        #[test]
        fn a_day_of_waiting_fits_into_an_executions_history(
            usual in usual_times(),
            loops in 1..=40_usize,
        ) {
            // Events of a poll: 3 of the Task, 2 around it, 2 of the Choice, 2 of the Wait.
            let events = polls(loops, usual).len() * loops * 9;
            prop_assert!(events < 24_000, "{events}");
        }
    }

    #[test]
    fn a_limit_is_past_after_the_full_wait() {
        assert!(!Waited(9).is_past(10));
        assert!(Waited(10).is_past(10));
    }
}
