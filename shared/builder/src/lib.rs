//! The builder, a temporary Bottlerocket instance: its user data, the script that pulls, and the
//! report that the script prints.

pub mod report;
pub mod script;
pub mod user_data;
