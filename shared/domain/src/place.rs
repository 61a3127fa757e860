//! Regions, zones, accounts and keys, and the accounts that launch nodes from our snapshots.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::names::{checked_string, quoted};

checked_string!(
    /// A region's name, such as `ap-southeast-2`. Only EC2 knows whether the region exists and is
    /// enabled.
    #[cfg_attr(test, schemars(extend("maxLength" = 32, "pattern" = r"^[a-z]+(-[a-z]+){1,2}-[0-9]{1,2}$")))]
    RegionName,
    |text| {
        let parts: Vec<&str> = text.split('-').collect();
        let is_word = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
        let is_number = |part: &str| (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        match parts.as_slice() {
            [area @ .., number] if (2..=3).contains(&area.len())
                && text.len() <= 32
                && area.iter().all(is_word)
                && is_number(number) => Ok(()),
            _ => Err(format!("{} is not a region: write for instance eu-west-1", quoted(text))),
        }
    }
);

impl RegionName {
    /// The partition of the region's ARNs.
    #[must_use]
    pub fn partition(&self) -> &'static str {
        match self.as_str().split('-').next() {
            Some("cn") => "aws-cn",
            Some("us") if self.as_str().starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        }
    }

    /// The DNS suffix of the partition's hosts.
    #[must_use]
    pub fn dns_suffix(&self) -> &'static str {
        match self.partition() {
            "aws-cn" => "amazonaws.com.cn",
            _ => "amazonaws.com",
        }
    }
}

checked_string!(
    /// An AWS account id: twelve digits.
    #[cfg_attr(test, schemars(extend("pattern" = r"^[0-9]{12}$")))]
    AccountId,
    |text| {
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(());
        }
        Err(format!("{} is not an account id: use its 12 digits, as a string", quoted(text)))
    }
);

checked_string!(
    /// An availability zone, such as `eu-west-1a`.
    #[cfg_attr(test, schemars(extend("pattern" = r"^[a-z0-9-]{6,40}$")))]
    ZoneName,
    |text| {
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if (6..=40).contains(&text.len()) && text.chars().all(is_part) {
            return Ok(());
        }
        Err(format!("{} is not a zone: write for instance eu-west-1a", quoted(text)))
    }
);

impl ZoneName {
    /// Whether the zone belongs to `region`, judged by its name.
    #[must_use]
    pub fn is_in(&self, region: &RegionName) -> bool {
        let rest = self.as_str().strip_prefix(region.as_str()).unwrap_or_default();
        rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '-')
    }
}

checked_string!(
    /// The ARN of a KMS key: `arn:<partition>:kms:<region>:<account>:key/<id>`.
    #[cfg_attr(test, schemars(extend("pattern" = concat!(
        r"^arn:(aws|aws-cn|aws-us-gov):kms:[a-z]+(-[a-z]+){1,2}-[0-9]{1,2}",
        r":[0-9]{12}:key/[A-Za-z0-9-]{1,64}$"
    ))))]
    KeyArn,
    |text| {
        let parts: Vec<&str> = text.split(':').collect();
        let is_id = |id: &str| {
            (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        match parts.as_slice() {
            ["arn", "aws" | "aws-cn" | "aws-us-gov", "kms", region, account, key]
                if region.parse::<RegionName>().is_ok()
                    && account.parse::<AccountId>().is_ok()
                    && key.strip_prefix("key/").is_some_and(is_id) => Ok(()),
            _ => Err(format!(
                "{} is not the ARN of a key: use arn:<partition>:kms:<region>:<account>:key/<id>",
                quoted(text)
            )),
        }
    }
);

impl KeyArn {
    /// The region of the key.
    #[must_use]
    pub fn region(&self) -> &str {
        self.as_str().split(':').nth(3).unwrap_or_default()
    }
}

checked_string!(
    /// The name of a consumer's publishing role, without path. The reading role has this name
    /// plus `-reader`.
    #[cfg_attr(test, schemars(extend("pattern" = r"^[A-Za-z0-9_+=,.@-]{1,57}$")))]
    RoleName,
    |text| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
        if (1..=64 - READER.len()).contains(&text.len()) && text.chars().all(is_part) {
            return Ok(());
        }
        Err(format!("{} is not a role's name: use 1 to 57 letters, digits, _+=,.@-", quoted(text)))
    }
);

/// Suffix that turns the name of a consumer's publishing role into that of its reading role.
const READER: &str = "-reader";

checked_string!(
    /// The name of an event bus.
    #[cfg_attr(test, schemars(extend("pattern" = r"^[A-Za-z0-9_.-]{1,256}$")))]
    BusName,
    |text| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if (1..=256).contains(&text.len()) && text.chars().all(is_part) {
            return Ok(());
        }
        Err(format!("{} is not a bus's name: use letters, digits, _ . -", quoted(text)))
    }
);

/// Settings of a region that gets a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars_derive::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegionSettings {
    /// The name of the region.
    pub region: RegionName,
    /// The ARN of the KMS key that encrypts the replica, a key of that region. Without it, the
    /// account's default key applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<KeyArn>,
    /// The zones of the region with fast snapshot restore.
    #[serde(default)]
    pub fsr_zones: Vec<ZoneName>,
}

/// What a function does in consumers' accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It reads what is published.
    Reads,
    /// It writes or deletes publications, or looks for references to snapshots.
    Publishes,
}

/// An account that launches nodes from our snapshots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars_derive::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Consumer {
    /// The consumer's account, not Frontload's own.
    pub account: AccountId,
    /// The publishing role there (`infra/consumer.yaml`), without a path. The name of the reading
    /// role is the same with `-reader` at its end.
    #[serde(default = "default_role")]
    pub role: RoleName,
    /// The event bus there that receives publication events.
    #[serde(default = "default_bus")]
    pub event_bus: BusName,
}

fn default_role() -> RoleName {
    RoleName::literal("frontload-consumer")
}

fn default_bus() -> BusName {
    BusName::literal("default")
}

impl Consumer {
    /// Removes the fields that equal their defaults from `written`, the serialized consumer.
    pub(super) fn leave_out_defaults(&self, written: &mut Value) {
        let Some(fields) = written.as_object_mut() else { return };
        if self.role == default_role() {
            fields.remove("role");
        }
        if self.event_bus == default_bus() {
            fields.remove("eventBus");
        }
    }

    /// The ARN of the role to assume there for `access`.
    #[must_use]
    pub fn role_arn(&self, access: Access, partition: &str) -> String {
        let end = match access {
            Access::Reads => READER,
            Access::Publishes => "",
        };
        format!("arn:{partition}:iam::{}:role/{}{end}", self.account, self.role)
    }
}

/// Which snapshots pruning keeps although nothing refers to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars_derive::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retain {
    /// Pruning keeps this many of the newest builds of each architecture, even if nothing refers
    /// to them.
    #[cfg_attr(test, schemars(range(min = 1, max = 1000)))]
    pub count: i64,
    /// Pruning keeps every snapshot younger than this many days, even if nothing refers to it.
    #[cfg_attr(test, schemars(range(min = 0, max = 3650)))]
    pub minimum_age_days: i64,
}

impl Default for Retain {
    fn default() -> Self {
        Self { count: 3, minimum_age_days: 7 }
    }
}

/// An account and region to call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The region.
    pub region: RegionName,
    /// The consumer whose role is assumed; `None` for our own account.
    pub consumer: Option<Consumer>,
}

impl Place {
    /// Our own account in a region.
    #[must_use]
    pub fn own(region: &RegionName) -> Self {
        Self { region: region.clone(), consumer: None }
    }

    /// A consumer's account in a region.
    #[must_use]
    pub fn of(consumer: &Consumer, region: &RegionName) -> Self {
        Self { region: region.clone(), consumer: Some(consumer.clone()) }
    }

    /// The account as messages show it.
    #[must_use]
    pub fn account_shown(&self) -> &str {
        self.consumer.as_ref().map_or("Frontload's account", |consumer| consumer.account.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_distinguished_from_other_words() {
        for good in ["us-east-1", "ap-southeast-2", "us-gov-west-1", "cn-north-1"] {
            assert!(good.parse::<RegionName>().is_ok(), "{good}");
        }
        for bad in ["", "useast1", "us-east-", "us-east-1a", "us--1", "US-east-1", "us-east-1; x"] {
            assert!(bad.parse::<RegionName>().is_err(), "{bad}");
        }
        assert_eq!("us-gov-west-1".parse::<RegionName>().unwrap().partition(), "aws-us-gov");
    }

    #[test]
    fn a_zone_belongs_to_its_region_only() {
        let region: RegionName = "eu-west-1".parse().unwrap();
        let is_in = |zone: &str| zone.parse::<ZoneName>().unwrap().is_in(&region);
        assert!(is_in("eu-west-1a"));
        assert!(!is_in("eu-west-2a"));
        assert!(!is_in("eu-west-12a"));
    }

    #[test]
    fn a_key_arn_names_its_region_and_other_arns_are_refused() {
        let key = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        assert_eq!(key.parse::<KeyArn>().unwrap().region(), "eu-west-1");
        for bad in ["alias/aws/ebs", "1234abcd", "arn:aws:kms:eu-west-1:123456789012:alias/a"] {
            assert!(bad.parse::<KeyArn>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_account_has_twelve_digits() {
        assert!("123456789012".parse::<AccountId>().is_ok());
        assert!("12345678901".parse::<AccountId>().is_err());
    }
}
