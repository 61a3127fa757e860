//! A fake AWS at the HTTP level for tests: Parameter Store in many accounts and regions, STS for
//! access to them, and the lease table. The SDK's real clients call it.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    missing_docs,
    reason = "only tests use it"
)]

mod registry;
mod snapshots;
mod table;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ssm::config::HttpClient;
use aws_smithy_http_client::test_util::infallible_client_fn;
use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};

use crate::clients::Clients;
use frontload_domain::Access;

/// Account of [`FakeCloud::clients`].
pub const OWN: &str = "123456789012";

/// The state of the fake: every parameter's versions and labels, by account and region.
#[derive(Clone, Debug, Default)]
pub struct FakeState {
    versions: BTreeMap<Name, Vec<String>>,
    labels: BTreeMap<(Name, String), i64>,
    /// Number of changing calls so far.
    pub changes: usize,
    /// The number of the changing call to refuse, counted from 1.
    pub fail_change: Option<usize>,
    /// Number of the first changing call to refuse; later ones are refused, too.
    pub refuse_from: Option<usize>,
    /// Operation, region and count: changing calls of this operation in this region of our own
    /// account are refused after this many were granted.
    pub refuse_alike: Option<(&'static str, &'static str, usize)>,
    alike: usize,
    /// Whether the refused call still takes effect.
    pub fail_after: bool,
    /// How many changing calls to throttle from `fail_change` on, instead of refusing that one.
    pub throttled: usize,
    /// How many versions of parameters were written, and how many parameters deleted.
    pub writes: usize,
    pub deleted: usize,
    /// How often parameters were listed.
    pub listed: usize,
    /// EC2's responses by region and action: the content of the XML element. An action without a
    /// response here succeeds with an empty one.
    pub ec2: BTreeMap<(String, String), String>,
    /// The snapshots of the home region; used only if `ec2` has no response.
    pub snapshots: snapshots::Snapshots,
    /// The fake ECR.
    pub registry: registry::Registry,
    /// The lease table's items, by the value of their key.
    pub items: BTreeMap<String, table::Item>,
    /// Number of the first change that the table refuses; it refuses later ones, too.
    pub refuse_table_from: Option<usize>,
    table_calls: usize,
    /// End times of finished executions, in epoch seconds by ARN.
    pub over: BTreeMap<String, i64>,
    /// Responses of other operations, by name.
    pub answers: BTreeMap<String, Value>,
    /// The details of the events put on any bus.
    pub events: Vec<Value>,
    /// The calls to EC2: region, action, and the resource id, if there is one.
    pub ec2_calls: Vec<String>,
}

/// Account, region, parameter.
type Name = (String, String, String);

/// The fake AWS; clones share one world.
#[derive(Clone, Debug, Default)]
pub struct FakeCloud(Arc<Mutex<FakeState>>);

impl FakeCloud {
    /// The world, to inspect it or to inject a fault.
    pub fn world(&self) -> MutexGuard<'_, FakeState> {
        self.0.lock().unwrap()
    }

    /// A separate cloud that starts with a copy of this world.
    pub fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.world().clone())))
    }

    /// Clients of our own account that send every call to this cloud. None retries.
    pub fn clients(&self) -> Clients {
        Self::clients_by_way_of(self.http())
    }

    /// The same clients with the SDK's usual retries, a thousand times as fast.
    pub fn retrying_clients(&self) -> Clients {
        let retries = RetryConfig::standard().with_initial_backoff(Duration::from_millis(1));
        Self::clients_with(self.http(), retries)
    }

    fn http(&self) -> impl HttpClient + 'static {
        let cloud = self.clone();
        infallible_client_fn(move |request| {
            let header = |name: &str| {
                let value = request.headers().get(name).and_then(|value| value.to_str().ok());
                value.unwrap_or_default()
            };
            let body = request.body().bytes().unwrap_or_default();
            let (status, answer) =
                cloud.answer(header("authorization"), header("x-amz-target"), body);
            http::Response::builder().status(status).body(SdkBody::from(answer)).unwrap()
        })
    }

    /// Clients of our own account that send every call through `http`, which must pass it to
    /// [`FakeCloud::answer`].
    pub fn clients_by_way_of(http: impl HttpClient + 'static) -> Clients {
        Self::clients_with(http, RetryConfig::disabled())
    }

    fn clients_with(http: impl HttpClient + 'static, retries: RetryConfig) -> Clients {
        let own = Credentials::new(OWN, "secret", None, None, "test");
        let sdk = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(own))
            .retry_config(retries)
            .http_client(http)
            .build();
        Clients::new(sdk, Some("external".to_owned()), Access::Publishes)
    }

    /// Status and body of the response to a call, from two of its headers and its body.
    pub fn answer(&self, authorization: &str, target: &str, body: &[u8]) -> (u16, String) {
        let body = std::str::from_utf8(body).unwrap();
        let (account, region) = read_scope(authorization);
        let operation = target.rsplit('.').next().unwrap_or_default();
        if operation.is_empty() {
            return (200, self.world().answer_query(&region, body));
        }
        let input = serde_json::from_str(body).unwrap();
        self.world().answer(operation, (account, region), &input)
    }
}

/// Account (the access key is the account) and region of a request's signature.
fn read_scope(authorization: &str) -> (String, String) {
    let scope = authorization.split("Credential=").nth(1).unwrap_or_default();
    let mut parts = scope.split('/');
    let account = parts.next().unwrap_or_default().to_owned();
    (account, parts.nth(1).unwrap_or_default().to_owned())
}

/// Credentials whose access key is the account of the role.
fn assume_role(body: &str) -> String {
    let account = body.split("iam%3A%3A").nth(1).unwrap_or_default();
    let account: String = account.chars().take(12).collect();
    format!(
        "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>{account}</AccessKeyId>\
         <SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>\
         <Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult>\
         </AssumeRoleResponse>"
    )
}

/// The default VPC that every account has.
fn default_network(action: &str) -> Option<&'static str> {
    match action {
        "DescribeSubnets" => Some(
            "<subnetSet><item><subnetId>subnet-1</subnetId><vpcId>vpc-1</vpcId>\
             <mapPublicIpOnLaunch>true</mapPublicIpOnLaunch></item></subnetSet>",
        ),
        "DescribeRouteTables" => Some(
            "<routeTableSet><item><routeTableId>rtb-1</routeTableId><vpcId>vpc-1</vpcId>\
             <routeSet><item><destinationCidrBlock>0.0.0.0/0</destinationCidrBlock>\
             <gatewayId>igw-1</gatewayId></item></routeSet><associationSet><item>\
             <main>true</main></item></associationSet></item></routeTableSet>",
        ),
        _ => None,
    }
}

fn refusal(code: &str) -> (u16, String) {
    (400, json!({"__type": code, "message": "planted"}).to_string())
}

impl FakeState {
    /// The response of a service with the query protocol: STS or EC2.
    fn answer_query(&mut self, region: &str, body: &str) -> String {
        let fields: BTreeMap<&str, &str> =
            body.split('&').filter_map(|field| field.split_once('=')).collect();
        let action = fields.get("Action").copied().unwrap_or_default();
        if action == "AssumeRole" {
            return assume_role(body);
        }
        let id =
            ["SnapshotId", "InstanceId.1", "VolumeId"].iter().find_map(|name| fields.get(name));
        let call = format!("{region} {action} {}", id.copied().unwrap_or_default());
        self.ec2_calls.push(call.trim_end().to_owned());
        let planted = self.ec2.get(&(region.to_owned(), action.to_owned())).cloned();
        let planted = planted.or_else(|| default_network(action).map(ToOwned::to_owned));
        let inside = planted.unwrap_or_else(|| self.snapshots.answer(action, &fields));
        format!("<{action}Response>{inside}</{action}Response>")
    }

    /// The value and version of `name` or `name:label`.
    pub fn read(&self, account: &str, region: &str, name: &str) -> Option<(String, i64)> {
        let (plain, label) = match name.split_once(':') {
            Some((plain, label)) => (plain, Some(label)),
            None => (name, None),
        };
        let key = (account.to_owned(), region.to_owned(), plain.to_owned());
        let versions = self.versions.get(&key)?;
        let version = match label {
            Some(label) => *self.labels.get(&(key, label.to_owned()))?,
            None => i64::try_from(versions.len()).unwrap(),
        };
        Some((versions.get(usize::try_from(version).unwrap() - 1)?.clone(), version))
    }

    /// Whether any parameter's newest or labelled version has this value.
    pub fn named(&self, value: &str) -> bool {
        let newest = self.versions.values().filter_map(|versions| versions.last());
        let labelled = self.labels.iter().filter_map(|((name, _), version)| {
            self.versions.get(name)?.get(usize::try_from(*version).ok()? - 1)
        });
        newest.chain(labelled).any(|found| found == value)
    }

    /// Writes a parameter in our own account and home region.
    pub fn put(&mut self, name: &str, value: &str) {
        let key = (OWN.to_owned(), "us-east-1".to_owned(), name.to_owned());
        self.versions.entry(key).or_default().push(value.to_owned());
    }

    /// Newest values by place and last part of the name.
    pub fn newest(&self) -> BTreeMap<String, String> {
        let shown = |((account, region, name), versions): (&Name, &Vec<String>)| {
            let name = name.rsplit('/').next().unwrap();
            (format!("{account} {region} {name}"), versions.last().unwrap().clone())
        };
        self.versions.iter().map(shown).collect()
    }

    /// The values that carry `label`, by place and last part of the name.
    pub fn labelled(&self, label: &str) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for (((account, region, name), of), version) in &self.labels {
            let key = (account.clone(), region.clone(), name.clone());
            let index = usize::try_from(*version).unwrap() - 1;
            if let Some(value) = self.versions.get(&key).and_then(|v| v.get(index))
                && of == label
            {
                let name = name.rsplit('/').next().unwrap();
                found.insert(format!("{account} {region} {name}"), value.clone());
            }
        }
        found
    }

    fn answer(&mut self, operation: &str, place: (String, String), input: &Value) -> (u16, String) {
        let name = input["Name"].as_str().unwrap_or_default().to_owned();
        if operation == "GetParameter" {
            return match self.read(&place.0, &place.1, &name) {
                None => refusal("ParameterNotFound"),
                Some((value, version)) => {
                    let parameter = json!({"Name": name, "Value": value, "Version": version});
                    (200, json!({"Parameter": parameter}).to_string())
                }
            };
        }
        if let Some(answer) = self.answers.get(operation) {
            return (200, answer.to_string());
        }
        if let Some(answer) = self.registry.answer(operation, input) {
            return answer;
        }
        if operation == "GetParametersByPath" {
            self.listed += 1;
            return (200, self.list(&place, input["Path"].as_str().unwrap()).to_string());
        }
        if operation == "DescribeExecution" {
            let ended = self.over.get(input["executionArn"].as_str().unwrap());
            let status = if ended.is_some() { "ABORTED" } else { "RUNNING" };
            let execution = json!({
                "executionArn": "arn", "stateMachineArn": "arn", "startDate": 0, "status": status,
                "stopDate": ended,
            });
            return (200, execution.to_string());
        }
        if let Some(key) = input["Key"]["cacheAndArchitecture"]["S"].as_str() {
            return self.answer_table(operation, key, input);
        }
        self.changes += 1;
        if self.refuse_from.is_some_and(|from| self.changes >= from) {
            return refusal("ParameterLimitExceeded");
        }
        if self.is_refused_alike(operation, &place) {
            return refusal("AccessDeniedException");
        }
        if self.throttled > 0 && self.fail_change.is_some_and(|from| self.changes >= from) {
            self.throttled -= 1;
            return refusal("ThrottlingException");
        }
        let refused = self.fail_change == Some(self.changes);
        if refused && !self.fail_after {
            return refusal("ParameterLimitExceeded");
        }
        let answer = self.change(operation, (place.0, place.1, name), input);
        if refused { refusal("ParameterLimitExceeded") } else { (200, answer.to_string()) }
    }

    fn is_refused_alike(&mut self, operation: &str, place: &(String, String)) -> bool {
        let Some((refused, region, granted)) = self.refuse_alike else { return false };
        if (operation, place.0.as_str(), place.1.as_str()) != (refused, OWN, region) {
            return false;
        }
        self.alike += 1;
        self.alike > granted
    }

    fn list(&self, place: &(String, String), path: &str) -> Value {
        let under = |(account, region, name): &&Name| {
            (account, region) == (&place.0, &place.1)
                && name.rsplit_once('/').is_some_and(|(parent, _)| parent == path)
        };
        let found = self.versions.iter().filter(|(name, _)| under(name));
        let parameter = |(name, versions): (&Name, &Vec<String>)| json!({"Name": name.2, "Value": versions.last(), "Version": versions.len()});
        json!({"Parameters": found.map(parameter).collect::<Vec<_>>()})
    }

    fn answer_table(&mut self, operation: &str, key: &str, input: &Value) -> (u16, String) {
        let item = self.items.get(key).cloned().unwrap_or_default();
        if operation == "GetItem" {
            let found = self.items.get(key).map_or(json!({}), |item| json!({"Item": item}));
            return (200, found.to_string());
        }
        self.table_calls += 1;
        if self.refuse_table_from.is_some_and(|from| self.table_calls >= from) {
            return refusal("AccessDeniedException");
        }
        match table::update(&item, input) {
            None => refusal("ConditionalCheckFailedException"),
            Some(mut updated) => {
                updated.insert("cacheAndArchitecture".to_owned(), json!({"S": key}));
                self.items.insert(key.to_owned(), updated.clone());
                (200, json!({"Attributes": updated}).to_string())
            }
        }
    }

    fn change(&mut self, operation: &str, key: Name, input: &Value) -> Value {
        match operation {
            "PutParameter" => {
                self.writes += 1;
                let versions = self.versions.entry(key).or_default();
                versions.push(input["Value"].as_str().unwrap().to_owned());
                json!({"Version": versions.len()})
            }
            "DeleteParameter" => {
                self.deleted += 1;
                self.versions.remove(&key);
                self.labels.retain(|(name, _), _| *name != key);
                json!({})
            }
            "PutEvents" => {
                let entry = &input["Entries"][0];
                self.events.push(serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap());
                json!({"Entries": [{"EventId": "1"}]})
            }
            "LabelParameterVersion" => {
                let label = input["Labels"][0].as_str().unwrap().to_owned();
                self.labels.insert((key, label), input["ParameterVersion"].as_i64().unwrap());
                json!({"InvalidLabels": []})
            }
            other => json!({"unknown": other}),
        }
    }
}
