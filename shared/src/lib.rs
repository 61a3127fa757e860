//! The library under Frontload's Lambda functions.
//!
//! | module | owns |
//! |---|---|
//! | [`domain`] | the domain types: cache, build, image, manifest, parameter names |
//! | [`builder`] | the temporary instance: its user data, its script, the report that it prints |
//! | [`aws`] | every AWS call, one file per resource, SDK types converted to domain types |
//! | [`prune`] | the decision which snapshots to delete (S3) |
//! | [`publication`] | the parameters that a publication changes, and how to restore them |
//! | [`step`] | the report that each step gives to the state machine |
//! | [`error`] | the errors and their names, a contract with the state machines |

// `testing::hostile` uses this name, since another crate compiles that file in its tests, too.
#[cfg(test)]
extern crate self as frontload_shared;

pub mod aws;
pub mod builder;
pub mod domain;
pub mod error;
#[cfg(test)]
mod hostile;
pub mod prune;
pub mod publication;
pub mod step;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use error::{Error, Result};

/// Frontload's version: the workspace version in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
