//! How long the phases of a build take. The state machine measures them. The manifest keeps them
//! for people and for the next build's waits.

use serde::{Deserialize, Serialize};

/// When each phase of a build ended, in seconds since its execution began, as measured by the
/// state machine. `publish` is missing because it receives these values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the names are the steps'")]
pub struct PhaseEnds {
    pub claim: Seconds,
    pub preflight: Seconds,
    pub launch: Seconds,
    pub pull: Seconds,
    /// Absent in an execution that began before builders were shut down in order.
    #[serde(default)]
    pub end: Option<Seconds>,
    pub snapshot: Seconds,
    pub replicate: Seconds,
}

/// Whole seconds. `JSONata` has no integers, so a number may arrive as `3.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "f64")]
pub struct Seconds(pub u32);

impl From<f64> for Seconds {
    fn from(number: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        Self(number as u32)
    }
}

/// How long each phase of a build took, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durations {
    /// From the start of the execution: the quiet time, and the builds before this one.
    pub claim: u32,
    /// The check of regions, keys and consumers.
    pub preflight: u32,
    /// Until the builder's admin container answers.
    pub launch: u32,
    /// Until all images are on the volume, checked and flushed.
    pub pull: u32,
    /// Until the builder has shut down in order; 0 in manifests from before this phase existed.
    #[serde(default)]
    pub end: u32,
    /// Until the home region's snapshot is completed.
    pub snapshot: u32,
    /// Until the slowest region's replica is completed and shared, with fast snapshot restore
    /// where requested.
    pub replicate: u32,
    /// From the start of the execution until all replicas are ready to be published.
    pub total: u32,
}

impl Durations {
    /// The durations with the longest text.
    pub const LONGEST: Self = Self {
        claim: u32::MAX,
        preflight: u32::MAX,
        launch: u32::MAX,
        pull: u32::MAX,
        end: u32::MAX,
        snapshot: u32::MAX,
        replicate: u32::MAX,
        total: u32::MAX,
    };
}

impl From<PhaseEnds> for Durations {
    fn from(ends: PhaseEnds) -> Self {
        let between = |begin: Seconds, end: Seconds| end.0.saturating_sub(begin.0);
        let ended = ends.end.unwrap_or(ends.pull);
        Self {
            claim: ends.claim.0,
            preflight: between(ends.claim, ends.preflight),
            launch: between(ends.preflight, ends.launch),
            pull: between(ends.launch, ends.pull),
            end: between(ends.pull, ended),
            snapshot: between(ended, ends.snapshot),
            replicate: between(ends.snapshot, ends.replicate),
            total: ends.replicate.0,
        }
    }
}

/// Seconds that the waiting steps usually wait: the durations of the published build. Absent
/// where unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are the steps'")]
pub struct UsualSeconds {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub launch: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pull: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub snapshot: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replicate: Option<u32>,
}

impl From<Option<Durations>> for UsualSeconds {
    fn from(last: Option<Durations>) -> Self {
        Self {
            launch: last.map(|last| last.launch),
            pull: last.map(|last| last.pull),
            snapshot: last.map(|last| last.snapshot),
            replicate: last.map(|last| last.replicate),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_are_the_times_between_the_ends() {
        let ends = json!({"claim": 61, "preflight": 63.0, "launch": 110, "pull": 230,
            "end": 251, "snapshot": 411, "replicate": 652});
        let ends: PhaseEnds = serde_json::from_value(ends).unwrap();
        let durations = serde_json::to_value(Durations::from(ends)).unwrap();
        let expected = json!({"claim": 61, "preflight": 2, "launch": 47, "pull": 120,
            "end": 21, "snapshot": 160, "replicate": 241, "total": 652});
        assert_eq!(durations, expected);
    }

    #[test]
    fn an_execution_and_a_manifest_without_a_shutdown_phase_are_read() {
        let ends = json!({"claim": 1, "preflight": 2, "launch": 3, "pull": 10, "snapshot": 30,
            "replicate": 40});
        let ends: PhaseEnds = serde_json::from_value(ends).unwrap();
        let durations = Durations::from(ends);
        assert_eq!((durations.end, durations.snapshot), (0, 20));
        let mut written = serde_json::to_value(durations).unwrap();
        written.as_object_mut().unwrap().remove("end");
        assert_eq!(serde_json::from_value::<Durations>(written).unwrap(), durations);
    }

    #[test]
    fn usual_durations_come_from_the_last_build_only() {
        assert_eq!(serde_json::to_value(UsualSeconds::from(None)).unwrap(), json!({}));
        let last =
            Durations { launch: 45, pull: 12, snapshot: 3, replicate: 0, ..Durations::LONGEST };
        let usual = json!({"launch": 45, "pull": 12, "snapshot": 3, "replicate": 0});
        assert_eq!(serde_json::to_value(UsualSeconds::from(Some(last))).unwrap(), usual);
    }
}
