//! The model of the lease, whose every reachable state a test visits.

mod explore;
mod item;
mod model;
