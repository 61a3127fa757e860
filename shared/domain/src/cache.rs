//! The cache document: the configuration that a person puts into Parameter
//! Store under `<prefix>/caches/<name>`.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::names::{checked_string, one_line, quoted};
use super::place::{AccountId, Consumer, RegionName, RegionSettings, Retain};
use super::selection::{EcrImage, Selection, WatchPattern};
use super::timing::{Debounce, OsUpdates};
use super::{Architecture, CacheName, Incremental, VolumeSize};

/// A checked cache document with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// The last part of the parameter's name.
    pub name: CacheName,
    /// The images to cache, in the document's order, without duplicates.
    pub images: Vec<Selection>,
    /// Which pushes start a build; empty means the pushes of all its images.
    pub watch: Vec<WatchPattern>,
    /// The accounts other than our own whose ECR images are allowed.
    pub source_accounts: Vec<AccountId>,
    /// How pushes are gathered into one build.
    pub debounce: Debounce,
    /// When to build for a new Bottlerocket release.
    pub os_updates: OsUpdates,
    /// One build per architecture, without duplicates.
    pub architectures: Vec<Architecture>,
    /// The Bottlerocket variant of the builder. Choose the oldest Kubernetes minor version among
    /// the nodes that read the parameter.
    pub variant: Variant,
    /// The instance that pulls.
    pub builder: BuilderSettings,
    /// When a build starts from the published snapshot.
    pub incremental: Incremental,
    /// How long each step may take.
    pub time_limits: TimeLimits,
    /// Regions with replicas; empty means the home region only.
    pub regions: Vec<RegionSettings>,
    /// The accounts that the replicas are shared with.
    pub consumers: Vec<Consumer>,
    /// What pruning keeps although nothing refers to it.
    pub retain: Retain,
    /// Minutes within which EC2 completes a copy (time-based copies); `None` for ordinary copies.
    pub copy_minutes: Option<u32>,
}

/// The instance that pulls the images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars_derive::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BuilderSettings {
    /// Instance types, tried in order when EC2 has no capacity. Empty: by the size of the images
    /// (see "What a
    /// build takes and costs" in `docs/how-it-works.md`).
    #[serde(default)]
    pub instance_types: Vec<InstanceType>,
    /// The subnets where the builder runs. Give one subnet in each zone. Frontload tries them in
    /// order. Empty: the default VPC.
    #[serde(default)]
    pub subnet_ids: Vec<SubnetId>,
    /// With `true`, Frontload tries Spot with every instance type and subnet before on-demand. If
    /// EC2 interrupts a Spot builder, an on-demand builder replaces it, once. An account that has
    /// never used Spot needs `aws iam create-service-linked-role --aws-service-name
    /// spot.amazonaws.com`. A customer-managed key must allow EC2's service-linked role for Spot;
    /// otherwise a warning gives the command.
    #[serde(default)]
    pub spot: bool,
    /// The security groups of the builder. Empty: the VPC's default group.
    #[serde(default)]
    pub security_group_ids: Vec<SecurityGroupId>,
    /// Size of the data volume in GiB: compressed images, unpacked images, and some room. Nodes
    /// need a volume at least as large. 20 is the size in Bottlerocket's own images. `"auto"` (ECR
    /// images only): Frontload derives the size from the images' sizes, and the volume grows with
    /// them.
    #[serde(default = "default_volume_gib")]
    pub volume_gib: VolumeSize,
    /// The containerd snapshotter. It must be the same as on the nodes
    /// (`settings.container-runtime`): Bottlerocket empties the volume of a node whose snapshotter
    /// differs. `overlayfs` is the only value.
    #[serde(default)]
    pub snapshotter: Snapshotter,
    /// Whether the builder gets a public address. Without this field, the subnet's setting applies.
    /// Subnets without NAT or VPC endpoints need one. Preflight refuses a subnet without a way out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub public_ip: Option<bool>,
}

impl Default for BuilderSettings {
    fn default() -> Self {
        Self {
            instance_types: Vec::new(),
            subnet_ids: Vec::new(),
            spot: false,
            security_group_ids: Vec::new(),
            volume_gib: default_volume_gib(),
            snapshotter: Snapshotter::default(),
            public_ip: None,
        }
    }
}

fn default_volume_gib() -> VolumeSize {
    VolumeSize::Gib(100)
}

/// The containerd snapshotter, which stores unpacked layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars_derive::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Snapshotter {
    /// Bottlerocket's default.
    #[default]
    Overlayfs,
}

impl Snapshotter {
    /// The name that `ctr --snapshotter` takes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overlayfs => "overlayfs",
        }
    }
}

/// How long each step may take, in seconds of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars_derive::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TimeLimits {
    /// How long a build waits for another build of the same cache and architecture.
    #[cfg_attr(test, schemars(range(min = 1, max = 86_400)))]
    pub claim_seconds: u32,
    /// How long the launch may take: from `RunInstances` until the admin container answers.
    #[cfg_attr(test, schemars(range(min = 1, max = 3_600)))]
    pub launch_seconds: u32,
    /// How long the builder's script may take.
    // It is the SSM document's `executionTimeout` too (at most 172,800 seconds,
    // `AWS-RunShellScript`).
    #[cfg_attr(test, schemars(range(min = 1, max = 86_400)))]
    pub pull_seconds: u32,
    /// How long the snapshot may take: from `CreateSnapshot` until it is completed.
    #[cfg_attr(test, schemars(range(min = 1, max = 86_400)))]
    pub snapshot_seconds: u32,
    /// How long the replicas may take: from `CopySnapshot` until each is completed and shared, with
    /// fast snapshot restore where requested.
    #[cfg_attr(test, schemars(range(min = 1, max = 86_400)))]
    pub replicate_seconds: u32,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            claim_seconds: 4 * 3600,
            launch_seconds: 900,
            pull_seconds: 3600,
            snapshot_seconds: 2 * 3600,
            replicate_seconds: 4 * 3600,
        }
    }
}

checked_string!(
    /// A Kubernetes variant of Bottlerocket without GPU drivers, such as
    /// `aws-k8s-1.35`. NVIDIA variants do not boot without their GPU
    /// (bottlerocket#4435); the standard variant builds for their nodes.
    #[cfg_attr(test, schemars(extend("pattern" = r"^aws-k8s-1\.[0-9]{1,3}$")))]
    Variant,
    |text| {
        let minor = text.strip_prefix("aws-k8s-1.").unwrap_or_default();
        if (1..=3).contains(&minor.len()) && minor.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(());
        }
        Err(format!(
            "{} is not a variant that can build: use aws-k8s-1.<minor>, for GPU nodes too",
            quoted(text)
        ))
    }
);

/// File system of a data volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// Up to Kubernetes 1.27.
    Ext4,
    /// Since Kubernetes 1.28.
    Xfs,
}

impl Variant {
    /// The file system of the variant's data volume (bottlerocket, release notes of
    /// the `aws-k8s-1.28` variants).
    #[must_use]
    pub fn file_system(&self) -> FileSystem {
        if self.minor() < 28 { FileSystem::Ext4 } else { FileSystem::Xfs }
    }

    /// The minor version of Kubernetes, such as 35.
    #[must_use]
    pub fn minor(&self) -> u16 {
        let minor = self.as_str().rsplit('.').next().and_then(|minor| minor.parse().ok());
        minor.unwrap_or(0)
    }
}

/// `Ok` when `text` is `prefix` and at least one of `a-z`, `0-9` and `extra`, at most 64
/// characters.
fn check_word(text: &str, what: &str, prefix: &str, extra: &str) -> Result<(), String> {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || extra.contains(c);
    match text.strip_prefix(prefix) {
        Some(rest) if !rest.is_empty() && text.len() <= 64 && rest.chars().all(is_word) => Ok(()),
        _ => Err(format!("{} is not {what}", quoted(text))),
    }
}

checked_string!(
    /// An EC2 instance type.
    #[cfg_attr(test, schemars(extend("maxLength" = 64, "pattern" = r"^[a-z0-9.-]*\.[a-z0-9.-]*$")))]
    InstanceType,
    |text| {
        check_word(text, "an instance type: write for instance m6i.large", "", ".-")?;
        if text.contains('.') {
            return Ok(());
        }
        Err(format!("{} is not an instance type: write for instance m6i.large", quoted(text)))
    }
);

checked_string!(
    /// An EC2 subnet id.
    #[cfg_attr(test, schemars(extend("pattern" = r"^subnet-[a-z0-9]{1,57}$")))]
    SubnetId,
    |text| check_word(text, "a subnet id: use subnet- and its digits", "subnet-", "")
);

checked_string!(
    /// An EC2 security group id.
    #[cfg_attr(test, schemars(extend("pattern" = r"^sg-[a-z0-9]{1,61}$")))]
    SecurityGroupId,
    |text| check_word(text, "a security group id: use sg- and its digits", "sg-", "")
);

/// Why a cache document is refused: the field, the problem and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidCache {
    /// Path of the field, such as `images[1]`; empty for the whole document.
    pub field: String,
    /// The problem and the remedy.
    pub problem: String,
}

impl fmt::Display for InvalidCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            return f.write_str(&self.problem);
        }
        write!(f, "{}: {}", self.field, self.problem)
    }
}

/// Longest path and longest problem, in characters. Both may repeat field names of the document.
const MAX_PATH: usize = 200;
const MAX_PROBLEM: usize = 600;

impl From<serde_path_to_error::Error<serde_json::Error>> for InvalidCache {
    fn from(error: serde_path_to_error::Error<serde_json::Error>) -> Self {
        let field = match error.path().to_string() {
            path if path == "." => String::new(),
            path => one_line(&path, MAX_PATH),
        };
        Self { field, problem: one_line(&error.inner().to_string(), MAX_PROBLEM) }
    }
}

/// The document as written. Rules that span fields are not checked yet. The fields' comments
/// become the JSON Schema and the table in `docs/configuration.md` (`schema.rs`).
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars_derive::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(
    test,
    schemars(
        title = "Cache document of Frontload",
        description = "The value of the parameter `<ParameterPrefix>/caches/<name>`."
    )
)]
pub(super) struct Document {
    /// A reference: `registry/repository:tag`, `…@sha256:…`, or both. Or a rule, which is an object
    /// and follows the tags of an ECR repository. No duplicates. At most 100 images in all; a rule
    /// counts as its `newest`.
    #[cfg_attr(test, schemars(
        length(min = 1, max = MAX_IMAGES), extend("uniqueItems" = true)
    ))]
    images: Vec<Selection>,
    /// Patterns `repository:tag`. Only pushes that match one of them start a build. `*` stands for
    /// any characters, `?` for one. Empty: all pushes of the cache's images.
    #[serde(default)]
    #[cfg_attr(test, schemars(
        length(max = MAX_WATCHED), extend("uniqueItems" = true, "default" = [])
    ))]
    watch: Vec<WatchPattern>,
    /// Other accounts that ECR images may come from. Empty: none.
    #[serde(default)]
    #[cfg_attr(test, schemars(length(max = MAX_SOURCES), extend("uniqueItems" = true)))]
    source_accounts: Vec<AccountId>,
    /// How Frontload gathers pushes into one build.
    #[serde(default)]
    debounce: Debounce,
    /// When a new Bottlerocket release may start a build: `"atOnce"`, `"never"`, or a window in UTC
    /// such as `{"days": ["saturday"], "startHour": 2, "hours": 4}`.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = "atOnce")))]
    os_updates: OsUpdates,
    /// The architectures of the nodes. Each gets its own build.
    #[cfg_attr(test, schemars(length(min = 1, max = 2), extend("uniqueItems" = true)))]
    architectures: Vec<Architecture>,
    /// The Bottlerocket variant of the builder, `aws-k8s-1.<minor>`, for GPU nodes too: NVIDIA
    /// variants do not boot without their GPU. Use the oldest minor version among the nodes that
    /// read the parameter: an older kernel may not mount a file system that a newer kernel
    /// formatted. The builder needs Bottlerocket 1.53.0 or later, and not 1.58.0.
    variant: Variant,
    /// The instance that pulls the images.
    #[serde(default)]
    builder: BuilderSettings,
    /// When a build starts from the published snapshot.
    #[serde(default)]
    incremental: Incremental,
    /// How long each step may take. Their sum is at most 82800 seconds (23 hours).
    #[serde(default)]
    time_limits: TimeLimits,
    /// The regions with replicas, the KMS key of each, and its zones with fast snapshot restore.
    /// The list must include the home region. Empty: the home region alone.
    #[serde(default)]
    #[cfg_attr(test, schemars(length(max = MAX_REGIONS), extend("uniqueItems" = true)))]
    regions: Vec<RegionSettings>,
    /// Accounts that share the snapshots and get the parameters. Deploy `infra/consumer.yaml`
    /// there, and give both stacks the same external id. Empty: none.
    #[serde(default)]
    #[cfg_attr(test, schemars(length(max = MAX_CONSUMERS), extend("uniqueItems" = true)))]
    consumers: Vec<Consumer>,
    /// What pruning keeps although nothing refers to it.
    #[serde(default)]
    retain: Retain,
    /// Completion time of time-based copies in minutes, in steps of 15. Not longer than
    /// `timeLimits.replicateSeconds`. Without it, copies are ordinary ones.
    #[serde(default)]
    #[cfg_attr(test, schemars(range(min = 15, max = 2880), extend("multipleOf" = 15)))]
    copy_minutes: Option<u32>,
}

/// No manifest has room for more images. Plan refuses even fewer when their references are long.
const MAX_IMAGES: usize = 100;

/// Enough for a pattern per image.
const MAX_WATCHED: usize = 100;
/// The same limit as for consumers.
const MAX_SOURCES: usize = 100;

/// Limit for the sum of all steps. They must end, clean-up included, before the build state
/// machine's own limit of 24 h; after that nothing cleans up.
const MAX_SECONDS: i64 = 23 * 3600;

/// AWS has fewer regions than that.
const MAX_REGIONS: usize = 40;
/// A manifest has no room for more.
const MAX_CONSUMERS: usize = 100;

impl Cache {
    /// Reads the document of the cache `name`.
    ///
    /// # Errors
    /// [`InvalidCache`] with the path of the first field that is wrong.
    pub fn parse(name: CacheName, text: &str) -> Result<Self, InvalidCache> {
        let document = Document::read(text)?;
        document.check()?;
        Ok(Self {
            name,
            images: document.images,
            watch: document.watch,
            source_accounts: document.source_accounts,
            debounce: document.debounce,
            os_updates: document.os_updates,
            architectures: document.architectures,
            variant: document.variant,
            builder: document.builder,
            incremental: document.incremental,
            time_limits: document.time_limits,
            regions: document.regions,
            consumers: document.consumers,
            retain: document.retain,
            copy_minutes: document.copy_minutes,
        })
    }

    /// Adapts the document to Frontload's account and home region: puts the home region first,
    /// and adds it when the document has no regions.
    ///
    /// # Errors
    /// [`InvalidCache`] when `regions` lacks the home region, when our own account is among the
    /// consumers or the source accounts, or when an image is from an account that is neither our
    /// own nor a source account.
    pub fn for_home(
        mut self,
        account: &AccountId,
        home: &RegionName,
    ) -> Result<Self, InvalidCache> {
        if self.regions.is_empty() {
            let region = home.clone();
            self.regions.push(RegionSettings { region, kms_key_id: None, fsr_zones: Vec::new() });
        }
        let Some(place) = self.regions.iter().position(|r| r.region == *home) else {
            return Err(InvalidCache {
                field: "regions".to_owned(),
                problem: format!("{home}, where the snapshot is made, is missing: add it"),
            });
        };
        self.regions[..=place].rotate_right(1);
        if let Some(own) = self.consumers.iter().position(|c| c.account == *account) {
            return Err(InvalidCache {
                field: format!("consumers[{own}].account"),
                problem: format!(
                    "{account} is Frontload's account, which has the snapshot anyway: remove it"
                ),
            });
        }
        self.check_sources(account)?;
        Ok(self)
    }

    fn check_sources(&self, own: &AccountId) -> Result<(), InvalidCache> {
        if let Some(index) = self.source_accounts.iter().position(|account| account == own) {
            return Err(InvalidCache {
                field: format!("sourceAccounts[{index}]"),
                problem: format!(
                    "{own} is Frontload's account, whose images are allowed anyway: remove it"
                ),
            });
        }
        for (index, selection) in self.images.iter().enumerate() {
            let Some(registry) = selection.ecr_registry() else { continue };
            let account = registry.account;
            if account != *own && !self.source_accounts.contains(&account) {
                return Err(InvalidCache {
                    field: format!("images[{index}]"),
                    problem: format!(
                        "account {account} is not allowed as a source: add it to sourceAccounts"
                    ),
                });
            }
        }
        Ok(())
    }

    /// Whether an event about `image` is a reason to plan this cache again. A settled cache has
    /// only images of allowed accounts, so an image of another account or registry never matches.
    #[must_use]
    pub fn is_concerned_by(&self, image: &EcrImage) -> bool {
        self.images.iter().any(|selection| selection.concerns(image))
            && (self.watch.is_empty() || self.watch.iter().any(|pattern| pattern.matches(image)))
    }
}

impl Document {
    fn read(text: &str) -> Result<Self, InvalidCache> {
        let value: Value = serde_json::from_str(text).map_err(|error| InvalidCache {
            field: String::new(),
            problem: format!("the document is not JSON: {error}"),
        })?;
        let document = serde_path_to_error::deserialize(value)?;
        // `Value` silently keeps the last of duplicate fields; this pass reports them.
        let mut again = serde_json::Deserializer::from_str(text);
        serde_path_to_error::deserialize::<_, Self>(&mut again)?;
        Ok(document)
    }

    /// Checks the rules that the type of one field cannot express.
    fn check(&self) -> Result<(), InvalidCache> {
        check_images(&self.images)?;
        check_optional_list("watch", &self.watch, MAX_WATCHED)?;
        check_optional_list("sourceAccounts", &self.source_accounts, MAX_SOURCES)?;
        check_debounce(self.debounce)?;
        check_os_updates(&self.os_updates)?;
        check_list("architectures", &self.architectures, 2)?;
        check_incremental(self.incremental)?;
        check_limits(&self.time_limits)?;
        check_regions(&self.regions)?;
        let accounts: Vec<_> = self.consumers.iter().map(|c| &c.account).collect();
        check_optional_list("consumers", &accounts, MAX_CONSUMERS)?;
        check_range("retain.count", self.retain.count, 1, 1000)?;
        check_range("retain.minimumAgeDays", self.retain.minimum_age_days, 0, 3650)?;
        check_copy_minutes(self.copy_minutes, &self.time_limits)
    }
}

/// Refuses entries that together ask for more images than can be planned.
fn check_images(images: &[Selection]) -> Result<(), InvalidCache> {
    check_list("images", images, MAX_IMAGES)?;
    let most: usize = images.iter().map(Selection::most).sum();
    if most <= MAX_IMAGES {
        return Ok(());
    }
    Err(InvalidCache {
        field: "images".to_owned(),
        problem: format!(
            "the entries ask for up to {most} images: at most {MAX_IMAGES} fit, lower newest or \
             split the cache"
        ),
    })
}

/// Longest wait in seconds. For longer waits use the schedule instead of pushes.
const MAX_DEBOUNCE: i64 = 3600;

fn check_debounce(debounce: Debounce) -> Result<(), InvalidCache> {
    let (quiet, limit) = (i64::from(debounce.quiet_seconds), i64::from(debounce.limit_seconds));
    check_range("debounce.quietSeconds", quiet, 0, MAX_DEBOUNCE)?;
    if limit < quiet {
        return Err(InvalidCache {
            field: "debounce.limitSeconds".to_owned(),
            problem: format!("{limit} is less than quietSeconds: use {quiet} to {MAX_DEBOUNCE}"),
        });
    }
    check_range("debounce.limitSeconds", limit, quiet, MAX_DEBOUNCE)
}

fn check_os_updates(updates: &OsUpdates) -> Result<(), InvalidCache> {
    let OsUpdates::Window { days, start_hour, hours } = updates else { return Ok(()) };
    check_list("osUpdates.days", days, 7)?;
    check_range("osUpdates.startHour", (*start_hour).into(), 0, 23)?;
    check_range("osUpdates.hours", (*hours).into(), 1, 24)
}

/// Longest chain. Most blocks of a longer one would come from builds that nobody remembers.
const MAX_LINKS: i64 = 100;

fn check_incremental(incremental: Incremental) -> Result<(), InvalidCache> {
    let Incremental { max_links, max_waste_percent } = incremental;
    check_range("incremental.maxLinks", max_links.into(), 0, MAX_LINKS)?;
    check_range("incremental.maxWastePercent", max_waste_percent.into(), 0, 1000)
}

fn check_limits(limits: &TimeLimits) -> Result<(), InvalidCache> {
    check_range("timeLimits.claimSeconds", limits.claim_seconds.into(), 1, 86_400)?;
    check_range("timeLimits.launchSeconds", limits.launch_seconds.into(), 1, 3_600)?;
    check_range("timeLimits.pullSeconds", limits.pull_seconds.into(), 1, 86_400)?;
    check_range("timeLimits.snapshotSeconds", limits.snapshot_seconds.into(), 1, 86_400)?;
    check_range("timeLimits.replicateSeconds", limits.replicate_seconds.into(), 1, 86_400)?;
    let all = [
        limits.claim_seconds,
        limits.launch_seconds,
        limits.pull_seconds,
        limits.snapshot_seconds,
        limits.replicate_seconds,
    ];
    check_range("timeLimits (their sum)", all.map(i64::from).iter().sum(), 5, MAX_SECONDS)
}

fn check_regions(regions: &[RegionSettings]) -> Result<(), InvalidCache> {
    let names: Vec<_> = regions.iter().map(|region| &region.region).collect();
    check_optional_list("regions", &names, MAX_REGIONS)?;
    for (index, settings) in regions.iter().enumerate() {
        let region = &settings.region;
        if let Some(key) =
            settings.kms_key_id.as_ref().filter(|key| key.region() != region.as_str())
        {
            return Err(InvalidCache {
                field: format!("regions[{index}].kmsKeyId"),
                problem: format!("the key is in {}: name one of {region}", key.region()),
            });
        }
        if let Some(zone) = settings.fsr_zones.iter().position(|zone| !zone.is_in(region)) {
            return Err(InvalidCache {
                field: format!("regions[{index}].fsrZones[{zone}]"),
                problem: format!("{} is not a zone of {region}", settings.fsr_zones[zone]),
            });
        }
    }
    Ok(())
}

/// EC2 accepts 15 minutes to 48 hours in steps of 15 minutes (`CopySnapshot`,
/// `CompletionDurationMinutes`). A copy with more time than the step that waits for it could not
/// succeed.
fn check_copy_minutes(minutes: Option<u32>, limits: &TimeLimits) -> Result<(), InvalidCache> {
    let Some(minutes) = minutes else { return Ok(()) };
    let problem = if minutes % 15 != 0 || !(15..=2880).contains(&minutes) {
        format!("{minutes} is not allowed: use 15 to 2880 in steps of 15")
    } else if minutes * 60 > limits.replicate_seconds {
        format!("{minutes} minutes are longer than timeLimits.replicateSeconds: raise that")
    } else {
        return Ok(());
    };
    Err(InvalidCache { field: "copyMinutes".to_owned(), problem })
}

fn check_optional_list<T: PartialEq>(
    field: &str,
    list: &[T],
    most: usize,
) -> Result<(), InvalidCache> {
    if list.is_empty() { Ok(()) } else { check_list(field, list, most) }
}

fn check_list<T: PartialEq>(field: &str, list: &[T], most: usize) -> Result<(), InvalidCache> {
    let problem = if list.is_empty() {
        "the list is empty: name at least one".to_owned()
    } else if list.len() > most {
        format!("the list has {} entries: at most {most} fit, split the cache", list.len())
    } else if list.iter().enumerate().any(|(index, entry)| list[..index].contains(entry)) {
        "an entry is listed twice: list each once".to_owned()
    } else {
        return Ok(());
    };
    Err(InvalidCache { field: field.to_owned(), problem })
}

fn check_range(field: &str, value: i64, least: i64, most: i64) -> Result<(), InvalidCache> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(InvalidCache {
        field: field.to_owned(),
        problem: format!("{value} is out of range: use {least} to {most}"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({
            "images": ["ghcr.io/team/app:v1"],
            "architectures": ["x86_64"],
            "variant": "aws-k8s-1.35"
        })
    }

    fn parse(value: &Value) -> Result<Cache, String> {
        let name = "default".parse().unwrap();
        Cache::parse(name, &value.to_string()).map_err(|error| error.to_string())
    }

    fn refusal(change: impl FnOnce(&mut Value)) -> String {
        let mut value = document();
        change(&mut value);
        parse(&value).expect_err("refused")
    }

    #[test]
    fn a_short_document_gets_the_defaults() {
        let cache = parse(&document()).unwrap();
        assert_eq!(cache.builder.volume_gib, VolumeSize::Gib(100));
        assert_eq!(cache.time_limits.pull_seconds, 3600);
        assert_eq!((cache.debounce.quiet_seconds, cache.debounce.limit_seconds), (60, 600));
        assert_eq!(cache.os_updates, OsUpdates::AtOnce);
    }

    #[test]
    fn text_that_is_not_json_is_refused_as_such() {
        let error = Cache::parse("default".parse().unwrap(), "images: []").unwrap_err();
        assert!(error.problem.starts_with("the document is not JSON"), "{error}");
    }

    #[test]
    fn an_unknown_field_is_named_with_its_path() {
        let error = refusal(|doc| doc["builder"] = json!({"volumeGb": 3}));
        assert!(
            error.starts_with("builder.volumeGb: unknown field `volumeGb`, expected"),
            "{error}"
        );
        assert!(refusal(|doc| doc["image"] = json!([])).contains("unknown field `image`"));
    }

    #[test]
    fn a_bad_reference_is_reported_with_its_path_and_remedy() {
        for bad in ["a;rm -rf /", "$(x)", "ghcr.io/a b:c", &"a".repeat(300)] {
            let error = refusal(|doc| doc["images"] = json!(["ghcr.io/a/b:c", bad]));
            assert!(error.starts_with("images[1]: "), "{error}");
            assert!(error.contains("not an image reference"), "{error}");
        }
    }

    #[test]
    fn values_outside_their_range_are_refused_with_the_range() {
        let error = refusal(|doc| doc["architectures"] = json!(["riscv64"]));
        assert!(error.contains("architectures[0]"), "{error}");
        assert!(error.contains("`x86_64` or `arm64`"), "{error}");
        let error = refusal(|doc| doc["variant"] = json!("aws-k8s-1.35-nvidia"));
        assert!(error.starts_with("variant: ") && error.contains("use aws-k8s-1."), "{error}");
        let error = refusal(|doc| doc["builder"] = json!({"volumeGib": 0}));
        assert_eq!(error, "builder.volumeGib: 0 is out of range: use 20 to 16384");
        let error = refusal(|doc| doc["incremental"] = json!({"maxLinks": 101}));
        assert_eq!(error, "incremental.maxLinks: 101 is out of range: use 0 to 100");
        let error = refusal(|doc| doc["timeLimits"] = json!({"pullSeconds": 0}));
        assert_eq!(error, "timeLimits.pullSeconds: 0 is out of range: use 1 to 86400");
        let long = json!({"pullSeconds": 80_000, "snapshotSeconds": 20_000});
        let error = refusal(|doc| doc["timeLimits"] = long);
        assert!(error.starts_with("timeLimits (their sum): 129700 is out of range"), "{error}");
        let error = refusal(|doc| doc["builder"] = json!({"instanceTypes": ["big; one"]}));
        assert!(error.starts_with("builder.instanceTypes[0]: "), "{error}");
        let error = refusal(|doc| doc["builder"] = json!({"subnetIds": ["vpc-1"]}));
        assert!(error.starts_with("builder.subnetIds[0]: "), "{error}");
    }

    #[test]
    fn invalid_regions_and_consumers_are_refused() {
        let key = "arn:aws:kms:us-east-1:123456789012:key/1";
        for (field, value, start) in [
            (
                "regions",
                json!([{"region": "nowhere"}]),
                "regions[0].region: \"nowhere\" is not a region",
            ),
            (
                "regions",
                json!([{"region": "eu-west-1"}, {"region": "eu-west-1"}]),
                "regions: an entry is listed twice",
            ),
            (
                "regions",
                json!([{"region": "eu-west-1", "kmsKeyId": key}]),
                "regions[0].kmsKeyId: the key is in us-east-1",
            ),
            (
                "regions",
                json!([{"region": "eu-west-1", "fsrZones": ["us-east-1a"]}]),
                "regions[0].fsrZones[0]: us-east-1a is not a zone",
            ),
            (
                "consumers",
                json!([{"account": "12345678901"}]),
                "consumers[0].account: \"12345678901\" is not an account id",
            ),
            ("retain", json!({"count": 0}), "retain.count: 0 is out of range: use 1"),
            (
                "retain",
                json!({"minimumAgeDays": -1}),
                "retain.minimumAgeDays: -1 is out of range: use 0",
            ),
            ("copyMinutes", json!(20), "copyMinutes: 20 is not allowed: use 15 to 2880"),
            ("copyMinutes", json!(300), "copyMinutes: 300 minutes are longer"),
        ] {
            let error = refusal(|doc| doc[field] = value);
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn the_home_region_comes_first_and_our_account_is_not_a_consumer() {
        let settle = |change: fn(&mut Value)| {
            let mut value = document();
            change(&mut value);
            let cache = parse(&value).unwrap();
            cache.for_home(&"123456789012".parse().unwrap(), &"us-east-1".parse().unwrap())
        };
        let regions = |cache: Cache| -> Vec<String> {
            cache.regions.iter().map(|region| region.region.to_string()).collect()
        };
        assert_eq!(regions(settle(|_| ()).unwrap()), ["us-east-1"]);
        let three = settle(|doc| {
            doc["regions"] =
                json!([{"region": "eu-west-1"}, {"region": "us-east-1"}, {"region": "eu-west-2"}]);
        });
        assert_eq!(regions(three.unwrap()), ["us-east-1", "eu-west-1", "eu-west-2"]);
        let away = settle(|doc| doc["regions"] = json!([{"region": "eu-west-1"}]));
        assert!(away.unwrap_err().to_string().starts_with("regions: us-east-1, where"));
        let own = settle(|doc| doc["consumers"] = json!([{"account": "123456789012"}]));
        assert!(
            own.unwrap_err()
                .to_string()
                .starts_with("consumers[0].account: 123456789012 is Frontload's")
        );
    }

    const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

    #[test]
    fn an_invalid_rule_is_refused_with_path_and_remedy() {
        let app = format!("{HOST}/team/app");
        for (rule, start) in [
            (json!({"tags": "v*"}), "images[1]: missing field `repository`"),
            (
                json!({"repository": "ghcr.io/team/app", "tags": "v*"}),
                "images[1].repository: \"ghcr.io/team/app\": a rule needs a private ECR repository",
            ),
            (json!({"repository": app}), "images[1]: a rule needs either tags"),
            (
                json!({"repository": app, "tags": "*", "versions": "*"}),
                "images[1]: a rule needs either tags",
            ),
            (
                json!({"repository": app, "tags": "^v.*$"}),
                "images[1].tags: \"^v.*$\" is not a pattern: write the name with *",
            ),
            (
                json!({"repository": app, "versions": ">=1.2 <2"}),
                "images[1].versions: \">=1.2 <2\" is not a range of versions: expected comma",
            ),
            (
                json!({"repository": app, "tags": "*", "newest": 0}),
                "images[1].newest: 0 is out of range: use 1 to 50",
            ),
            (
                json!({"repository": app, "tags": "*", "newest": 51}),
                "images[1].newest: 51 is out of range: use 1 to 50",
            ),
            (
                json!({"repository": app, "tags": "*", "by": "age"}),
                "images[1].by: unknown variant `age`, expected `pushTime` or `version`",
            ),
            (json!({"repository": app, "tag": "*"}), "images[1].tag: unknown field `tag`"),
            (json!(3), "images[1]: invalid type: integer `3`, expected a string or an object"),
        ] {
            let error = refusal(|doc| doc["images"] = json!(["ghcr.io/a/b:c", rule]));
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn rules_for_too_many_images_are_refused() {
        let app = format!("{HOST}/team/app");
        let rule = |tags: &str| json!({"repository": app, "tags": tags, "newest": 50});
        let error = refusal(|doc| doc["images"] = json!([rule("a*"), rule("b*"), rule("c*")]));
        assert!(error.starts_with("images: the entries ask for up to 150 images"), "{error}");
    }

    #[test]
    fn invalid_watch_patterns_are_refused() {
        for (pattern, problem) in [
            ("team/app", "has no colon: write <repository>:<tag>"),
            ("team/app:", "is not a pattern"),
            (":v1", "is not a pattern"),
            ("team/app:v1:v2", "is not a pattern"),
            ("$(x):*", "is not a pattern"),
        ] {
            let error = refusal(|doc| doc["watch"] = json!(["*:*", pattern]));
            assert!(error.starts_with("watch[1]: ") && error.contains(problem), "{error}");
        }
    }

    #[test]
    fn waiting_times_and_update_windows_outside_their_range_are_refused() {
        let days = json!(["saturday", "sunday"]);
        let weekend = |start, hours| json!({"days": days, "startHour": start, "hours": hours});
        for (field, value, start) in [
            ("debounce", json!({"quietSeconds": 3601}), "debounce.quietSeconds: 3601 is out of"),
            (
                "debounce",
                json!({"quietSeconds": 900}),
                "debounce.limitSeconds: 600 is less than quietSeconds: use 900 to 3600",
            ),
            ("debounce", json!({"limitSeconds": 3601}), "debounce.limitSeconds: 3601 is out of"),
            ("debounce", json!({"quiet": 1}), "debounce.quiet: unknown field"),
            ("osUpdates", json!("later"), "osUpdates: unknown variant `later`, expected `atOnce`"),
            ("osUpdates", weekend(24, 1), "osUpdates.startHour: 24 is out of range: use 0 to 23"),
            ("osUpdates", weekend(0, 0), "osUpdates.hours: 0 is out of range: use 1 to 24"),
            ("osUpdates", weekend(0, 25), "osUpdates.hours: 25 is out of range: use 1 to 24"),
            (
                "osUpdates",
                json!({"days": [], "startHour": 1, "hours": 1}),
                "osUpdates.days: the list is empty",
            ),
            (
                "osUpdates",
                json!({"days": ["caturday"], "startHour": 1, "hours": 1}),
                "osUpdates.days[0]: unknown variant `caturday`",
            ),
        ] {
            let error = refusal(|doc| doc[field] = value);
            assert!(error.starts_with(start), "{error}");
        }
        let window = weekend(22, 4);
        let mut value = document();
        value["osUpdates"] = window;
        value["debounce"] = json!({"quietSeconds": 0, "limitSeconds": 0});
        assert!(parse(&value).is_ok());
    }

    fn settled(change: impl FnOnce(&mut Value)) -> Result<Cache, String> {
        let mut value = document();
        change(&mut value);
        let cache = parse(&value).unwrap();
        cache
            .for_home(&"123456789012".parse().unwrap(), &"us-east-1".parse().unwrap())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_image_of_an_unlisted_account_is_refused() {
        let foreign = "210987654321.dkr.ecr.us-east-1.amazonaws.com/team/app";
        let fixed = json!(["ghcr.io/a/b:c", format!("{foreign}:v1")]);
        let rule = json!(["ghcr.io/a/b:c", {"repository": foreign, "tags": "*"}]);
        for images in [fixed, rule] {
            let error = settled(|doc| doc["images"] = images.clone()).unwrap_err();
            assert!(error.starts_with("images[1]: account 210987654321 is not allowed"), "{error}");
            let allowed = settled(|doc| {
                doc["images"] = images;
                doc["sourceAccounts"] = json!(["210987654321"]);
            });
            assert!(allowed.is_ok());
        }
        let own = settled(|doc| doc["sourceAccounts"] = json!(["123456789012"])).unwrap_err();
        assert!(own.starts_with("sourceAccounts[0]: 123456789012 is Frontload's account"), "{own}");
    }

    #[test]
    fn a_cache_reacts_to_its_watched_images_only() {
        let cache = |watch: Value| {
            let rule = json!({"repository": format!("{HOST}/team/app"), "tags": "v*"});
            settled(|doc| {
                doc["images"] = json!([rule, format!("{HOST}/team/tool:latest")]);
                doc["watch"] = watch;
            })
            .unwrap()
        };
        let image = |repository: &str, tag: &str| EcrImage {
            account: "123456789012".parse().unwrap(),
            region: "us-east-1".parse().unwrap(),
            repository: repository.parse().unwrap(),
            tag: Some(tag.parse().unwrap()),
            digest: None,
        };
        let all = cache(json!([]));
        assert!(all.is_concerned_by(&image("team/app", "v2")));
        assert!(all.is_concerned_by(&image("team/tool", "latest")));
        assert!(!all.is_concerned_by(&image("team/other", "latest")));
        let some = cache(json!(["team/app:*", "team/other:*"]));
        assert!(some.is_concerned_by(&image("team/app", "v2")));
        assert!(!some.is_concerned_by(&image("team/tool", "latest")));
        assert!(!some.is_concerned_by(&image("team/other", "v1")));
        let foreign =
            EcrImage { account: "210987654321".parse().unwrap(), ..image("team/app", "v2") };
        assert!(!all.is_concerned_by(&foreign));
    }

    #[test]
    fn empty_lists_and_duplicates_are_refused() {
        let error = refusal(|doc| doc["images"] = json!([]));
        assert_eq!(error, "images: the list is empty: name at least one");
        let error = refusal(|doc| doc["architectures"] = json!([]));
        assert_eq!(error, "architectures: the list is empty: name at least one");
        let twice = json!(["ghcr.io/a/b:c", "ghcr.io/a/b:c"]);
        assert!(refusal(|doc| doc["images"] = twice).contains("is listed twice"));
    }
}
