//! Which builds are the newest of their architecture.

use std::collections::BTreeMap;

use super::inventory::FoundSnapshot;
use crate::snapshot::State;

/// For each architecture, when each build was made, in seconds since the epoch.
pub(super) struct Builds<'a>(BTreeMap<&'a str, BTreeMap<&'a str, i64>>);

impl<'a> Builds<'a> {
    /// The builds that have a completed snapshot. A build is as new as its newest
    /// completed snapshot. Deletions can then only make a build older, so no
    /// deletion moves another build out of the newest.
    pub(super) fn new(snapshots: &[&'a FoundSnapshot]) -> Self {
        let mut builds: BTreeMap<&str, BTreeMap<&str, i64>> = BTreeMap::new();
        for snapshot in snapshots.iter().filter(|snapshot| snapshot.state == State::Completed) {
            let tags = &snapshot.tags;
            let build = tags.architecture.as_deref().zip(tags.build.as_deref());
            if let Some(((architecture, build), started)) = build.zip(snapshot.started) {
                let made = builds.entry(architecture).or_default().entry(build).or_insert(started);
                *made = started.max(*made);
            }
        }
        Self(builds)
    }

    /// How many builds of the same architecture are newer than the build of
    /// `snapshot`; `None` if that build has no completed snapshot. Builds of the
    /// same second are equally new.
    pub(super) fn newer_than(&self, snapshot: &FoundSnapshot) -> Option<usize> {
        let builds = self.0.get(snapshot.tags.architecture.as_deref()?)?;
        let made = builds.get(snapshot.tags.build.as_deref()?)?;
        Some(builds.values().filter(|other| *other > made).count())
    }
}
