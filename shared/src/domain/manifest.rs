//! The manifest: what a published snapshot holds. It is written beside the
//! snapshot id, so that a person or a later build can tell without mounting it.

use serde::{Deserialize, Serialize};

use super::cache::Snapshotter;
use super::{Architecture, Build, BuildId, CacheName, Digest, ImageReference, OsImage};
use crate::aws::snapshots::SnapshotId;
use crate::builder::report::{ContainerdVersion, PulledImages};

/// What a snapshot holds and what it was made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The snapshot that this manifest describes.
    pub snapshot_id: SnapshotId,
    /// The build that made it.
    pub build: BuildId,
    /// Its cache.
    pub cache: CacheName,
    /// The architecture of every image.
    pub architecture: Architecture,
    /// The images, in the cache's order.
    pub images: Vec<CachedImage>,
    /// The builder's operating system.
    pub os: OsImage,
    /// The builder's containerd, as it names itself.
    pub containerd: ContainerdVersion,
    /// A node must use the same, or Bottlerocket empties its volume.
    pub snapshotter: Snapshotter,
    /// Size of the volume in GiB; a node's volume must be at least as large.
    pub volume_gib: u16,
    /// Bytes used on the volume.
    pub used_bytes: u64,
    /// [`Build::fingerprint`]: equal means there is nothing to build.
    pub fingerprint: String,
}

/// An image that the snapshot holds, under its tag and its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CachedImage {
    /// As the cache document has it.
    pub reference: ImageReference,
    /// Of the image or its index.
    pub digest: Digest,
}

impl Manifest {
    /// The manifest of a finished build.
    #[must_use]
    pub fn new(build: &Build, pulled: &PulledImages, snapshot_id: SnapshotId) -> Self {
        Self {
            snapshot_id,
            build: build.id.clone(),
            cache: build.cache.clone(),
            architecture: build.architecture,
            images: pulled.images.clone(),
            os: build.os.clone(),
            containerd: pulled.containerd.clone(),
            snapshotter: build.builder.snapshotter,
            volume_gib: build.builder.volume_gib,
            used_bytes: pulled.used_bytes,
            fingerprint: build.fingerprint.clone(),
        }
    }
}
