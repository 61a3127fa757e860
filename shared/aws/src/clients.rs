//! Creates all SDK clients: for our own account in any region, and for consumers'
//! accounts through the roles that `infra/consumer.yaml` creates there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ec2::config::Region;
use futures_util::{StreamExt, stream};
use tokio::sync::Mutex;

use super::leases::Leases;
use super::turns::Turns;
use super::{call_error, incomplete_answer};
use frontload_domain::Result;
use frontload_domain::{Access, AccountId, Consumer, Place, RegionName};

/// Most places called at a time: a cache may have a hundred.
const AT_ONCE: usize = 16;

/// Runs `act` for every item, several at a time. Results are in the items' order.
pub async fn at_once<'a, I, T, F: Future<Output = T>>(
    items: &'a [I],
    act: impl FnMut(&'a I) -> F,
) -> Vec<T> {
    let acts: Vec<F> = items.iter().map(act).collect();
    stream::iter(acts).buffered(AT_ONCE).collect().await
}

/// Creates clients. Caches consumers' credentials until shortly before they expire.
#[derive(Clone, Debug)]
pub struct Clients {
    sdk: SdkConfig,
    external_id: Option<String>,
    access: Access,
    assumed: Arc<Mutex<BTreeMap<AccountId, Credentials>>>,
    /// Cached Parameter Store clients: a publication calls each place many times, and a
    /// client keeps its connection.
    ssm: Arc<Mutex<BTreeMap<Place, aws_sdk_ssm::Client>>>,
}

/// Credentials that expire sooner are renewed. Longer than any Lambda runs.
const SPARE: Duration = Duration::from_mins(5);

impl Clients {
    /// Uses the function's own configuration. Consumers' roles require
    /// `external_id`; `access` selects the role to assume.
    #[must_use]
    pub fn new(sdk: SdkConfig, external_id: Option<String>, access: Access) -> Self {
        Self { sdk, external_id, access, assumed: Arc::default(), ssm: Arc::default() }
    }

    /// EC2 in our own account.
    #[must_use]
    pub fn own_ec2(&self, region: &RegionName) -> aws_sdk_ec2::Client {
        aws_sdk_ec2::Client::new(&self.regional(region))
    }

    /// Parameter Store in our own account.
    #[must_use]
    pub fn own_ssm(&self, region: &RegionName) -> aws_sdk_ssm::Client {
        aws_sdk_ssm::Client::new(&self.regional(region))
    }

    /// KMS in our own account.
    #[must_use]
    pub fn own_kms(&self, region: &RegionName) -> aws_sdk_kms::Client {
        aws_sdk_kms::Client::new(&self.regional(region))
    }

    /// The leases, in our own account.
    #[must_use]
    pub fn leases(&self, region: &RegionName, table: &str) -> Leases {
        Leases::new(aws_sdk_dynamodb::Client::new(&self.regional(region)), table.to_owned())
    }

    /// The reaper's turn, in our own account.
    #[must_use]
    pub fn turns(&self, region: &RegionName, table: &str) -> Turns {
        Turns::new(aws_sdk_dynamodb::Client::new(&self.regional(region)), table.to_owned())
    }

    /// Step Functions in our own account.
    #[must_use]
    pub fn own_sfn(&self, region: &RegionName) -> aws_sdk_sfn::Client {
        aws_sdk_sfn::Client::new(&self.regional(region))
    }

    /// ECR in our own account.
    #[must_use]
    pub fn own_ecr(&self, region: &RegionName) -> aws_sdk_ecr::Client {
        aws_sdk_ecr::Client::new(&self.regional(region))
    }

    /// EC2 at a place.
    ///
    /// # Errors
    /// Those of assuming a consumer's role.
    pub async fn ec2(&self, place: &Place) -> Result<aws_sdk_ec2::Client> {
        Ok(aws_sdk_ec2::Client::new(&self.config(place).await?))
    }

    /// Parameter Store at a place.
    ///
    /// # Errors
    /// Those of assuming a consumer's role.
    pub async fn ssm(&self, place: &Place) -> Result<aws_sdk_ssm::Client> {
        // Call this first: it drops cached clients whose credentials expire soon.
        let config = self.config(place).await?;
        let mut known = self.ssm.lock().await;
        let client = known.entry(place.clone());
        Ok(client.or_insert_with(|| aws_sdk_ssm::Client::new(&config)).clone())
    }

    /// `EventBridge` at a place.
    ///
    /// # Errors
    /// Those of assuming a consumer's role.
    pub async fn events(&self, place: &Place) -> Result<aws_sdk_eventbridge::Client> {
        Ok(aws_sdk_eventbridge::Client::new(&self.config(place).await?))
    }

    fn regional(&self, region: &RegionName) -> SdkConfig {
        self.sdk.to_builder().region(Region::new(region.to_string())).build()
    }

    async fn config(&self, place: &Place) -> Result<SdkConfig> {
        let regional = self.regional(&place.region);
        let Some(consumer) = &place.consumer else { return Ok(regional) };
        let credentials = self.credentials(consumer, &place.region).await?;
        let provider = SharedCredentialsProvider::new(credentials);
        Ok(regional.to_builder().credentials_provider(provider).build())
    }

    /// A consumer's credentials. The lock is held while they are fetched, so one
    /// invocation assumes the role only once.
    async fn credentials(&self, consumer: &Consumer, region: &RegionName) -> Result<Credentials> {
        let mut assumed = self.assumed.lock().await;
        let soon = SystemTime::now() + SPARE;
        if let Some(known) = assumed.get(&consumer.account)
            && known.expiry().is_none_or(|expiry| expiry > soon)
        {
            return Ok(known.clone());
        }
        let fetched = self.assume(&consumer.role_arn(self.access, region.partition())).await?;
        self.ssm.lock().await.retain(|place, _| place.consumer.as_ref() != Some(consumer));
        assumed.insert(consumer.account.clone(), fetched.clone());
        Ok(fetched)
    }

    async fn assume(&self, role: &str) -> Result<Credentials> {
        let operation = "sts:AssumeRole";
        let sts = aws_sdk_sts::Client::new(&self.sdk);
        let output = sts
            .assume_role()
            .role_arn(role)
            .role_session_name("frontload")
            .set_external_id(self.external_id.clone())
            .send()
            .await
            .map_err(|error| {
                call_error(operation, format!("role {role}"), self.sdk.region(), &error)
            })?;
        let Some(got) = output.credentials() else {
            let region = self.sdk.region();
            return Err(incomplete_answer(operation, role, region, "no credentials"));
        };
        Ok(Credentials::new(
            got.access_key_id(),
            got.secret_access_key(),
            Some(got.session_token().to_owned()),
            SystemTime::try_from(*got.expiration()).ok(),
            "consumer role",
        ))
    }
}
