//! The manifest: what a published snapshot contains. It is stored beside the snapshot id, so that
//! a person or a later build can read it without mounting the snapshot.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::cache::Snapshotter;
use super::names::{checked_string, quoted};
use super::place::{KeyArn, ZoneName};
use super::{
    Ancestor, Architecture, Build, BuildId, CacheName, Consumer, Digest, Durations, ImageReference,
    OsImage, RegionName,
};
use crate::VERSION;
use crate::pulled::{AncestorFate, ContainerdVersion, KernelRelease, Listing, PulledImages};
use crate::snapshot::SnapshotId;

/// Content and origin of one region's snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The version of Frontload that made the snapshot; absent in manifests of older versions.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub frontload: Option<FrontloadVersion>,
    /// The snapshot that this manifest describes.
    pub snapshot_id: SnapshotId,
    /// Its region.
    pub region: RegionName,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The key that encrypts it, if any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kms_key_id: Option<KeyArn>,
    /// The build that made it.
    pub build: BuildId,
    /// The rollback that published it, if one did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rollback: Option<BuildId>,
    /// The fencing token of the lease under which it was published. Nothing with an older token
    /// replaces it.
    #[serde(default)]
    pub token: u64,
    /// Its cache.
    pub cache: CacheName,
    /// The architecture of every image.
    pub architecture: Architecture,
    /// The images, in the cache's order.
    pub images: Vec<CachedImage>,
    /// The builder's operating system.
    pub os: OsImage,
    /// The builder's containerd version, as containerd reports it.
    pub containerd: ContainerdVersion,
    /// Release of the builder's kernel, which formatted the volume; absent in manifests from
    /// before it was recorded. Their snapshots are no ancestors: their files were never checked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kernel: Option<KernelRelease>,
    /// Nodes must use the same snapshotter, or Bottlerocket empties their volumes.
    pub snapshotter: Snapshotter,
    /// Size of the volume in GiB; a node's volume must be at least as large.
    pub volume_gib: u16,
    /// Bytes used on the volume.
    pub used_bytes: u64,
    /// Compressed bytes of all distinct layers, where known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub download_bytes: Option<u64>,
    /// Digest over the volume's files ([`PulledImages::listing`]). A later build starts from the
    /// snapshot only if its files still match. Version 0.1.0 published the listing of an empty
    /// store on AWS; it is read as `None`.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "read_listing")]
    pub listing: Option<Listing>,
    /// The snapshot that its volume started from; absent if its content was not kept.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ancestor: Option<SnapshotId>,
    /// How many incremental builds there are since the last full one, this build included; 0 for
    /// a full build.
    #[serde(default)]
    pub links: u16,
    /// [`Build::compute_fingerprint`]. If it is equal, there is nothing to build.
    pub fingerprint: Digest,
    /// The whole publication: one snapshot per region, home region first.
    pub replicas: Vec<ReplicaName>,
    /// The accounts other than our own that it is published to.
    pub consumers: Vec<Consumer>,
    /// The region's zones with fast snapshot restore.
    #[serde(default)]
    pub fsr_zones: Vec<ZoneName>,
    /// How long a node's volume takes to load completely.
    pub initialization: Initialization,
    /// How long the build's phases took; absent if they were not measured.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub durations: Option<Durations>,
}

checked_string!(
    /// A version of Frontload: at most 64 of letters, digits, `.`, `+`, `-`.
    FrontloadVersion,
    |text| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || ".+-".contains(c);
        if (1..=64).contains(&text.len()) && text.chars().all(is_part) {
            return Ok(());
        }
        Err(format!("{} is not a version of Frontload", quoted(text)))
    }
);

/// An image in the snapshot, stored under its tag and its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CachedImage {
    /// The reference in the cache document, or one that a rule selected.
    pub reference: ImageReference,
    /// Digest of the image or its index.
    pub digest: Digest,
}

/// One snapshot of a publication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaName {
    /// Its region.
    pub region: RegionName,
    /// Its id there.
    pub snapshot_id: SnapshotId,
}

/// A region's snapshot, completed and shared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replica {
    /// Its region.
    pub region: RegionName,
    /// Its id there.
    pub snapshot_id: SnapshotId,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The key that encrypts it, if any.
    #[serde(default)]
    pub kms_key_id: Option<KeyArn>,
}

/// Advice for a node's first minutes: EBS loads the blocks of a volume lazily from its snapshot
/// (EBS user guide, "Initialize Amazon EBS volumes").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Initialization {
    /// Seconds with `volumeInitializationRate` 100 (MiB/s).
    #[serde(rename = "seconds100MiBs")]
    pub seconds_at_100: u64,
    /// Seconds with `volumeInitializationRate` 300, the fastest.
    #[serde(rename = "seconds300MiBs")]
    pub seconds_at_300: u64,
    /// Dollars a month for fast snapshot restore in the region's requested zones.
    pub fsr_dollars_per_month: u64,
}

/// Dollars for one snapshot in one zone and month: $0.75 an hour (EBS pricing,
/// us-east-1), 730 hours.
const FSR_DOLLARS_PER_ZONE: f64 = 0.75 * 730.0;

impl Initialization {
    /// The advice for a snapshot with `used_bytes` and fast restore in `zones` zones.
    #[must_use]
    pub fn of(used_bytes: u64, zones: usize) -> Self {
        let mib = used_bytes.div_ceil(1 << 20);
        let zones = u32::try_from(zones).unwrap_or(u32::MAX);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a price")]
        let dollars = (FSR_DOLLARS_PER_ZONE * f64::from(zones)).ceil() as u64;
        Self {
            seconds_at_100: mib.div_ceil(100),
            seconds_at_300: mib.div_ceil(300),
            fsr_dollars_per_month: dollars,
        }
    }
}

fn read_listing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Listing>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.and_then(|text| Listing::try_from(text).ok()))
}

impl Manifest {
    /// Whether `id`, of a build or of a rollback, published this manifest.
    #[must_use]
    pub fn is_published_by(&self, id: &BuildId) -> bool {
        self.build == *id || self.rollback.as_ref() == Some(id)
    }

    /// The manifests of a finished build, one for each of `replicas`, for publication under the
    /// fencing token `token`.
    #[must_use]
    pub fn of_replicas(
        build: &Build,
        token: u64,
        pulled: &PulledImages,
        replicas: &[Replica],
    ) -> Vec<Self> {
        let names: Vec<ReplicaName> = replicas
            .iter()
            .map(|replica| ReplicaName {
                region: replica.region.clone(),
                snapshot_id: replica.snapshot_id.clone(),
            })
            .collect();
        replicas
            .iter()
            .map(|replica| Self::of_replica(build, token, pulled, replica, &names))
            .collect()
    }

    fn of_replica(
        build: &Build,
        token: u64,
        pulled: &PulledImages,
        replica: &Replica,
        replicas: &[ReplicaName],
    ) -> Self {
        let settings = build.regions.iter().find(|settings| settings.region == replica.region);
        let kept = |_: &&Ancestor| pulled.ancestor == AncestorFate::Kept;
        let ancestor = build.ancestor.as_ref().filter(kept);
        let fsr_zones = settings.map_or_else(Vec::new, |settings| settings.fsr_zones.clone());
        Self {
            frontload: Some(FrontloadVersion::literal(VERSION)),
            snapshot_id: replica.snapshot_id.clone(),
            region: replica.region.clone(),
            encrypted: replica.encrypted,
            kms_key_id: replica.kms_key_id.clone(),
            build: build.id.clone(),
            rollback: None,
            token,
            cache: build.cache.clone(),
            architecture: build.architecture,
            images: pulled.images.clone(),
            os: build.os.clone(),
            containerd: pulled.containerd.clone(),
            kernel: Some(pulled.kernel.clone()),
            snapshotter: build.builder.snapshotter,
            volume_gib: build.volume_gib,
            used_bytes: pulled.used_bytes,
            download_bytes: build.download_bytes,
            listing: Some(pulled.listing.clone()),
            ancestor: ancestor.map(|ancestor| ancestor.snapshot_id.clone()),
            links: ancestor.map_or(0, |ancestor| ancestor.links),
            fingerprint: build.fingerprint.clone(),
            replicas: replicas.to_vec(),
            consumers: build.consumers.clone(),
            initialization: Initialization::of(pulled.used_bytes, fsr_zones.len()),
            fsr_zones,
            durations: None,
        }
    }

    /// The manifest as stored: JSON without the consumers' default values, so that 100 consumers
    /// fit into a parameter.
    #[must_use]
    pub fn text(&self) -> String {
        // A struct of strings and numbers cannot fail to serialize.
        let mut document = serde_json::to_value(self).unwrap_or_default();
        let consumers = document.get_mut("consumers").and_then(Value::as_array_mut);
        for (consumer, shown) in self.consumers.iter().zip(consumers.into_iter().flatten()) {
            consumer.leave_out_defaults(shown);
        }
        document.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sample_manifest;

    #[test]
    fn a_hundred_consumers_fit_and_are_read_back_with_their_defaults() {
        let consumer = |number: u64| {
            let account = format!("{:012}", 100_000_000_000 + number);
            serde_json::from_value(serde_json::json!({"account": account})).unwrap()
        };
        let mut manifest = sample_manifest();
        manifest.consumers = (0..100).map(consumer).collect();
        manifest.consumers[7].role = "other".parse().unwrap();
        let text = manifest.text();
        assert!(text.len() < 5000, "{}", text.len());
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
    }

    #[test]
    fn a_manifest_names_the_frontload_version_of_its_snapshot() {
        let document: Value = serde_json::from_str(&sample_manifest().text()).unwrap();
        assert_eq!(document["frontload"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn a_manifest_without_a_version_is_read_and_written_back_unchanged() {
        let mut document: Value = serde_json::from_str(&sample_manifest().text()).unwrap();
        document.as_object_mut().unwrap().remove("frontload");
        let manifest: Manifest = serde_json::from_value(document.clone()).unwrap();
        assert_eq!(manifest.frontload, None);
        assert_eq!(serde_json::from_str::<Value>(&manifest.text()).unwrap(), document);
    }

    #[test]
    fn a_published_empty_listing_is_read_as_none() {
        let mut document: Value = serde_json::from_str(&sample_manifest().text()).unwrap();
        let nothing = Digest::of(b"");
        document["listing"] = serde_json::json!(nothing);
        let manifest: Manifest = serde_json::from_value(document).unwrap();
        assert_eq!(manifest.listing, None);
        assert!(Listing::try_from(nothing.to_string()).is_err());
    }

    #[test]
    fn the_advice_follows_from_size_and_zones() {
        let advice = Initialization::of(15 << 30, 3);
        assert_eq!((advice.seconds_at_100, advice.seconds_at_300), (154, 52));
        assert_eq!(advice.fsr_dollars_per_month, 1643);
    }
}
