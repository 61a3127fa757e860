//! What a step reports to the state machine.
//!
//! A step is an *ensure* function: it looks at the world by our tags, moves it
//! one step towards done, and reports. The state machine waits and calls again.

use serde::{Deserialize, Serialize};

/// A step's report: `{"ready": true, …facts}` or
/// `{"ready": false, "waitSeconds": 10, "progress": "…"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report<T> {
    /// Done, with facts for later steps.
    Ready(T),
    /// To be called again.
    Waiting {
        /// Seconds until then.
        wait_seconds: u32,
        /// How far it is, for a person.
        progress: String,
    },
}

#[derive(Serialize)]
struct ReadyDocument<'a, T> {
    ready: bool,
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
            Self::Ready(facts) => ReadyDocument { ready: true, facts }.serialize(serializer),
            Self::Waiting { wait_seconds, progress } => {
                WaitingDocument { ready: false, wait_seconds: *wait_seconds, progress }
                    .serialize(serializer)
            }
        }
    }
}

impl<T> Report<T> {
    /// A report that asks to be called again.
    #[must_use]
    pub fn wait(wait_seconds: u32, progress: impl Into<String>) -> Self {
        Self::Waiting { wait_seconds, progress: progress.into() }
    }
}

/// How long a step's loop has waited so far, and how long it may. The state
/// machine adds up the seconds that it was asked to wait, so that scaled time in
/// tests changes nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Waited(pub u64);

impl Waited {
    /// Seconds until the next look: quick at first, then a tenth of the time
    /// waited, at most a minute. A day of waiting then costs 1,500 looks, well
    /// below the 25,000 events of an execution (Step Functions quotas).
    #[must_use]
    pub fn next_wait(self) -> u32 {
        u32::try_from(self.0 / 10).unwrap_or(u32::MAX).clamp(5, 60)
    }

    /// Whether `limit_seconds` are over.
    #[must_use]
    pub fn is_past(self, limit_seconds: u32) -> bool {
        self.0 >= u64::from(limit_seconds)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;

    #[derive(Serialize)]
    struct Facts {
        number: u8,
    }

    #[test]
    fn both_reports_have_the_shape_that_the_state_machine_reads() {
        let ready = to_value(Report::Ready(Facts { number: 1 })).unwrap();
        assert_eq!(ready, json!({"ready": true, "number": 1}));
        let waiting = to_value(Report::<Facts>::wait(10, "37 %")).unwrap();
        assert_eq!(waiting, json!({"ready": false, "waitSeconds": 10, "progress": "37 %"}));
    }

    #[test]
    fn looks_are_quick_at_first_and_few_in_a_long_wait() {
        assert_eq!([0, 100, 300, 90_000].map(|s| Waited(s).next_wait()), [5, 10, 30, 60]);
        let mut waited = Waited(0);
        let looks = (0..).take_while(|_| {
            waited.0 += u64::from(waited.next_wait());
            waited.0 < 86_400
        });
        assert!(looks.count() < 1_500);
    }

    #[test]
    fn a_limit_is_past_when_it_was_waited_in_full() {
        assert!(!Waited(9).is_past(10));
        assert!(Waited(10).is_past(10));
    }
}
