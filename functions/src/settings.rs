//! The settings that the template passes to every function.

use std::env;

use frontload_domain::{Home, ParameterPrefix};

/// Settings that the template passes to a function.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which function this is.
    pub handler: String,
    /// The stack: scope of our tags.
    pub stack: String,
    /// Root of our parameters.
    pub prefix: ParameterPrefix,
    /// The table of leases.
    pub lease_table: String,
    /// Bus of our events.
    pub event_bus: String,
    /// Instance profile of builders; empty except in `launch`.
    pub builder_profile: String,
    /// Where Frontload runs.
    pub home: Home,
}

impl Settings {
    /// The external id that consumers' roles require; `None` when there are no consumers.
    #[must_use]
    pub fn external_id() -> Option<String> {
        env::var("FRONTLOAD_EXTERNAL_ID").ok().filter(|id| !id.is_empty())
    }

    /// Reads the environment.
    ///
    /// # Errors
    /// A sentence that names the variable which is missing or wrong.
    pub fn from_env() -> Result<Self, String> {
        let required = |name: &str| env::var(name).map_err(|_| format!("{name} is not set"));
        Ok(Self {
            handler: required("_HANDLER")?,
            stack: required("FRONTLOAD_STACK")?,
            prefix: required("FRONTLOAD_PREFIX")?
                .parse()
                .map_err(|problem| format!("FRONTLOAD_PREFIX: {problem}"))?,
            lease_table: required("FRONTLOAD_LEASE_TABLE")?,
            event_bus: required("FRONTLOAD_EVENT_BUS")?,
            builder_profile: env::var("FRONTLOAD_BUILDER_PROFILE").unwrap_or_default(),
            home: Home {
                account: required("FRONTLOAD_ACCOUNT")?.parse()?,
                region: required("AWS_REGION")?.parse()?,
            },
        })
    }
}
