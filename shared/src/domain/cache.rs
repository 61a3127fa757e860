//! The cache document: the configuration that a person puts into Parameter
//! Store under `<prefix>/caches/<name>`.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::names::{checked_string, quoted};
use super::{Architecture, CacheName, ImageReference};

/// A checked cache document with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// The last part of the parameter's name.
    pub name: CacheName,
    /// The images to hold, in the document's order; none twice.
    pub images: Vec<ImageReference>,
    /// One build is made for each; none twice.
    pub architectures: Vec<Architecture>,
    /// The Bottlerocket variant of the builder.
    pub variant: Variant,
    /// The instance that pulls.
    pub builder: BuilderSettings,
    /// How long each step may take.
    pub time_limits: TimeLimits,
}

/// The instance that pulls the images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BuilderSettings {
    /// Tried in order when EC2 has no capacity; empty means the default type
    /// of the architecture.
    #[serde(default)]
    pub instance_types: Vec<InstanceType>,
    /// Tried in order after all types; empty means the default VPC.
    #[serde(default)]
    pub subnet_ids: Vec<SubnetId>,
    /// Empty means the VPC's default group.
    #[serde(default)]
    pub security_group_ids: Vec<SecurityGroupId>,
    /// Size of the data volume in GiB: compressed plus unpacked images and
    /// some room. Nodes need a volume at least as large.
    #[serde(default = "default_volume_gib")]
    pub volume_gib: u16,
    /// Must be what the nodes use: Bottlerocket empties the volume of a node
    /// whose snapshotter differs (bottlerocket `settings.container-runtime`).
    #[serde(default)]
    pub snapshotter: Snapshotter,
    /// Whether the builder gets a public address, for subnets without NAT or
    /// endpoints.
    #[serde(default)]
    pub public_ip: bool,
}

impl Default for BuilderSettings {
    fn default() -> Self {
        Self {
            instance_types: Vec::new(),
            subnet_ids: Vec::new(),
            security_group_ids: Vec::new(),
            volume_gib: default_volume_gib(),
            snapshotter: Snapshotter::default(),
            public_ip: false,
        }
    }
}

fn default_volume_gib() -> u16 {
    100
}

/// containerd's way of keeping unpacked layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TimeLimits {
    /// Waiting for another build of the same cache and architecture.
    pub claim_seconds: u32,
    /// From `RunInstances` until the admin container answers.
    pub launch_seconds: u32,
    /// The builder's script, also the SSM document's `executionTimeout`
    /// (at most 172,800 seconds, `AWS-RunShellScript`).
    pub pull_seconds: u32,
    /// From `CreateSnapshot` until the snapshot is completed.
    pub snapshot_seconds: u32,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            claim_seconds: 4 * 3600,
            launch_seconds: 900,
            pull_seconds: 3600,
            snapshot_seconds: 2 * 3600,
        }
    }
}

checked_string!(
    /// A Kubernetes variant of Bottlerocket without GPU drivers, such as
    /// `aws-k8s-1.35`. NVIDIA variants do not boot without their GPU
    /// (bottlerocket#4435); the standard variant builds for their nodes.
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

/// `Ok` when `text` is letters, digits, and `extra`, at most 64 long.
fn check_word(text: &str, what: &str, prefix: &str, extra: &str) -> Result<(), String> {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || extra.contains(c);
    match text.strip_prefix(prefix) {
        Some(rest) if !rest.is_empty() && text.len() <= 64 && rest.chars().all(is_word) => Ok(()),
        _ => Err(format!("{} is not {what}", quoted(text))),
    }
}

checked_string!(
    /// An EC2 instance type.
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
    SubnetId,
    |text| check_word(text, "a subnet id: use subnet- and its digits", "subnet-", "")
);

checked_string!(
    /// An EC2 security group id.
    SecurityGroupId,
    |text| check_word(text, "a security group id: use sg- and its digits", "sg-", "")
);

/// Why a cache document is refused: where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidCache {
    /// Path of the field, such as `images[1]`; empty for the whole document.
    pub field: String,
    /// What is wrong and what would be right.
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

/// The document as written, before the rules that span fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    images: Vec<ImageReference>,
    architectures: Vec<Architecture>,
    variant: Variant,
    #[serde(default)]
    builder: BuilderSettings,
    #[serde(default)]
    time_limits: TimeLimits,
}

/// More images than any manifest could name: Plan refuses fewer already when
/// their references are long.
const MAX_IMAGES: usize = 100;

/// All steps together must end, clean-up included, before the build state
/// machine's own limit of 24 h: past that nothing cleans up.
const MAX_SECONDS: u32 = 23 * 3600;

impl Cache {
    /// Reads the document of the cache `name`.
    ///
    /// # Errors
    /// [`InvalidCache`] with the path of the first field that is wrong.
    pub fn parse(name: CacheName, text: &str) -> Result<Self, InvalidCache> {
        let value: Value = serde_json::from_str(text).map_err(|error| InvalidCache {
            field: String::new(),
            problem: format!("the document is not JSON: {error}"),
        })?;
        let document: Document =
            serde_path_to_error::deserialize(value).map_err(|error| InvalidCache {
                field: match error.path().to_string() {
                    path if path == "." => String::new(),
                    path => path,
                },
                problem: error.into_inner().to_string(),
            })?;
        check_list("images", &document.images, MAX_IMAGES)?;
        check_list("architectures", &document.architectures, 2)?;
        check_range("builder.volumeGib", document.builder.volume_gib.into(), 1, 16_384)?;
        let limits = &document.time_limits;
        check_range("timeLimits.claimSeconds", limits.claim_seconds, 1, 86_400)?;
        check_range("timeLimits.launchSeconds", limits.launch_seconds, 1, 3_600)?;
        check_range("timeLimits.pullSeconds", limits.pull_seconds, 1, 86_400)?;
        check_range("timeLimits.snapshotSeconds", limits.snapshot_seconds, 1, 86_400)?;
        let all = limits.claim_seconds
            + limits.launch_seconds
            + limits.pull_seconds
            + limits.snapshot_seconds;
        check_range("timeLimits (their sum)", all, 4, MAX_SECONDS)?;
        Ok(Self {
            name,
            images: document.images,
            architectures: document.architectures,
            variant: document.variant,
            builder: document.builder,
            time_limits: document.time_limits,
        })
    }
}

fn check_list<T: Ord>(field: &str, list: &[T], most: usize) -> Result<(), InvalidCache> {
    let problem = if list.is_empty() {
        "the list is empty: name at least one".to_owned()
    } else if list.len() > most {
        format!("the list has {} entries: at most {most} fit, split the cache", list.len())
    } else if list.iter().collect::<BTreeSet<_>>().len() < list.len() {
        "an entry stands twice: name each once".to_owned()
    } else {
        return Ok(());
    };
    Err(InvalidCache { field: field.to_owned(), problem })
}

fn check_range(field: &str, value: u32, least: u32, most: u32) -> Result<(), InvalidCache> {
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
        assert_eq!(cache.builder.volume_gib, 100);
        assert_eq!(cache.time_limits.pull_seconds, 3600);
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
    fn a_bad_reference_is_named_with_its_place_and_what_would_be_right() {
        for bad in ["a;rm -rf /", "$(x)", "ghcr.io/a b:c", &"a".repeat(300)] {
            let error = refusal(|doc| doc["images"] = json!(["ghcr.io/a/b:c", bad]));
            assert!(error.starts_with("images[1]: "), "{error}");
            assert!(error.contains("not an image reference"), "{error}");
        }
    }

    #[test]
    fn values_outside_their_set_are_refused_with_the_set() {
        let error = refusal(|doc| doc["architectures"] = json!(["riscv64"]));
        assert!(error.contains("architectures[0]"), "{error}");
        assert!(error.contains("`x86_64` or `arm64`"), "{error}");
        let error = refusal(|doc| doc["variant"] = json!("aws-k8s-1.35-nvidia"));
        assert!(error.starts_with("variant: ") && error.contains("use aws-k8s-1."), "{error}");
        let error = refusal(|doc| doc["builder"] = json!({"volumeGib": 0}));
        assert_eq!(error, "builder.volumeGib: 0 is out of range: use 1 to 16384");
        let error = refusal(|doc| doc["timeLimits"] = json!({"pullSeconds": 0}));
        assert_eq!(error, "timeLimits.pullSeconds: 0 is out of range: use 1 to 86400");
        let long = json!({"pullSeconds": 80_000, "snapshotSeconds": 20_000});
        let error = refusal(|doc| doc["timeLimits"] = long);
        assert!(error.starts_with("timeLimits (their sum): 115300 is out of range"), "{error}");
        let error = refusal(|doc| doc["builder"] = json!({"instanceTypes": ["big; one"]}));
        assert!(error.starts_with("builder.instanceTypes[0]: "), "{error}");
        let error = refusal(|doc| doc["builder"] = json!({"subnetIds": ["vpc-1"]}));
        assert!(error.starts_with("builder.subnetIds[0]: "), "{error}");
    }

    #[test]
    fn empty_and_doubled_lists_are_refused() {
        let error = refusal(|doc| doc["images"] = json!([]));
        assert_eq!(error, "images: the list is empty: name at least one");
        let error = refusal(|doc| doc["architectures"] = json!([]));
        assert_eq!(error, "architectures: the list is empty: name at least one");
        let twice = json!(["ghcr.io/a/b:c", "ghcr.io/a/b:c"]);
        assert!(refusal(|doc| doc["images"] = twice).contains("stands twice"));
    }
}
