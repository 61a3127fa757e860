//! What every handler is given besides its input.

use std::sync::Arc;

use frontload_aws::clients::Clients;

use crate::planning::documents::Documents;
use crate::settings::Settings;

/// One call's view of the outside. Copies share connections and remembered documents.
#[derive(Clone, Debug)]
pub struct Context {
    /// Creates the SDK clients, for every account and region.
    pub clients: Clients,
    /// The function's environment.
    pub settings: Settings,
    /// The cache documents that an earlier call of this process read.
    pub documents: Arc<Documents>,
    /// The time of the call, in epoch seconds. No step reads the clock.
    pub now: i64,
}

impl Context {
    /// EC2 in our own account and home region.
    #[must_use]
    pub fn home_ec2(&self) -> aws_sdk_ec2::Client {
        self.clients.own_ec2(&self.settings.home.region)
    }

    /// SSM in our own account and home region.
    #[must_use]
    pub fn home_ssm(&self) -> aws_sdk_ssm::Client {
        self.clients.own_ssm(&self.settings.home.region)
    }
}
