//! The Lambda functions of Frontload. All share one `bootstrap`: linking the SDK is most of a
//! build's cost, and this way it happens once. `_HANDLER`, the function's `Handler` in the
//! template, selects the function.
//!
//! | room | owns |
//! |---|---|
//! | [`steps`] | one file per function: its input, its report, its handler |
//! | [`planning`] | requests, the cache documents, and what they resolve to |
//! | [`publication`] | the parameters of a publication, and what follows it |
//! | [`pruning`] | a cache's places, and what names its snapshots there |
//! | [`cleanup`] | what builds left behind, by our tags |
//! | [`lease`] | the attempt to acquire a lease |
//!
//! Steps do not import steps.

#![allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    reason = "only the bootstrap and the simulation use this crate"
)]

mod cleanup;
pub mod context;
pub mod lease;
pub mod planning;
mod pruning;
pub mod publication;
pub mod runtime;
pub mod settings;
pub mod steps;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod warnings;
