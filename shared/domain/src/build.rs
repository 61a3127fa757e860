//! A build: everything that its steps need. `ClaimBuild` decides it before anything is created. It
//! does not change afterwards.

use serde::{Deserialize, Serialize};

use super::cache::Variant;
use super::names::{checked_string, quoted};
use super::volume::{self, Machine};
use super::{
    AccountId, Ancestor, Architecture, BuildId, BuilderSettings, Cache, CacheName, Consumer,
    Debounce, Digest, ImageReference, RegionName, RegionSettings, TimeLimits, UsualSeconds,
    VolumeSize,
};
use crate::names::ExecutionArn;

/// A request to build one cache for one architecture. Its tags are resolved when it is the
/// build's turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BuildRequest {
    /// The id of the build that serves the request.
    pub id: BuildId,
    /// The cache.
    pub cache: CacheName,
    /// The architecture.
    pub architecture: Architecture,
    /// Whether to build even if nothing has changed.
    pub force: bool,
    /// Whether to start from an empty volume, regardless of what is published.
    #[serde(default)]
    pub full: bool,
    /// How long to wait for more requests before the build starts.
    pub debounce: Debounce,
    /// Maximum seconds to wait for another build.
    pub claim_seconds: u32,
}

/// One snapshot to create: a cache for one architecture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Build {
    /// Known before anything is created: tags and client tokens derive from it.
    pub id: BuildId,
    /// The execution that builds. After it has ended, its leftover resources are deleted. Absent
    /// in builds that began under a version without this field.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub execution: Option<ExecutionArn>,
    /// The cache.
    pub cache: CacheName,
    /// The architecture of builder and images.
    pub architecture: Architecture,
    /// The account that builds.
    pub account: AccountId,
    /// The region that builds.
    pub region: RegionName,
    /// Regions with replicas: the build's own region first.
    pub regions: Vec<RegionSettings>,
    /// The accounts that the replicas are shared with.
    pub consumers: Vec<Consumer>,
    /// Minutes within which EC2 completes a copy, if requested.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub copy_minutes: Option<u32>,
    /// The images, in the cache's order.
    pub images: Vec<PlannedImage>,
    /// Compressed bytes of all distinct layers. Absent when the layers of an image are unknown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub download_bytes: Option<u64>,
    /// Size of the data volume in GiB.
    pub volume_gib: u16,
    /// What the data volume starts from; absent for a full build.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ancestor: Option<Ancestor>,
    /// The builder's operating system.
    pub os: OsImage,
    /// The builder's settings.
    pub builder: BuilderSettings,
    /// How long each step may take.
    pub time_limits: TimeLimits,
    /// How long the steps usually wait.
    #[serde(default)]
    pub usual_seconds: UsualSeconds,
    /// Equal fingerprints mean equal contents: see [`Build::compute_fingerprint`].
    pub fingerprint: Digest,
}

/// Where Frontload runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Its account.
    pub account: AccountId,
    /// Its region, where snapshots are made.
    pub region: RegionName,
}

/// An image of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlannedImage {
    /// The reference in the cache document, or one that a rule selected.
    pub reference: ImageReference,
    /// The digest of the tag when the build was planned. The builder pulls this digest even if
    /// the tag moves. Absent for a tag in a registry other than ECR, which cannot be queried; the
    /// builder then reports the digest that it pulled.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<Digest>,
    /// Bytes of its compressed layers for this architecture, where known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub compressed_bytes: Option<u64>,
    /// Digest of the manifest for the architecture: equal to `digest`, unless that is the digest
    /// of an index. Absent where the registry cannot be queried.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub manifest: Option<Digest>,
    /// Index of the image to wait for. It unpacks most of what this image shares with others
    /// ([`crate::pull_order::waits`]).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waits_for: Option<usize>,
    /// The topmost layer that both images share. If the builder's volume came with this layer,
    /// the image does not wait.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shared_layer: Option<Digest>,
}

checked_string!(
    /// An AMI id.
    ImageId,
    |text| match text.strip_prefix("ami-") {
        Some(rest) if (1..=32).contains(&rest.len())
            && rest.bytes().all(|b| b.is_ascii_alphanumeric()) => Ok(()),
        _ => Err(format!("{} is not an AMI id", quoted(text))),
    }
);

/// A release of Bottlerocket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OsImage {
    /// Such as `aws-k8s-1.35`.
    pub variant: Variant,
    /// The AMI in the build's region.
    pub image_id: ImageId,
    /// Such as `1.57.0-abcdef01`.
    pub version: OsVersion,
}

checked_string!(
    /// A Bottlerocket version: at most 64 of letters, digits, `.`, `+`, `-`.
    OsVersion,
    |text| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || ".+-".contains(c);
        if (1..=64).contains(&text.len()) && text.chars().all(is_part) {
            return Ok(());
        }
        Err(format!("{} is not a Bottlerocket version", quoted(text)))
    }
);

impl OsVersion {
    /// Major, minor and patch, without the commit's hash. `None` for a version of another form.
    #[must_use]
    pub fn release(&self) -> Option<[u32; 3]> {
        let (release, _) = self.as_str().split_once('-').unwrap_or((self.as_str(), ""));
        let numbers: Result<Vec<u32>, _> = release.split('.').map(str::parse).collect();
        numbers.ok()?.try_into().ok()
    }
}

/// Version of the snapshot's form; a part of the fingerprint. A new value makes every cache build
/// once more. Format 2 contains nothing of the builder.
const FORMAT: &str = "format 2";

impl Build {
    /// Assembles a full build. `download_bytes` are those of all layers, where known. Without
    /// them an automatic volume gets the smallest size.
    #[must_use]
    pub fn new(
        id: BuildId,
        cache: &Cache,
        architecture: Architecture,
        home: &Home,
        os: OsImage,
        images: Vec<PlannedImage>,
        download_bytes: Option<u64>,
    ) -> Self {
        let volume_gib = match cache.builder.volume_gib {
            VolumeSize::Gib(gib) => gib,
            VolumeSize::Auto => volume::size_for(download_bytes.unwrap_or_default(), None),
        };
        let mut build = Self {
            id,
            execution: None,
            cache: cache.name.clone(),
            architecture,
            account: home.account.clone(),
            region: home.region.clone(),
            regions: cache.regions.clone(),
            consumers: cache.consumers.clone(),
            copy_minutes: cache.copy_minutes,
            images,
            download_bytes,
            volume_gib,
            ancestor: None,
            os,
            builder: cache.builder.clone(),
            time_limits: cache.time_limits,
            usual_seconds: UsualSeconds::default(),
            fingerprint: Digest::of(b""),
        };
        build.fingerprint = build.compute_fingerprint();
        build
    }

    /// SHA-256 over everything that decides a publication: references with their digests, OS
    /// image, volume size and snapshotter, regions with their keys and zones, and consumers. The
    /// place of the builder and the time limits do not count.
    #[must_use]
    pub fn compute_fingerprint(&self) -> Digest {
        let mut lines: Vec<String> = self
            .images
            .iter()
            .map(|image| match &image.digest {
                Some(digest) => format!("{} {digest}", image.reference),
                None => format!("{} by tag", image.reference),
            })
            .collect();
        lines.sort();
        lines.push(FORMAT.to_owned());
        lines.push(self.os.image_id.to_string());
        let builder = &self.builder;
        // An automatic size is left out: it depends on the images and on what was published
        // before.
        let size = match builder.volume_gib {
            VolumeSize::Auto => "auto".to_owned(),
            VolumeSize::Gib(gib) => gib.to_string(),
        };
        lines.push(format!("{size} GiB {}", builder.snapshotter.as_str()));
        for settings in &self.regions {
            let key = settings.kms_key_id.as_ref().map_or("default key", |key| key.as_str());
            let zones: Vec<&str> =
                settings.fsr_zones.iter().map(super::place::ZoneName::as_str).collect();
            lines.push(format!("{} {key} {}", settings.region, zones.join(" ")));
        }
        lines.extend(self.consumers.iter().map(|consumer| consumer.account.to_string()));
        Digest::of(lines.join("\n").as_bytes())
    }

    /// The machine that pulls: the document's instance types, or those that suit the images'
    /// size.
    #[must_use]
    pub fn machine(&self) -> Machine {
        let machine = volume::machine_for(self.download_bytes, self.architecture)
            .with_volume(self.volume_gib);
        if self.builder.instance_types.is_empty() {
            return machine;
        }
        let own = self.builder.instance_types.iter().map(ToString::to_string);
        Machine { instance_types: own.collect(), ..machine }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sample;

    #[test]
    fn a_build_survives_serialization_for_the_state_machine() {
        let build = sample();
        let text = serde_json::to_string(&build).unwrap();
        assert_eq!(serde_json::from_str::<Build>(&text).unwrap(), build);
    }

    #[test]
    fn only_published_properties_change_the_fingerprint() {
        let build = sample();
        let fingerprint = |change: fn(&mut Build)| {
            let mut other = sample();
            change(&mut other);
            other.compute_fingerprint()
        };
        let changes: [fn(&mut Build); 5] = [
            |b| b.images[0].digest = Some(format!("sha256:{}", "b".repeat(64)).parse().unwrap()),
            |b| b.os.image_id = "ami-0abd".parse().unwrap(),
            |b| b.builder.volume_gib = VolumeSize::Auto,
            |b| b.regions[0].fsr_zones.push("us-east-1a".parse().unwrap()),
            |b| {
                let consumer = serde_json::json!({"account": "210987654321"});
                b.consumers.push(serde_json::from_value(consumer).unwrap());
            },
        ];
        for change in changes {
            assert_ne!(fingerprint(change), build.fingerprint);
        }
        assert_eq!(fingerprint(|b| b.builder.public_ip = Some(true)), build.fingerprint);
        assert_eq!(fingerprint(|b| b.volume_gib += 1), build.fingerprint);
        assert_eq!(fingerprint(|b| b.usual_seconds.pull = Some(1)), build.fingerprint);
    }
}
