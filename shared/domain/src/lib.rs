//! Frontload's types and decisions, without any I/O. A value of one of these types has been
//! checked: it contains nothing that a shell, a path or a log would misread.
//!
//! | module | owns |
//! |---|---|
//! | [`cache`] and what it names | the cache document |
//! | [`build`], [`ancestor`], [`volume`], [`pull_order`] | what a build makes, and how |
//! | [`pulled`], [`snapshot`], [`manifest`] | what became of it |
//! | [`lease`] | who builds next (S8) |
//! | [`prune`] | which snapshots to delete (S3) |
//! | [`step`], [`error`] | what each step reports to the state machine, a contract |

pub mod ancestor;
pub mod architecture;
pub mod build;
pub mod cache;
pub mod error;
#[cfg(test)]
mod example_documents;
pub mod image;
pub mod lease;
pub mod manifest;
pub mod names;
pub mod phases;
pub mod place;
pub mod prune;
pub mod pull_order;
pub mod pulled;
#[cfg(test)]
mod schema;
pub mod selection;
pub mod snapshot;
pub mod step;
pub mod tags;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod text_or_object;
pub mod timing;
pub mod volume;

pub use ancestor::{Ancestor, Incremental};
pub use architecture::Architecture;
pub use build::{Build, BuildRequest, Home, OsImage, PlannedImage};
pub use cache::{BuilderSettings, Cache, TimeLimits};
pub use error::{AwsAnswer, AwsCall, Error, Result};
pub use image::{Digest, EcrRegistry, EcrRepository, ImageReference, RepositoryName, Tag};
pub use manifest::{CachedImage, Manifest};
pub use names::{BuildId, CacheName, ParameterNames, ParameterPrefix};
pub use phases::{Durations, PhaseEnds, UsualSeconds};
pub use place::{Access, AccountId, Consumer, Place, RegionName, RegionSettings, Retain};
pub use selection::{EcrImage, Selection, TagRule, TaggedImage, WatchPattern, choose};
pub use timing::{Debounce, OsUpdates};
pub use volume::VolumeSize;

/// Frontload's version: the workspace version in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
