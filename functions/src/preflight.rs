//! `preflight`: finds out in seconds what would make a build fail after its
//! minutes. It changes nothing.

use frontload_shared::aws::clients::{Clients, Place};
use frontload_shared::aws::keys::{self, Usable};
use frontload_shared::aws::{parameters, regions};
use frontload_shared::domain::{Build, Consumer, ParameterNames, RegionSettings};
use frontload_shared::step::Report;
use frontload_shared::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::settings::Settings;

/// Payload of the function.
#[derive(Debug, Deserialize)]
pub struct Input {
    build: Build,
}

/// What was looked at, for a person.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    checked: Vec<String>,
}

/// Looks at every region, key, zone and consumer.
pub async fn handle(
    clients: &Clients,
    settings: &Settings,
    input: Input,
) -> Result<Report<Checked>> {
    let build = &input.build;
    let refuse = |reason: String| Error::PreflightRefused { build: build.id.clone(), reason };
    let home = clients.own_ec2(&build.region);
    let enabled = regions::enabled_regions(&home).await?;
    for (index, settings) in build.regions.iter().enumerate() {
        let region = &settings.region;
        if !enabled.contains(region.as_str()) {
            return Err(refuse(format!(
                "regions[{index}].region: {region} does not exist or is not enabled for account {}; \
                 enable it in the account's settings, or remove it",
                build.account
            )));
        }
    }
    let mut checked = Vec::new();
    for region in &build.regions {
        check_zones(clients, region).await?.map_or(Ok(()), |reason| Err(refuse(reason)))?;
        match check_key(clients, build, region).await? {
            Ok(lines) => checked.extend(lines),
            Err(reason) => return Err(refuse(reason)),
        }
    }
    let names = ParameterNames::new(&settings.prefix, &build.cache, build.architecture);
    for consumer in &build.consumers {
        if let Some(reason) = check_consumer(clients, build, consumer, &names).await? {
            return Err(refuse(reason));
        }
        checked.push(format!("role {} of {} can be assumed", consumer.role, consumer.account));
    }
    Ok(Report::Ready(Checked { checked }))
}

/// `Some` when a zone is none of the region's.
async fn check_zones(clients: &Clients, settings: &RegionSettings) -> Result<Option<String>> {
    if settings.fsr_zones.is_empty() {
        return Ok(None);
    }
    let zones = regions::zones(&clients.own_ec2(&settings.region)).await?;
    let missing = settings.fsr_zones.iter().find(|zone| !zones.contains(zone.as_str()));
    Ok(missing.map(|zone| {
        let known = zones.iter().cloned().collect::<Vec<_>>().join(", ");
        format!("fsrZones: {zone} is no zone of {}, which has {known}", settings.region)
    }))
}

/// Why the region's key does not do, or what was found out of it.
type KeyCheck = std::result::Result<Vec<String>, String>;

/// The key that the region's snapshot will be encrypted under must be usable, and
/// shareable when there are consumers.
async fn check_key(
    clients: &Clients,
    build: &Build,
    settings: &RegionSettings,
) -> Result<KeyCheck> {
    let region = &settings.region;
    let named = settings.kms_key_id.as_ref().map(ToString::to_string);
    let default = keys::default_key(&clients.own_ec2(region)).await?;
    // A copy of an encrypted snapshot is encrypted, under the default key if none
    // is named.
    let home_encrypts = match build.regions.first().and_then(|home| home.kms_key_id.as_ref()) {
        Some(_) => true,
        None => keys::default_key(&clients.own_ec2(&build.region)).await?.is_some(),
    };
    let inherited = home_encrypts.then(|| "alias/aws/ebs".to_owned());
    let Some(key) = named.clone().or(default).or(inherited) else {
        return Ok(Ok(vec![format!("{region}: not encrypted")]));
    };
    let kms = clients.own_kms(region);
    let found = keys::describe(&kms, &key).await?;
    // AWS makes aws/ebs when it is first used.
    let managed = key.contains("alias/aws/ebs");
    let Some(found) = found.or_else(|| {
        managed.then(|| keys::Key { arn: key.clone(), enabled: true, customer_managed: false })
    }) else {
        return Ok(Err(format!(
            "key {key} does not exist in {region}; create it, or name another"
        )));
    };
    if !found.enabled {
        return Ok(Err(format!("key {key} in {region} is disabled; enable it, or name another")));
    }
    if build.consumers.is_empty() {
        return Ok(Ok(vec![format!("{region}: key {key}")]));
    }
    if !found.customer_managed {
        return Ok(Err(format!(
            "{region} would encrypt with {key}, which is AWS's own: a snapshot under it cannot be \
             shared with {}; name a customer-managed key in kmsKeyId of {region}",
            build.consumers[0].account
        )));
    }
    check_key_use(&kms, build, region.as_str(), &found.arn).await
}

/// Every consumer must be able to use the key, as far as can be read.
async fn check_key_use(
    kms: &aws_sdk_kms::Client,
    build: &Build,
    region: &str,
    key: &str,
) -> Result<KeyCheck> {
    let mut lines = vec![format!("{region}: key {key}")];
    for consumer in &build.consumers {
        let account = &consumer.account;
        match keys::usable_by(kms, key, account).await? {
            Usable::Yes => {}
            Usable::Unknown => {
                lines.push(format!("{region}: whether {account} may use {key} cannot be read"));
            }
            Usable::No => {
                return Ok(Err(format!(
                    "consumer {account} may not use key {key} in {region}; let its policy allow \
                     account {account} kms:DescribeKey, CreateGrant, Decrypt, ReEncrypt* and \
                     GenerateDataKey*"
                )));
            }
        }
    }
    Ok(Ok(lines))
}

/// `Some` when the consumer's parameters cannot be reached through its role.
async fn check_consumer(
    clients: &Clients,
    build: &Build,
    consumer: &Consumer,
    names: &ParameterNames,
) -> Result<Option<String>> {
    for settings in &build.regions {
        let place = Place::of(consumer, &settings.region);
        let read = async {
            let ssm = clients.ssm(&place).await?;
            parameters::get(&ssm, &names.snapshot_id).await
        };
        match read.await {
            Ok(_) => {}
            Err(error) if error.retryable() => return Err(error),
            Err(error) => {
                return Ok(Some(format!(
                    "consumer {} in {} cannot be written through its role {}: {error}; deploy \
                     infra/consumer.yaml there with our account and external id",
                    consumer.account, settings.region, consumer.role
                )));
            }
        }
    }
    Ok(None)
}
