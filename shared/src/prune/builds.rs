//! Which builds are the newest of their architecture.

use std::collections::BTreeMap;

use super::world::FoundSnapshot;
use crate::aws::snapshots::State;

/// When each build was made, per architecture.
pub(super) struct Builds<'a>(BTreeMap<&'a str, BTreeMap<&'a str, i64>>);

impl<'a> Builds<'a> {
    /// The builds that have a completed snapshot. A build counts as new as the
    /// newest of these: the time can then only sink when snapshots are deleted,
    /// so that no deletion moves another build out of the newest.
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

    /// How many builds of the same architecture are newer than the one of
    /// `snapshot`; `None` if that has no completed snapshot. Of builds of the
    /// same second none is newer than the other.
    pub(super) fn newer_than(&self, snapshot: &FoundSnapshot) -> Option<usize> {
        let builds = self.0.get(snapshot.tags.architecture.as_deref()?)?;
        let made = builds.get(snapshot.tags.build.as_deref()?)?;
        Some(builds.values().filter(|other| *other > made).count())
    }
}
