//! `preflight`: finds in seconds what would make a build fail after minutes. It changes nothing.

use std::collections::BTreeSet;

use frontload_aws::clients::{Clients, at_once};
use frontload_aws::keys::{self, Grantee, Usable};
use frontload_aws::replicas::fast_restores;
use frontload_aws::snapshots::count_pending;
use frontload_aws::{networks, parameters, regions};
use frontload_domain::Place;
use frontload_domain::place::ZoneName;
use frontload_domain::step::Report;
use frontload_domain::{Build, Consumer, ParameterNames, RegionSettings};
use frontload_domain::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::context::Context;

/// Payload of the function.
#[derive(Debug, Deserialize)]
pub struct Input {
    build: Build,
}

/// What was checked, for a person.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    checked: Vec<String>,
    /// What makes the build cost more or run slower than requested.
    warnings: Vec<String>,
}

/// Looks at every region, key, zone and consumer.
pub async fn handle(context: &Context, input: Input) -> Result<Report<Checked>> {
    let Context { clients, settings, .. } = context;
    let build = &input.build;
    let refuse = |reason: String| Error::PreflightRefused { build: build.id.clone(), reason };
    let home = clients.own_ec2(&build.region);
    let enabled = regions::enabled_regions(&home).await?;
    for RegionSettings { region, .. } in &build.regions {
        if !enabled.contains(region.as_str()) {
            return Err(refuse(format!(
                "regions[{region}].region: {region} does not exist or is not enabled for account {}; \
                 enable it in the account's settings, or remove it",
                build.account
            )));
        }
    }
    let mut checked = check_network(&home, build).await?.map_err(refuse)?;
    let home_encrypts = match build.regions.first().and_then(|home| home.kms_key_id.as_ref()) {
        Some(_) => true,
        None => keys::default_key(&home).await?.is_some(),
    };
    let by_region =
        at_once(&build.regions, |region| check_region(clients, build, region, home_encrypts));
    for found in by_region.await {
        checked.extend(found?.map_err(refuse)?);
    }
    let key = builder_key(clients, build).await?;
    let what = format!("builder: EBS in {}", build.region);
    refuse_foreign(&what, &key, build).map_or(Ok(()), |reason| Err(refuse(reason)))?;
    let mut warnings = Vec::new();
    match check_spot(clients, build, &key).await? {
        Ok(lines) => checked.extend(lines),
        Err(warning) => warnings.push(warning),
    }
    let names = ParameterNames::new(&settings.prefix, &build.cache, build.architecture);
    let by_consumer =
        at_once(&build.consumers, |consumer| check_consumer(clients, build, consumer, &names));
    for found in by_consumer.await {
        checked.push(found?.map_err(refuse)?);
    }
    Ok(Report::Ready(Checked { checked, warnings }))
}

/// What was found out, or why the build is refused.
type Finding<T> = std::result::Result<T, String>;

/// Refuses a network without a way out: the build would wait in vain for its builder. Every named
/// subnet must work, because each may be tried. Of the default subnets one must work; EC2 takes
/// any.
async fn check_network(ec2: &aws_sdk_ec2::Client, build: &Build) -> Result<Finding<Vec<String>>> {
    let settings = &build.builder;
    let refuse = |reason: String| Err(format!("builder.subnetIds in {}: {reason}", build.region));
    let found = match networks::find_networks(ec2, &settings.subnet_ids).await? {
        Ok(found) => found,
        Err(reason) => return Ok(refuse(reason)),
    };
    let problems: Vec<String> =
        found.iter().filter_map(|network| network.problem(settings.public_ip)).collect();
    let is_hopeless = !settings.subnet_ids.is_empty() || problems.len() == found.len();
    Ok(match problems.into_iter().next() {
        Some(problem) if is_hopeless => refuse(problem),
        _ => Ok(vec![format!("{}: the builder's network has a route to AWS", build.region)]),
    })
}

async fn check_region(
    clients: &Clients,
    build: &Build,
    settings: &RegionSettings,
    home_encrypts: bool,
) -> Result<Finding<Vec<String>>> {
    if let Err(refusal) = check_zones(clients, settings).await? {
        return Ok(Err(refusal));
    }
    let mut lines = match check_key(clients, build, settings, home_encrypts).await? {
        Ok(lines) => lines,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if settings.region != build.region {
        lines.push(describe_quota(clients, settings).await?);
    }
    if !settings.fsr_zones.is_empty() {
        lines.push(describe_fast_restores(clients, settings).await?);
    }
    Ok(Ok(lines))
}

/// Copies that a region takes at the same time. AWS does not raise this quota (EBS user guide,
/// "Copy an Amazon EBS snapshot").
const COPIES_AT_ONCE: usize = 20;

/// Describes the quota left for the copy. A full quota is no reason to refuse: a copy waits its
/// turn.
async fn describe_quota(clients: &Clients, settings: &RegionSettings) -> Result<String> {
    let region = &settings.region;
    let pending = count_pending(&clients.own_ec2(region)).await?;
    let outlook = if pending < COPIES_AT_ONCE { "the copy can start" } else { "the copy may wait" };
    Ok(format!(
        "{region}: {pending} snapshots are pending, {COPIES_AT_ONCE} copies run at once: {outlook}"
    ))
}

/// Snapshots of a region that can have fast restore by default (EBS user guide, "Quotas for fast
/// snapshot restore").
const FAST_AT_ONCE: usize = 5;

/// Describes the fast restores that the region has already. The new snapshot gets fast restore
/// before the old one loses it. A full quota is no reason to refuse: AWS may have raised it.
async fn describe_fast_restores(clients: &Clients, settings: &RegionSettings) -> Result<String> {
    let region = &settings.region;
    let found = fast_restores(&clients.own_ec2(region), None).await?;
    let count =
        found.iter().map(|restore| restore.snapshot.as_str()).collect::<BTreeSet<_>>().len();
    let outlook = if count < FAST_AT_ONCE {
        "one more can have it"
    } else {
        "one more can have it only if AWS raised that quota"
    };
    Ok(format!(
        "{region}: snapshots with fast restore: {count}, of {FAST_AT_ONCE} by default: {outlook}"
    ))
}

/// Refuses a zone that is not in the region.
async fn check_zones(clients: &Clients, settings: &RegionSettings) -> Result<Finding<()>> {
    if settings.fsr_zones.is_empty() {
        return Ok(Ok(()));
    }
    let region = &settings.region;
    let zones = regions::zones(&clients.own_ec2(region)).await?;
    let is_missing = |zone: &ZoneName| !zones.contains(zone.as_str());
    let Some(index) = settings.fsr_zones.iter().position(is_missing) else { return Ok(Ok(())) };
    let known = zones.iter().cloned().collect::<Vec<_>>().join(", ");
    Ok(Err(format!(
        "regions[{region}].fsrZones[{index}]: {} is not a zone of {region}; name one of {known}",
        settings.fsr_zones[index]
    )))
}

/// Checks the key that will encrypt the region's snapshot. It must be usable, and shareable if
/// there are consumers.
async fn check_key(
    clients: &Clients,
    build: &Build,
    settings: &RegionSettings,
    home_encrypts: bool,
) -> Result<Finding<Vec<String>>> {
    let region = &settings.region;
    let field = format!("regions[{region}].kmsKeyId");
    let named = settings.kms_key_id.as_ref().map(ToString::to_string);
    let default = keys::default_key(&clients.own_ec2(region)).await?;
    // A copy of an encrypted snapshot is encrypted, under the default key if none
    // is named.
    let inherited = home_encrypts.then(|| "alias/aws/ebs".to_owned());
    let Some(key) = named.or(default).or(inherited) else {
        return Ok(Ok(vec![format!("{region}: not encrypted")]));
    };
    if let Some(refusal) = refuse_foreign(&format!("{field}: {region}"), &key, build) {
        return Ok(Err(refusal));
    }
    let kms = clients.own_kms(region);
    let found = keys::describe(&kms, &key).await?;
    // AWS creates aws/ebs on first use.
    let managed = key.contains("alias/aws/ebs");
    let Some(found) = found.or_else(|| {
        managed.then(|| keys::Key { arn: key.clone(), enabled: true, customer_managed: false })
    }) else {
        return Ok(Err(format!(
            "{field}: key {key} does not exist in {region}; create it, or name another"
        )));
    };
    if !found.enabled {
        return Ok(Err(format!(
            "{field}: key {key} in {region} is disabled; enable it, or name another"
        )));
    }
    if build.consumers.is_empty() {
        return Ok(Ok(vec![format!("{region}: key {key}")]));
    }
    if !found.customer_managed {
        return Ok(Err(format!(
            "{field}: {region} would encrypt with {key}, which is AWS's own: a snapshot under it \
             cannot be shared with {}; name a customer-managed key",
            build.consumers[0].account
        )));
    }
    let lines = check_key_use(&kms, build, region.as_str(), &found.arn).await?;
    Ok(lines.map_err(|refusal| format!("{field}: {refusal}")))
}

/// Why a key with an ARN of another account may not be used. An alias or id is in our own account.
fn refuse_foreign(what: &str, key: &str, build: &Build) -> Option<String> {
    let owner = key.strip_prefix("arn:")?.split(':').nth(3)?;
    let own = build.account.as_str();
    (owner != own).then(|| {
        format!(
            "{what} would encrypt with {key}, which is account {owner}'s: Frontload's roles use keys \
             of their own account alone; name one of {own}"
        )
    })
}

/// The key of the builder's root volume, which is always encrypted.
async fn builder_key(clients: &Clients, build: &Build) -> Result<String> {
    match build.regions.first().and_then(|home| home.kms_key_id.as_ref()) {
        Some(key) => Ok(key.to_string()),
        None => keys::encrypting_key(&clients.own_ec2(&build.region)).await,
    }
}

/// Checks that a customer's key lets in the role with which EC2 creates a Spot instance's volumes.
/// Otherwise EC2 accepts the instance and terminates it at once (EC2 user guide, "Service-linked
/// role for Spot Instance requests"). `Err` is a warning, not a refusal: a builder on demand comes
/// next.
async fn check_spot(clients: &Clients, build: &Build, key: &str) -> Result<Finding<Vec<String>>> {
    if !build.builder.spot {
        return Ok(Ok(Vec::new()));
    }
    let region = &build.region;
    let kms = clients.own_kms(region);
    let Some(key) = keys::describe(&kms, key).await?.filter(|key| key.customer_managed) else {
        return Ok(Ok(Vec::new()));
    };
    let key = key.arn;
    let role = format!(
        "arn:{}:iam::{}:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot",
        region.partition(),
        build.account
    );
    let line = match keys::usable_by(&kms, &key, Grantee::ServiceRole(&role)).await? {
        Usable::Yes => format!("{region}: EC2's role for Spot may use key {key}"),
        Usable::Unknown => {
            format!("{region}: whether EC2's role for Spot may use key {key} is unknown")
        }
        Usable::No => {
            return Ok(Err(format!(
                "builder.spot: key {key} of {region} does not let EC2's role for Spot use it, so \
                 EC2 ends each Spot builder at once, until an on-demand builder is launched; allow \
                 it with `aws kms create-grant --region {region} --key-id {key} \
                 --grantee-principal {role} --operations CreateGrant Decrypt DescribeKey Encrypt \
                 GenerateDataKey GenerateDataKeyWithoutPlaintext ReEncryptFrom ReEncryptTo`, in an \
                 account that never used Spot after `aws iam create-service-linked-role \
                 --aws-service-name spot.amazonaws.com`"
            )));
        }
    };
    Ok(Ok(vec![line]))
}

/// Checks that every consumer may use the key, as far as can be read.
async fn check_key_use(
    kms: &aws_sdk_kms::Client,
    build: &Build,
    region: &str,
    key: &str,
) -> Result<Finding<Vec<String>>> {
    let mut lines = vec![format!("{region}: key {key}")];
    for consumer in &build.consumers {
        let account = &consumer.account;
        match keys::usable_by(kms, key, Grantee::Account(account)).await? {
            Usable::Yes => {}
            Usable::Unknown => {
                lines.push(format!("{region}: whether {account} may use key {key} is unknown"));
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

/// Checks that the consumer's parameters are readable through its reading role, in every region.
/// Its publishing role cannot be checked: preflight may not assume it.
async fn check_consumer(
    clients: &Clients,
    build: &Build,
    consumer: &Consumer,
    names: &ParameterNames,
) -> Result<Finding<String>> {
    let Consumer { account, role, .. } = consumer;
    for RegionSettings { region, .. } in &build.regions {
        let place = Place::of(consumer, region);
        let read = async {
            let ssm = clients.ssm(&place).await?;
            parameters::get(&ssm, &names.snapshot_id).await
        };
        match read.await {
            Ok(_) => {}
            Err(error) if error.retryable() => return Err(error),
            Err(error) => {
                return Ok(Err(format!(
                    "consumer {account} in {region} cannot be read through the reader of its role \
                     {role}: {}; deploy infra/consumer.yaml of this version there, with \
                     Frontload's account, stack and external id",
                    error.chain()
                )));
            }
        }
    }
    Ok(Ok(format!("the reader of role {role} of {account} can be assumed")))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use frontload_aws::testing::FakeCloud;

    use super::*;
    use crate::testing::build;

    /// The line reported when `snapshots` snapshots have fast restore, in two zones each.
    async fn fast_restore_line(snapshots: usize) -> String {
        let cloud = FakeCloud::default();
        let mut items = String::new();
        for number in 0..snapshots {
            for zone in ["us-east-1a", "us-east-1b"] {
                let id = format!("snap-{number:017}");
                write!(
                    items,
                    "<item><snapshotId>{id}</snapshotId><availabilityZone>{zone}</availabilityZone>\
                     <state>enabled</state></item>"
                )
                .unwrap();
            }
        }
        cloud.world().ec2.insert(
            ("us-east-1".to_owned(), "DescribeFastSnapshotRestores".to_owned()),
            format!("<fastSnapshotRestoreSet>{items}</fastSnapshotRestoreSet>"),
        );
        let settings = RegionSettings {
            region: "us-east-1".parse().unwrap(),
            kms_key_id: None,
            fsr_zones: vec![],
        };
        describe_fast_restores(&cloud.clients(), &settings).await.unwrap()
    }

    #[test]
    fn a_key_of_another_account_is_distinguished_from_ours() {
        let build = build();
        let foreign = "arn:aws:kms:eu-west-1:999999999999:key/1";
        let reason = refuse_foreign("x", foreign, &build).unwrap();
        assert!(reason.contains("which is account 999999999999's"), "{reason}");
        let own = foreign.replace("999999999999", build.account.as_str());
        for key in [own.as_str(), "alias/aws/ebs", "1234abcd-12ab-34cd-56ef-1234567890ab"] {
            assert_eq!(refuse_foreign("x", key, &build), None);
        }
    }

    #[tokio::test]
    async fn a_region_at_the_quota_of_fast_restores_is_reported() {
        let expected =
            "us-east-1: snapshots with fast restore: 4, of 5 by default: one more can have it";
        assert_eq!(fast_restore_line(4).await, expected);
        assert!(
            fast_restore_line(5)
                .await
                .ends_with("one more can have it only if AWS raised that quota")
        );
    }
}
