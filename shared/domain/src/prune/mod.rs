//! Pruning: which snapshots of a cache are deleted, and why the others are kept.
//!
//! A pure decision: the input is the inventory as a value and the time, the output is
//! the decisions. It is safety rule S3: a snapshot is deleted only if it carries the
//! stack's and the cache's tags, is old enough, is not of the newest builds, and is
//! named by no parameter, launch template, AMI or fast snapshot restore anywhere. In
//! doubt, a snapshot is kept.
//!
//! | file | owns |
//! |---|---|
//! | `inventory` | the input |
//! | `decision` | the output and its wording |
//! | `lineage` | which snapshots are kept or deleted together |
//! | `builds` | which builds are the newest |

mod builds;
mod decision;
mod inventory;
mod lineage;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use decision::{Decision, Delete, Keep, Protection, Verdict};
pub use inventory::{
    FastRestoreState, FoundSnapshot, Inventory, NamedBy, ParameterVersion, Reference, Tags,
    TemplateVersion, Unread, Unreadable,
};

use crate::CacheName;
use crate::snapshot::{SnapshotId, State};
use crate::tags;
use builds::Builds;
use lineage::Lineages;

/// What to prune.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PruneRequest {
    /// The deployed stack's name. Snapshots of other stacks are kept.
    pub stack: String,
    /// The cache. Snapshots of other caches are kept.
    pub cache: CacheName,
    /// What to do with the cache.
    pub mode: Mode,
    /// Snapshots younger than this are kept, in seconds.
    pub minimum_age_seconds: u64,
}

/// What to do with a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Keep the newest builds.
    Prune {
        /// How many of each architecture.
        retain: usize,
    },
    /// Give the cache up. No build is retained. The cache's own parameters protect
    /// nothing, since the caller deletes them first. Parameters of other caches and
    /// everything else still protect.
    Retire,
}

/// Returns a decision for every snapshot of the inventory, ordered by region and id.
/// `now` is in seconds since the epoch.
#[must_use]
pub fn decide(inventory: &Inventory, request: &PruneRequest, now: i64) -> Vec<Decision> {
    let mut snapshots: Vec<&FoundSnapshot> = inventory.snapshots.iter().collect();
    snapshots.sort_by_key(|snapshot| (&snapshot.region, &snapshot.id));
    let ours: Vec<&FoundSnapshot> = snapshots
        .iter()
        .copied()
        .filter(|snapshot| whose_else(request, &snapshot.tags).is_none())
        .collect();
    let judge = Judge::new(inventory, request, now, &ours);
    let decision = |snapshot: &FoundSnapshot| Decision {
        region: snapshot.region.clone(),
        snapshot: snapshot.id.clone(),
        verdict: match whose_else(request, &snapshot.tags) {
            Some(reason) => Verdict::Keep(reason),
            None => judge.verdict(snapshot),
        },
    };
    snapshots.into_iter().map(decision).collect()
}

/// Why a snapshot does not belong to this stack and cache; `None` if it does.
fn whose_else(request: &PruneRequest, tags: &Tags) -> Option<Keep> {
    match (&tags.stack, &tags.cache) {
        (None, _) => Some(Keep::Untagged),
        (Some(stack), _) if *stack != request.stack => Some(Keep::OtherStack(stack.clone())),
        (_, Some(cache)) if cache == request.cache.as_str() => None,
        (_, cache) => Some(Keep::OtherCache(cache.clone())),
    }
}

/// The facts for judging the snapshots of the cache one by one.
struct Judge<'a> {
    request: &'a PruneRequest,
    now: i64,
    builds: Builds<'a>,
    lineages: Lineages<'a>,
    /// What protects an id directly.
    protections: BTreeMap<&'a SnapshotId, Protection>,
    /// What protects a lineage, and through which id.
    protected_lineages: BTreeMap<&'a str, (Protection, &'a SnapshotId)>,
}

impl<'a> Judge<'a> {
    fn new(
        inventory: &'a Inventory,
        request: &'a PruneRequest,
        now: i64,
        ours: &[&'a FoundSnapshot],
    ) -> Self {
        let builds = Builds::new(ours);
        let mut protections = BTreeMap::new();
        let named = inventory.references.iter().filter(|reference| counts(request, reference));
        for reference in named {
            keep_first(&mut protections, &reference.snapshot, Protection::Named(reference.clone()));
        }
        for snapshot in ours {
            for protection in own_protections(inventory, request, now, &builds, snapshot) {
                keep_first(&mut protections, &snapshot.id, protection);
            }
        }
        // A failed snapshot that is deleted joins no lineage. The decisions on the
        // others must be the same after its deletion.
        let goes = |snapshot: &FoundSnapshot| {
            matches!(snapshot.state, State::Error(_)) && !protections.contains_key(&snapshot.id)
        };
        let members: Vec<&FoundSnapshot> =
            ours.iter().copied().filter(|snapshot| !goes(snapshot)).collect();
        let lineages = Lineages::new(&members);
        let mut protected_lineages = BTreeMap::new();
        for (id, protection) in &protections {
            if let Some(lineage) = lineages.of(id.as_str()) {
                keep_first(&mut protected_lineages, lineage, (protection.clone(), *id));
            }
        }
        Self { request, now, builds, lineages, protections, protected_lineages }
    }

    fn verdict(&self, snapshot: &FoundSnapshot) -> Verdict {
        if let Some(protection) = self.protections.get(&snapshot.id) {
            return Verdict::Keep(Keep::Protected(protection.clone()));
        }
        let age = self.now.saturating_sub(snapshot.started.unwrap_or(self.now));
        if let State::Error(message) = &snapshot.state {
            return Verdict::Delete(Delete::Failed { message: message.clone(), age });
        }
        let lineage = self.lineages.of(snapshot.id.as_str());
        if let Some((protection, id)) = lineage.and_then(|l| self.protected_lineages.get(l)) {
            let (snapshot, protection) = ((*id).clone(), protection.clone());
            return Verdict::Keep(Keep::Lineage { snapshot, protection });
        }
        Verdict::Delete(match self.request.mode {
            Mode::Retire => Delete::Retired { cache: self.request.cache.clone(), age },
            Mode::Prune { .. } => {
                Delete::Superseded { newer: self.builds.newer_than(snapshot).unwrap_or(0), age }
            }
        })
    }
}

/// Whether a reference protects. All do, except the parameters of a cache that is
/// given up.
fn counts(request: &PruneRequest, reference: &Reference) -> bool {
    match (&reference.by, request.mode) {
        (NamedBy::Parameter { cache, .. }, Mode::Retire) => *cache != request.cache,
        (NamedBy::Parameter { .. }, Mode::Prune { .. })
        | (
            NamedBy::LaunchTemplate { .. } | NamedBy::Image { .. } | NamedBy::FastRestore { .. },
            Mode::Prune { .. } | Mode::Retire,
        ) => true,
    }
}

/// What protects a snapshot besides being named.
fn own_protections(
    inventory: &Inventory,
    request: &PruneRequest,
    now: i64,
    builds: &Builds<'_>,
    snapshot: &FoundSnapshot,
) -> impl Iterator<Item = Protection> {
    let pending = match snapshot.state {
        State::Pending(_) => Some(Protection::Pending),
        State::Completed | State::Error(_) => None,
    };
    let unread = inventory.unread.iter().min().cloned().map(Protection::MaybeNamed);
    [
        pending,
        youth(request.minimum_age_seconds, now, snapshot.started),
        newest(request.mode, builds, snapshot),
        missing_tag(&snapshot.tags).map(Protection::TagMissing),
        unread,
    ]
    .into_iter()
    .flatten()
}

fn youth(minimum: u64, now: i64, started: Option<i64>) -> Option<Protection> {
    let Some(started) = started else { return Some(Protection::AgeUnknown) };
    let age = now.saturating_sub(started);
    let old_enough = u64::try_from(age).is_ok_and(|age| age >= minimum);
    (!old_enough).then_some(Protection::Young { age, minimum })
}

/// Protects the usable snapshots of the newest builds. A failed snapshot is not usable.
fn newest(mode: Mode, builds: &Builds<'_>, snapshot: &FoundSnapshot) -> Option<Protection> {
    let retain = match mode {
        Mode::Prune { retain } => retain,
        Mode::Retire => 0,
    };
    let usable = match snapshot.state {
        State::Completed => true,
        State::Pending(_) | State::Error(_) => false,
    };
    let architecture = snapshot.tags.architecture.clone()?;
    let among = usable && builds.newer_than(snapshot)? < retain;
    among.then_some(Protection::AmongNewest { retain, architecture })
}

/// Without these tags, a snapshot cannot be counted among the newest.
fn missing_tag(tags: &Tags) -> Option<&'static str> {
    match (&tags.architecture, &tags.build) {
        (None, _) => Some(tags::ARCHITECTURE),
        (Some(_), None) => Some(tags::BUILD),
        (Some(_), Some(_)) => None,
    }
}

fn keep_first<K: Ord, V: Ord>(map: &mut BTreeMap<K, V>, key: K, value: V) {
    match map.get(&key) {
        Some(first) if *first <= value => {}
        Some(_) | None => drop(map.insert(key, value)),
    }
}
