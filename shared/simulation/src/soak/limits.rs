//! Time limits and retries, read from the state machine definitions and the template.
//! `tests/statemachine/asl_rules.py` checks that every step has the same.

use std::sync::LazyLock;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::time::Millis;

const PIPELINE: &str = include_str!("../../../../statemachine/pipeline.asl.json");
const TEMPLATE: &str = include_str!("../../../../infra/template.yaml");

pub static LIMITS: LazyLock<Limits> = LazyLock::new(Limits::read);

#[derive(Debug)]
pub struct Limits {
    /// `Timeout` of a Lambda. It ends a call before the step's own limit does.
    pub lambda: Millis,
    pub retry: Retry,
    /// `MaxConcurrency` of `RunBuilds`.
    pub builds_at_once: usize,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Retry {
    interval_seconds: u64,
    backoff_rate: f64,
    max_attempts: u32,
    max_delay_seconds: u64,
}

impl Retry {
    /// The longest pause before each retry. With `FULL` jitter the pause is between zero and this.
    pub fn longest_pauses(&self) -> impl Iterator<Item = Millis> {
        let limit = Duration::from_secs(self.max_delay_seconds);
        let first = Duration::from_secs(self.interval_seconds);
        let pauses = std::iter::successors(Some(first), move |pause| {
            Some(pause.mul_f64(self.backoff_rate).min(limit))
        });
        let count = usize::try_from(self.max_attempts).unwrap();
        pauses.take(count).map(|pause| Millis::try_from(pause.as_millis()).unwrap())
    }
}

impl Limits {
    fn read() -> Self {
        let pipeline: Value = serde_json::from_str(PIPELINE).unwrap();
        let (plan, builds) = (&pipeline["States"]["PlanBuilds"], &pipeline["States"]["RunBuilds"]);
        let (_, below) = TEMPLATE.split_once("\n    Timeout: ").unwrap();
        let lambda_seconds: Millis = below.lines().next().unwrap().parse().unwrap();
        Self {
            lambda: lambda_seconds * 1000,
            retry: Retry::deserialize(&plan["Retry"][0]).unwrap(),
            builds_at_once: usize::deserialize(&builds["MaxConcurrency"]).unwrap(),
        }
    }
}
