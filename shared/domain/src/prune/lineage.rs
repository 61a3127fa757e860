//! Lineages: a snapshot and its copies in other regions, which are kept or deleted
//! together.

use std::collections::BTreeMap;

use super::inventory::FoundSnapshot;

/// Maps each id to its lineage, identified by the smallest id in it.
pub(super) struct Lineages<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Lineages<'a> {
    /// Groups `snapshots` and their sources into lineages. A source that is not in
    /// `snapshots` still joins its replicas. A chain or circle of sources is one
    /// lineage.
    pub(super) fn new(snapshots: &[&'a FoundSnapshot]) -> Self {
        let links: Vec<[&str; 2]> = snapshots
            .iter()
            .map(|snapshot| {
                let id = snapshot.id.as_str();
                [id, snapshot.tags.source.as_deref().unwrap_or(id)]
            })
            .collect();
        let mut of: BTreeMap<&str, &str> =
            links.as_flattened().iter().map(|id| (*id, *id)).collect();
        loop {
            let mut changed = false;
            for link in &links {
                let smallest = link.map(|id| of[id]).into_iter().min().unwrap_or_default();
                for id in link {
                    changed |= of.insert(id, smallest) != Some(smallest);
                }
            }
            if !changed {
                return Self(of);
            }
        }
    }

    /// The lineage of an id, if it is in one.
    pub(super) fn of(&self, id: &str) -> Option<&'a str> {
        self.0.get(id).copied()
    }
}
