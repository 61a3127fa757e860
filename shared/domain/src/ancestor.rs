//! Decides whether a build starts from the published snapshot. Its data volume is then created
//! from that snapshot, the builder fetches only changed layers, and EBS stores and copies only
//! changed blocks (EBS user guide, "How snapshots work").

use serde::{Deserialize, Serialize};

use super::{Build, Manifest};
use crate::pulled::Listing;
use crate::snapshot::{Snapshot, SnapshotId, State};

/// The snapshot that a build starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ancestor {
    /// The snapshot's id in the build's region.
    pub snapshot_id: SnapshotId,
    /// The listing that its files must have, or the builder uses none of them
    /// ([`crate::pulled::PulledImages::listing`]).
    pub listing: Listing,
    /// How many incremental builds there are since the last full one, this build included.
    pub links: u16,
}

/// When a chain of incremental builds ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars_derive::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Incremental {
    /// How many incremental builds may follow a full build. With 0, every build is a full build.
    #[cfg_attr(test, schemars(range(max = 100)))]
    pub max_links: u16,
    /// A full build follows when the snapshot stores more than this beyond the size of its files,
    /// in percent of that size. Files deleted on a volume stay in its snapshots.
    #[cfg_attr(test, schemars(range(max = 1000)))]
    pub max_waste_percent: u16,
}

impl Default for Incremental {
    fn default() -> Self {
        Self { max_links: 20, max_waste_percent: 50 }
    }
}

/// Why a build is a full one, in a few words for a person.
pub type InFull = String;

/// The ancestor of `build`. `snapshot` is the published one as EC2 describes it.
///
/// # Errors
/// [`InFull`] with the reason when the build must be a full one.
pub fn choose(
    build: &Build,
    published: &Manifest,
    snapshot: Option<&Snapshot>,
    incremental: Incremental,
) -> Result<Ancestor, InFull> {
    if published.kernel.is_none() {
        // The snapshot contains the builder's leftovers, and its layers may not have been
        // unpacked as on a node.
        return Err("an older version of Frontload made the published snapshot".to_owned());
    }
    let Some(listing) = &published.listing else {
        return Err("the published snapshot has no listing of its files".to_owned());
    };
    let usable = snapshot.filter(|snapshot| snapshot.state == State::Completed);
    let Some(snapshot) = usable.filter(|_| published.region == build.region) else {
        return Err("the published snapshot is not usable".to_owned());
    };
    check_fit(build, published)?;
    check_encryption(build, published)?;
    let links = published.links.saturating_add(1);
    if links > incremental.max_links {
        return Err(format!(
            "{} incremental builds have followed the last full build",
            published.links
        ));
    }
    check_waste(published.used_bytes, snapshot.full_bytes, incremental)?;
    let snapshot_id = published.snapshot_id.clone();
    Ok(Ancestor { snapshot_id, listing: listing.clone(), links })
}

/// Refuses a snapshot that Bottlerocket would refuse, empty or misread.
fn check_fit(build: &Build, published: &Manifest) -> Result<(), InFull> {
    if published.architecture != build.architecture {
        return Err(format!("the published snapshot is for {}", published.architecture));
    }
    if published.os.variant.file_system() != build.os.variant.file_system() {
        return Err(format!(
            "the published variant {} has another file system",
            published.os.variant
        ));
    }
    if published.os.variant.minor() > build.os.variant.minor() {
        // A newer kernel formats with features that an older kernel does not mount (bottlerocket,
        // mkfs.xfs of kernel 6.18).
        return Err(format!(
            "the published snapshot has the newer variant {}",
            published.os.variant
        ));
    }
    if published.os.version.release() > build.os.version.release() {
        // containerd reads the data of an older version, but not that of a newer one.
        return Err(format!(
            "the published snapshot has the newer Bottlerocket {}",
            published.os.version
        ));
    }
    if published.snapshotter != build.builder.snapshotter {
        return Err("the snapshotter has changed".to_owned());
    }
    if published.volume_gib > build.volume_gib {
        // A volume cannot be smaller than its snapshot.
        return Err(format!("the published volume has {} GiB", published.volume_gib));
    }
    Ok(())
}

fn check_encryption(build: &Build, published: &Manifest) -> Result<(), InFull> {
    let home = build.regions.iter().find(|settings| settings.region == build.region);
    let key = home.and_then(|settings| settings.kms_key_id.as_ref());
    let fits = match key {
        Some(_) => published.kms_key_id.as_ref() == key,
        None => !published.encrypted,
    };
    if fits { Ok(()) } else { Err("the published snapshot is encrypted differently".to_owned()) }
}

fn check_waste(used: u64, stored: Option<u64>, settings: Incremental) -> Result<(), InFull> {
    // EC2 does not report the stored bytes of every snapshot.
    let Some(stored) = stored else { return Ok(()) };
    let percent = stored.saturating_sub(used).saturating_mul(100) / used.max(1);
    if percent <= u64::from(settings.max_waste_percent) {
        return Ok(());
    }
    Err(format!("the published snapshot wastes {percent} % of its files' size"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::testing::{sample, sample_manifest};

    fn snapshot(stored: Option<u64>) -> Snapshot {
        Snapshot {
            id: "snap-1".parse().unwrap(),
            state: State::Completed,
            started: 0,
            encrypted: false,
            kms_key_id: None,
            full_bytes: stored,
            tags: BTreeMap::new(),
        }
    }

    type Change = fn(&mut Build, &mut Manifest);

    fn decide(change: impl FnOnce(&mut Build, &mut Manifest)) -> Result<Ancestor, InFull> {
        let (mut build, mut published) = (sample(), sample_manifest());
        change(&mut build, &mut published);
        choose(&build, &published, Some(&snapshot(Some(1500))), Incremental::default())
    }

    #[test]
    fn a_build_extends_the_published_chain_by_one_link() {
        let ancestor = decide(|_, published| published.links = 3).unwrap();
        assert_eq!((ancestor.snapshot_id.as_str(), ancestor.links), ("snap-1", 4));
    }

    #[test]
    fn an_unsuitable_ancestor_causes_a_full_build() {
        let key = "arn:aws:kms:us-east-1:123456789012:key/1";
        let changes: [(Change, &str); 11] = [
            (|_, published| published.kernel = None, "older version of Frontload"),
            (
                |_, published| published.os.variant = "aws-k8s-1.36".parse().unwrap(),
                "newer variant",
            ),
            (|_, published| published.listing = None, "no listing"),
            (|_, published| published.region = "eu-west-1".parse().unwrap(), "not usable"),
            (|_, published| published.architecture = super::super::Architecture::Arm64, "arm64"),
            (|_, published| published.os.variant = "aws-k8s-1.27".parse().unwrap(), "file system"),
            (|_, published| published.os.version = "1.58.0".parse().unwrap(), "newer Bottlerocket"),
            (|_, published| published.volume_gib = 101, "101 GiB"),
            (|_, published| published.encrypted = true, "encrypted"),
            (|_, published| published.links = 20, "20 incremental builds"),
            (|_, published| published.used_bytes = 990, "51 %"),
        ];
        for (change, reason) in changes {
            let error = decide(change).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        let keyed = decide(|build, _| build.regions[0].kms_key_id = Some(key.parse().unwrap()));
        assert!(keyed.unwrap_err().contains("encrypted"));
        let same = decide(|build, published| {
            build.regions[0].kms_key_id = Some(key.parse().unwrap());
            (published.encrypted, published.kms_key_id) = (true, Some(key.parse().unwrap()));
        });
        assert!(same.is_ok());
    }

    #[test]
    fn a_deleted_or_incomplete_snapshot_is_not_an_ancestor() {
        let (build, published) = (sample(), sample_manifest());
        let pending = Snapshot { state: State::Pending("3%".to_owned()), ..snapshot(None) };
        for snapshot in [None, Some(&pending)] {
            assert!(choose(&build, &published, snapshot, Incremental::default()).is_err());
        }
    }

    #[test]
    fn a_chain_can_be_forbidden_and_unknown_waste_does_not_end_it() {
        let (build, published) = (sample(), sample_manifest());
        let links = |max_links| {
            let incremental = Incremental { max_links, ..Incremental::default() };
            choose(&build, &published, Some(&snapshot(None)), incremental)
        };
        assert!(links(0).is_err());
        assert_eq!(links(1).unwrap().links, 1);
    }
}
