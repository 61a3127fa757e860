//! The domain types. A value of one of these types has been checked: it contains nothing that a
//! shell, a path or a log would misread.

pub mod ancestor;
pub mod architecture;
pub mod build;
pub mod cache;
pub mod image;
pub mod manifest;
pub mod names;
pub mod phases;
pub mod place;
pub mod selection;
mod text_or_object;
pub mod timing;
pub mod volume;

pub use ancestor::{Ancestor, Incremental};
pub use architecture::Architecture;
pub use build::{Build, BuildRequest, Home, OsImage, PlannedImage};
pub use cache::{BuilderSettings, Cache, TimeLimits};
pub use image::{Digest, EcrRegistry, EcrRepository, ImageReference, RepositoryName, Tag};
pub use manifest::{CachedImage, Manifest};
pub use names::{BuildId, CacheName, ParameterNames, ParameterPrefix};
pub use phases::{Durations, PhaseEnds, UsualSeconds};
pub use place::{Access, AccountId, Consumer, RegionName, RegionSettings, Retain};
pub use selection::{EcrImage, Selection, TagRule, TaggedImage, WatchPattern, choose};
pub use timing::{Debounce, OsUpdates};
pub use volume::VolumeSize;
