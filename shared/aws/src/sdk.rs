//! The SDK's configuration, from the environment variables that Lambda sets. The
//! SDK's own loader also reads profile files, asks the instance metadata service and
//! assumes roles by web identity. A Lambda has none of these, and their code would be
//! a thirtieth of the zip.

use std::env;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

use frontload_domain::RegionName;

/// The time limit of a call with its retries. A function's own limit (`Timeout` in the template)
/// always leaves time to report after it.
const OPERATION: Duration = Duration::from_secs(20);

/// The SDK's default limit for opening a connection.
const CONNECT: Duration = Duration::from_millis(3100);

/// The SDK configuration of every function: credentials and region of the Lambda.
#[must_use]
pub fn config(region: &RegionName) -> SdkConfig {
    let timeouts =
        TimeoutConfig::builder().operation_timeout(OPERATION).connect_timeout(CONNECT).build();
    let https = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let credentials = EnvironmentVariableCredentialsProvider::new();
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(region.to_string()))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .identity_cache(IdentityCache::lazy().build())
        .http_client(https)
        .retry_config(RetryConfig::standard())
        .timeout_config(timeouts)
        .use_fips(is_on("AWS_USE_FIPS_ENDPOINT"))
        .use_dual_stack(is_on("AWS_USE_DUALSTACK_ENDPOINT"))
        .service_config(Variables(variable))
        .build()
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

fn is_on(name: &str) -> bool {
    variable(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// A client's settings for its own service, such as its endpoint:
/// `AWS_ENDPOINT_URL_EC2` takes precedence over `AWS_ENDPOINT_URL`.
#[derive(Debug)]
struct Variables(fn(&str) -> Option<String>);

impl LoadServiceConfig for Variables {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().to_uppercase().replace(' ', "_");
        (self.0)(&format!("{}_{service}", key.env())).or_else(|| (self.0)(key.env()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint_of(service: &str) -> Option<String> {
        let variables = Variables(|name| match name {
            "AWS_ENDPOINT_URL" => Some("http://all".to_owned()),
            "AWS_ENDPOINT_URL_EC2" => Some("http://ec2".to_owned()),
            _ => None,
        });
        let key = ServiceConfigKey::builder()
            .service_id(service)
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build();
        variables.load_config(key.unwrap())
    }

    #[test]
    fn a_services_endpoint_comes_before_the_general_one() {
        assert_eq!(endpoint_of("EC2").as_deref(), Some("http://ec2"));
        assert_eq!(endpoint_of("EventBridge").as_deref(), Some("http://all"));
    }

    #[test]
    fn a_client_has_the_region_a_time_limit_and_retries() {
        let config = config(&"eu-central-1".parse().unwrap());
        let timeouts = config.timeout_config().unwrap();
        assert_eq!(config.region().unwrap().as_ref(), "eu-central-1");
        assert_eq!(timeouts.operation_timeout(), Some(OPERATION));
        assert_eq!(config.retry_config().unwrap().max_attempts(), 3);
    }
}
