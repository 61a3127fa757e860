//! The input of a pruning: our account's snapshots, everything that names a
//! snapshot, and what could not be read.

use std::fmt;

use crate::CacheName;
use crate::snapshot::{SnapshotId, State};

/// The inventory as it was read, in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Our account's snapshots in every region, each once. Snapshots that are not
    /// ours may be among them; they are kept.
    pub snapshots: Vec<FoundSnapshot>,
    /// Everything that names a snapshot, in every account and region.
    pub references: Vec<Reference>,
    /// What could not be read. If there is any, nothing is deleted: the unread part
    /// may name a snapshot or contain a replica that is named.
    pub unread: Vec<Unread>,
}

/// A snapshot with its tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundSnapshot {
    /// Its region, such as `eu-west-1`.
    pub region: String,
    /// Its id.
    pub id: SnapshotId,
    /// Seconds since the epoch; `None` if EC2 does not say. It is never 0 then, since
    /// 1970 would pass any minimum age.
    pub started: Option<i64>,
    /// Its state.
    pub state: State,
    /// The values of our tags on it.
    pub tags: Tags,
}

/// The values of our tags, unchecked: anyone who may tag can have set them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// `frontload:stack`
    pub stack: Option<String>,
    /// `frontload:cache`
    pub cache: Option<String>,
    /// `frontload:architecture`
    pub architecture: Option<String>,
    /// `frontload:build`
    pub build: Option<String>,
    /// `frontload:execution`
    pub execution: Option<String>,
    /// `frontload:source`, on replicas: the snapshot that they were copied from.
    pub source: Option<String>,
}

/// One place that names a snapshot. If several do, the first in the derived order is
/// given as the reason: parameters come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// What names it.
    pub by: NamedBy,
    /// The account that contains it, twelve digits.
    pub account: String,
    /// The region that contains it.
    pub region: String,
    /// The snapshot. Only the id counts, not the snapshot's own region.
    pub snapshot: SnapshotId,
}

/// What names a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NamedBy {
    /// A version of a publication's parameter.
    Parameter {
        /// Which version.
        version: ParameterVersion,
        /// The cache that it publishes.
        cache: CacheName,
        /// Its full name.
        parameter: String,
    },
    /// A version of a launch template.
    LaunchTemplate {
        /// Such as `lt-0abc`.
        id: String,
        /// Which version.
        version: TemplateVersion,
    },
    /// A block device of an AMI.
    Image {
        /// Such as `ami-0abc`.
        id: String,
    },
    /// Fast snapshot restore, unless it is disabled.
    FastRestore {
        /// The availability zone.
        zone: String,
        /// Its state.
        state: FastRestoreState,
    },
}

/// The versions of a parameter that protect snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ParameterVersion {
    /// Labelled `current`.
    Current,
    /// Labelled `previous`: a rollback publishes it.
    Previous,
    /// The newest, without a label: readers without a label get it while a
    /// publication is in progress.
    Newest,
}

/// The versions of a launch template that protect snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TemplateVersion {
    /// `$Default`
    Default,
    /// `$Latest`
    Latest,
}

/// The states of fast snapshot restore other than disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FastRestoreState {
    /// Requested.
    Enabling,
    /// Being prepared.
    Optimizing,
    /// In use, and billed by the hour.
    Enabled,
    /// No longer wanted, not yet disabled.
    Disabling,
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unread {
    /// The account, twelve digits.
    pub account: String,
    /// The region; `None` if the account cannot be read in any region.
    pub region: Option<String>,
    /// What could not be read.
    pub what: Unreadable,
    /// Why that failed.
    pub why: String,
}

/// The kinds of things that a pruning reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unreadable {
    /// All of the following: the account's role cannot be assumed.
    Everything,
    /// Snapshots; replicas may be among them.
    Snapshots,
    /// Parameters.
    Parameters,
    /// Launch templates and their versions.
    LaunchTemplates,
    /// AMIs.
    Images,
    /// Fast snapshot restores.
    FastRestores,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by, account, region, snapshot: _ } = self;
        write!(f, "{by} in account {account} in {region}")
    }
}

impl fmt::Display for NamedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parameter { version, parameter, cache: _ } => match version {
                ParameterVersion::Current => write!(f, "is the current value of {parameter}"),
                ParameterVersion::Previous => write!(f, "is the previous value of {parameter}"),
                ParameterVersion::Newest => {
                    write!(f, "is the newest value of {parameter}, which has no label yet,")
                }
            },
            Self::LaunchTemplate { id, version } => {
                let version = match version {
                    TemplateVersion::Default => "default",
                    TemplateVersion::Latest => "latest",
                };
                write!(f, "is named by the {version} version of launch template {id}")
            }
            Self::Image { id } => write!(f, "is named by AMI {id}"),
            Self::FastRestore { zone, state } => {
                let state = match state {
                    FastRestoreState::Enabling => "enabling",
                    FastRestoreState::Optimizing => "optimizing",
                    FastRestoreState::Enabled => "enabled",
                    FastRestoreState::Disabling => "disabling",
                };
                write!(f, "has fast snapshot restore in state {state} for {zone}")
            }
        }
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            Unreadable::Everything => "anything",
            Unreadable::Snapshots => "snapshots",
            Unreadable::Parameters => "parameters",
            Unreadable::LaunchTemplates => "launch templates",
            Unreadable::Images => "AMIs",
            Unreadable::FastRestores => "fast snapshot restores",
        };
        let region = self.region.as_deref().unwrap_or("any region");
        write!(f, "{what} of account {} in {region}: {}", self.account, self.why)
    }
}
