//! An EBS snapshot, as a decision sees it.

use std::collections::BTreeMap;

use crate::names::{checked_string, quoted};
use crate::place::KeyArn;

checked_string!(
    /// An EBS snapshot id.
    SnapshotId,
    |text| match text.strip_prefix("snap-") {
        Some(rest) if (1..=32).contains(&rest.len())
            && rest.bytes().all(|b| b.is_ascii_alphanumeric()) => Ok(()),
        _ => Err(format!("{} is not a snapshot id", quoted(text))),
    }
);

/// A snapshot as EC2 describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id.
    pub id: SnapshotId,
    /// Its state.
    pub state: State,
    /// Seconds since the epoch; 0 if EC2 does not say.
    pub started: i64,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The KMS key, if it is encrypted.
    pub kms_key_id: Option<KeyArn>,
    /// Size in bytes of all blocks that were ever written to its volume, whichever
    /// snapshot of its chain stores them; `None` if EC2 does not say.
    pub full_bytes: Option<u64>,
    /// Its tags; empty for a snapshot of another account.
    pub tags: BTreeMap<String, String>,
}

impl Snapshot {
    /// The value of one of our tags.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags.get(key).map(String::as_str)
    }
}

/// The state of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Being created, with EC2's progress such as `37%`.
    Pending(String),
    /// Usable.
    Completed,
    /// Permanently unusable, with EC2's message.
    Error(String),
}
