//! What `reap` and `clean_up` find by our tags.

pub mod leftovers;
