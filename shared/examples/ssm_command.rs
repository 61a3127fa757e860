//! Prints what a builder is given for the build document on standard input, as
//! `{"command": …, "userData": …}`: for benchmarks and tests that run a builder
//! without the state machine.

use std::error::Error;
use std::io;

use frontload_shared::builder::{script, user_data};
use frontload_shared::domain::Build;
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let build: Build = serde_json::from_reader(io::stdin())?;
    let given = json!({
        "command": script::ssm_command(&build),
        "userData": user_data::encoded(&build.os),
    });
    serde_json::to_writer(io::stdout(), &given)?;
    Ok(())
}
