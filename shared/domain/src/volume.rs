//! Size and speed of a builder's data volume, and the instance that it is attached to.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Architecture, Manifest};

/// Size of the data volume, as written in a cache document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeSize {
    /// Derived from the images' sizes: `"auto"`.
    Auto,
    /// In GiB.
    Gib(u16),
}

/// Largest gp3 volume in GiB that nodes of every kind can have.
pub const MAX_GIB: u16 = 16_384;
/// Smallest size in GiB. Bottlerocket's AMIs come with a data volume of this size, and EC2
/// creates no volume smaller than its snapshot (twoliter,
/// `tools/pubsys/src/aws/ami/register.rs`).
pub const MIN_GIB: u16 = 20;

impl Serialize for VolumeSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Gib(gib) => serializer.serialize_u16(*gib),
        }
    }
}

struct Expected;

impl serde::de::Visitor<'_> for Expected {
    type Value = VolumeSize;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"auto\" or a number of GiB from {MIN_GIB} to {MAX_GIB}")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<VolumeSize, E> {
        match text {
            "auto" => Ok(VolumeSize::Auto),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<VolumeSize, E> {
        match u16::try_from(number) {
            Ok(gib @ MIN_GIB..=MAX_GIB) => Ok(VolumeSize::Gib(gib)),
            _ => Err(E::custom(format!("{number} is out of range: use {MIN_GIB} to {MAX_GIB}"))),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<VolumeSize, E> {
        Err(E::custom(format!("{number} is out of range: use {MIN_GIB} to {MAX_GIB}")))
    }
}

impl<'de> Deserialize<'de> for VolumeSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Expected)
    }
}

#[cfg(test)]
impl schemars::JsonSchema for VolumeSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "VolumeSize".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"anyOf": [
            {"type": "integer", "minimum": MIN_GIB, "maximum": MAX_GIB},
            {"const": "auto"}
        ]})
    }
}

const GIB: u64 = 1 << 30;
/// Room for Bottlerocket's own data in GiB: logs, its pause image, the admin and control
/// containers.
const OWN_GIB: u64 = 2;
/// Room above the estimate, in percent of it.
const HEAD_ROOM: u64 = 20;
/// Bytes on the volume per 100 compressed bytes if no build has been measured. The volume keeps
/// the compressed layer beside its unpacked files. Layers of Linux distributions and Python
/// wheels unpack to 2 to 3 times their size.
const USUAL_EXPANSION: u64 = 350;

/// Bytes on the volume per 100 compressed bytes, as measured by the published build.
fn expansion(published: Option<&Manifest>) -> u64 {
    let measured = published.and_then(|manifest| {
        let download = manifest.download_bytes.filter(|bytes| *bytes > 0)?;
        Some(manifest.used_bytes.saturating_mul(100) / download)
    });
    // A volume has at least the bytes of its layers; a tiny image says little about others.
    measured.map_or(USUAL_EXPANSION, |percent| percent.clamp(150, 1000))
}

fn gib_for(bytes: u64) -> u16 {
    let roomy = bytes.saturating_mul(100 + HEAD_ROOM) / 100;
    u16::try_from(roomy.div_ceil(GIB) + OWN_GIB).unwrap_or(u16::MAX).max(MIN_GIB)
}

/// Size in GiB of a volume for `download_bytes` of compressed layers and their unpacked files.
#[must_use]
pub fn size_for(download_bytes: u64, published: Option<&Manifest>) -> u16 {
    gib_for(download_bytes.saturating_mul(expansion(published)) / 100)
}

/// Size in GiB of a volume that starts as the published one and gets `changed_bytes` more of
/// compressed layers before unwanted content is removed. It never shrinks.
#[must_use]
pub fn size_after(published: &Manifest, changed_bytes: u64) -> u16 {
    let added = changed_bytes.saturating_mul(expansion(Some(published))) / 100;
    gib_for(published.used_bytes.saturating_add(added)).max(published.volume_gib)
}

/// Size in GiB to use after a volume of `volume_gib` was too small: 1.5 times that size, or the
/// most that badly estimated images take if that is larger.
#[must_use]
pub fn size_needed(volume_gib: u16, download_bytes: Option<u64>) -> u16 {
    // Text and zeros unpack to four times their size and more.
    let most = download_bytes.map_or(0, |bytes| gib_for(bytes.saturating_mul(5)));
    (volume_gib + volume_gib.div_ceil(2)).max(most)
}

/// The machine that pulls: the instance types to try, and the volume's speed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// In order of preference.
    pub instance_types: Vec<String>,
    /// gp3 operations a second; 3,000 cost nothing.
    pub iops: u16,
    /// gp3 throughput in MiB/s; 125 cost nothing. At most a quarter MiB/s for each
    /// operation (EBS user guide, "General Purpose SSD volumes").
    pub throughput_mibs: u16,
}

impl Machine {
    /// The same machine with a volume of `gib` GiB. EBS refuses more than 500 operations a second
    /// per GiB; a volume of any size may have 3,000 (EBS user guide, "General Purpose SSD
    /// volumes").
    #[must_use]
    pub fn with_volume(self, gib: u16) -> Self {
        let iops = self.iops.min(gib.saturating_mul(500).max(3000));
        Self { iops, throughput_mibs: self.throughput_mibs.min(iops / 4), ..self }
    }
}

const GB: u64 = 1_000_000_000;

/// The machine for `download_bytes` compressed bytes, chosen by what limits their pull.
///
/// | compressed | processors | volume | because |
/// |---|---|---|---|
/// | up to 2 GB | 2 | 250 MiB/s | over in a minute; boot and snapshot take longer |
/// | up to 20 GB, or unknown | 4 | 500 MiB/s | gunzip needs the processors: some 150 MB/s each, while ECR gives some 60 MB/s a connection and the network 12.5 Gbit/s |
/// | more | 8 | 1000 MiB/s | as before, and the volume takes compressed and unpacked bytes, some 3.5 for each byte pulled |
///
/// All have 12.5 Gbit/s of network at least for some minutes and 10 Gbit/s to EBS (EC2
/// user guide, "General purpose instances"). The older families stand in when a newer
/// one has no capacity.
#[must_use]
pub fn machine_for(download_bytes: Option<u64>, architecture: Architecture) -> Machine {
    let (size, iops, throughput_mibs) = match download_bytes {
        Some(bytes) if bytes <= 2 * GB => ("large", 3000, 250),
        Some(bytes) if bytes > 20 * GB => ("2xlarge", 8000, 1000),
        Some(_) | None => ("xlarge", 4000, 500),
    };
    let families = match architecture {
        Architecture::X86_64 => ["m6i", "m5", "m6a"],
        Architecture::Arm64 => ["m6g", "m7g", "c6g"],
    };
    let instance_types = families.map(|family| format!("{family}.{size}")).to_vec();
    Machine { instance_types, iops, throughput_mibs }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{from_value, json};

    use super::*;
    use crate::testing::sample_manifest;

    #[test]
    fn a_size_is_auto_or_a_number() {
        assert_eq!(from_value::<VolumeSize>(json!("auto")).unwrap(), VolumeSize::Auto);
        assert_eq!(from_value::<VolumeSize>(json!(30)).unwrap(), VolumeSize::Gib(30));
        for (bad, problem) in [
            (json!(0), "0 is out of range: use 20 to 16384"),
            (json!(19), "19 is out of range: use 20 to 16384"),
            (json!(-1), "-1 is out of range"),
            (json!(70_000), "70000 is out of range"),
            (json!("big"), "expected \"auto\" or a number of GiB from 20 to 16384"),
        ] {
            let error = from_value::<VolumeSize>(bad).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn a_measured_expansion_replaces_the_usual_one() {
        assert_eq!(size_for(10 * GIB, None), 44);
        assert_eq!(size_for(GIB, None), MIN_GIB);
        let mut published = sample_manifest();
        (published.download_bytes, published.used_bytes) = (Some(10 * GIB), 20 * GIB);
        assert_eq!(size_for(10 * GIB, Some(&published)), 26);
    }

    #[test]
    fn a_volume_grows_from_its_ancestor_and_never_shrinks() {
        let mut published = sample_manifest();
        (published.download_bytes, published.used_bytes) = (Some(10 * GIB), 20 * GIB);
        published.volume_gib = 26;
        assert_eq!([0, GIB, 10 * GIB].map(|changed| size_after(&published, changed)), [26, 29, 50]);
        published.volume_gib = 100;
        assert_eq!(size_after(&published, 10 * GIB), 100);
    }

    #[test]
    fn larger_images_get_a_larger_machine() {
        let kind = |gb: u64| machine_for(Some(gb * GB), Architecture::X86_64).instance_types;
        assert_eq!(
            [1, 15, 50].map(|gb| kind(gb)[0].clone()),
            ["m6i.large", "m6i.xlarge", "m6i.2xlarge"]
        );
        assert_eq!(machine_for(None, Architecture::Arm64).instance_types[0], "m6g.xlarge");
    }

    #[test]
    fn no_volume_requests_more_throughput_than_its_operations_allow() {
        for gb in [1, 15, 50] {
            let machine = machine_for(Some(gb * GB), Architecture::X86_64);
            assert!(machine.throughput_mibs <= machine.iops / 4 && machine.iops >= 3000);
        }
    }

    #[test]
    fn a_small_volume_requests_no_more_than_ebs_allows() {
        let speed = |gib| {
            let machine = machine_for(Some(50 * GB), Architecture::X86_64).with_volume(gib);
            (machine.iops, machine.throughput_mibs)
        };
        assert_eq!(
            [1, 7, 16, 500].map(speed),
            [(3000, 750), (3500, 875), (8000, 1000), (8000, 1000)]
        );
    }

    proptest! {
        #[test]
        fn a_volume_has_room_for_the_pulled_images(download in 0..1_u64 << 43) {
            prop_assert!(u64::from(size_for(download, None)) * GIB > download);
        }

        #[test]
        fn a_full_volume_is_followed_by_a_larger_one(
            gib in 1..=MAX_GIB, download in proptest::option::of(0..1_u64 << 40)
        ) {
            prop_assert!(size_needed(gib, download) > gib);
        }
    }
}
