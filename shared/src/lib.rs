//! The library under Frontload's Lambda functions.
//!
//! | module | owns |
//! |---|---|
//! | [`domain`] | the words of the design as types: cache, build, image, manifest, parameter names |
//! | [`builder`] | what runs on the temporary instance: user data, script, the report it prints |
//! | [`aws`] | every AWS call, one file per resource, SDK types turned into domain types |
//! | [`prune`] | the decision which snapshots are deleted (S3) |
//! | [`publication`] | which parameters a publication changes, and putting them back |
//! | [`step`] | the report that each step gives to the state machine |
//! | [`error`] | the errors and their names, a contract with the state machines |

// `testing::hostile` calls the library so, and is compiled in its users' tests, too.
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

/// The version of Frontload: that of the workspace in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
