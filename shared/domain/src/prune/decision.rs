//! What a pruning decides for each snapshot, and the reason in plain words.

use std::fmt;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::inventory::{Reference, Unread};
use crate::CacheName;
use crate::snapshot::SnapshotId;
use crate::tags;

/// The decision for one snapshot. Serializes as
/// `{"region", "snapshotId", "decision": "keep" | "delete", "reason"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The snapshot's region.
    pub region: String,
    /// Its id.
    pub snapshot: SnapshotId,
    /// Keep or delete.
    pub verdict: Verdict,
}

/// Keep or delete, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The snapshot is kept.
    Keep(Keep),
    /// The snapshot is deleted.
    Delete(Delete),
}

/// Why a snapshot is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It carries no stack tag: it is not ours.
    Untagged,
    /// It belongs to another stack.
    OtherStack(String),
    /// It belongs to another cache or carries no cache tag.
    OtherCache(Option<String>),
    /// It is protected directly.
    Protected(Protection),
    /// Its source, a replica of it or another replica of its source is protected.
    Lineage {
        /// The protected snapshot.
        snapshot: SnapshotId,
        /// What protects it.
        protection: Protection,
    },
}

/// What protects a snapshot and its lineage. If several apply, the first in this
/// order is given as the reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protection {
    /// Somebody names it.
    Named(Reference),
    /// A running build may be making it.
    Pending,
    /// It is younger than the minimum age.
    Young {
        /// Its age in seconds; negative if it starts after now.
        age: i64,
        /// The minimum age in seconds.
        minimum: u64,
    },
    /// EC2 does not say when it was started.
    AgeUnknown,
    /// Its build is among the newest of its cache and architecture.
    AmongNewest {
        /// How many builds are retained.
        retain: usize,
        /// The architecture.
        architecture: String,
    },
    /// It carries the stack's and the cache's tag, but not this one.
    TagMissing(&'static str),
    /// Something that could not be read may name it.
    MaybeNamed(Unread),
}

/// Why a snapshot is deleted: nobody names it, it is old enough, and …
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delete {
    /// … enough newer builds are retained.
    Superseded {
        /// Builds of the same cache and architecture that are newer.
        newer: usize,
        /// Its age in seconds.
        age: i64,
    },
    /// … it is in state `error`.
    Failed {
        /// EC2's state message.
        message: String,
        /// Its age in seconds.
        age: i64,
    },
    /// … its cache is retired.
    Retired {
        /// The cache.
        cache: CacheName,
        /// Its age in seconds.
        age: i64,
    },
}

impl Decision {
    /// Whether the snapshot is deleted.
    #[must_use]
    pub fn deletes(&self) -> bool {
        match self.verdict {
            Verdict::Keep(_) => false,
            Verdict::Delete(_) => true,
        }
    }
}

impl Serialize for Decision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (decision, reason) = match &self.verdict {
            Verdict::Keep(reason) => ("keep", reason.to_string()),
            Verdict::Delete(reason) => ("delete", reason.to_string()),
        };
        let mut shown = serializer.serialize_struct("Decision", 4)?;
        shown.serialize_field("region", &self.region)?;
        shown.serialize_field("snapshotId", &self.snapshot)?;
        shown.serialize_field("decision", decision)?;
        shown.serialize_field("reason", &reason)?;
        shown.end()
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untagged => write!(f, "carries no tag {}", tags::STACK),
            // Debug form: a tag set by someone else may contain control characters.
            Self::OtherStack(stack) => write!(f, "belongs to stack {stack:?}"),
            Self::OtherCache(Some(cache)) => write!(f, "belongs to cache {cache:?}"),
            Self::OtherCache(None) => write!(f, "carries no tag {}", tags::CACHE),
            Self::Protected(protection) => protection.fmt(f),
            Self::Lineage { snapshot, protection } => {
                write!(f, "shares its lineage with {snapshot}, which {protection}")
            }
        }
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(reference) => reference.fmt(f),
            Self::Pending => f.write_str("is pending: a running build may be making it"),
            Self::Young { age, minimum } => {
                let minimum = Duration(i64::try_from(*minimum).unwrap_or(i64::MAX));
                write!(f, "is {} old, the minimum age is {minimum}", Duration(*age))
            }
            Self::AgeUnknown => f.write_str("has no start time, so that its age is unknown"),
            Self::AmongNewest { retain, architecture } => {
                write!(f, "belongs to one of the {retain} newest builds for {architecture:?}, ")?;
                f.write_str("which are retained")
            }
            Self::TagMissing(tag) => write!(f, "carries no tag {tag}"),
            Self::MaybeNamed(unread) => {
                write!(f, "may be named in a place that could not be read: {unread}")
            }
        }
    }
}

impl fmt::Display for Delete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superseded { newer, age } => {
                let builds = if *newer == 1 { "build is" } else { "builds are" };
                let age = Duration(*age);
                write!(f, "nobody names it, it is {age} old, and {newer} {builds} newer")
            }
            Self::Failed { message, age } => {
                let age = Duration(*age);
                write!(f, "nobody names it, it is {age} old, and in state error: {message}")
            }
            Self::Retired { cache, age } => {
                let age = Duration(*age);
                write!(f, "nobody else names it, it is {age} old, and cache {cache} is retired")
            }
        }
    }
}

/// Seconds, shown in the largest unit that yields at least two.
struct Duration(i64);

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(86_400, "days"), (3_600, "hours"), (60, "minutes")];
        match units.into_iter().find(|(seconds, _)| self.0 >= 2 * seconds) {
            Some((seconds, unit)) => write!(f, "{} {unit}", self.0 / seconds),
            None => write!(f, "{} seconds", self.0),
        }
    }
}
