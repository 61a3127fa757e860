//! What a builder pulled: the contents of its data volume, and their check against the build.

use serde::{Deserialize, Serialize};

use crate::names::{checked_string, one_line, quoted};
use crate::{Build, CachedImage, Digest, Error};

/// The contents of the builder's volume, checked and flushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PulledImages {
    /// containerd's version, as it reports it.
    pub containerd: ContainerdVersion,
    /// The kernel's release, as `uname` reports it.
    pub kernel: KernelRelease,
    /// The images in the cache's order with the digests that were pulled.
    pub images: Vec<CachedImage>,
    /// Bytes used on the data volume.
    pub used_bytes: u64,
    /// Whether the file system was flushed after the last write.
    pub flushed: bool,
    /// What happened to the images that were on the volume before.
    pub ancestor: AncestorFate,
    /// SHA-256 over name, size, mode, owner, time and link of every compressed blob
    /// and every unpacked file.
    pub listing: Listing,
}

/// What happened to the images that were on the volume before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AncestorFate {
    /// The volume was empty.
    None,
    /// Its files match the ancestor's listing; the images still wanted were kept.
    Kept,
    /// Its files do not match, and everything was pulled again.
    Damaged,
}

checked_string!(
    /// A version such as `2.1.9+bottlerocket`: at most 64 letters, digits and `.+~-_`.
    ContainerdVersion,
    |text| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || ".+~-_".contains(c);
        if (1..=64).contains(&text.len()) && text.chars().all(is_part) {
            return Ok(());
        }
        Err(format!("{} is not a version", quoted(text)))
    }
);

checked_string!(
    /// A kernel's release such as `6.12.40`: at most 64 letters, digits and `.+~-_`.
    KernelRelease,
    |text| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || ".+~-_".contains(c);
        if (1..=64).contains(&text.len()) && text.chars().all(is_part) {
            return Ok(());
        }
        Err(format!("{} is not a kernel's release", quoted(text)))
    }
);

/// SHA-256 of empty input: the listing of a directory that is empty or missing.
const OF_NOTHING: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

checked_string!(
    /// A digest that a builder computed over the files of its volume. The digest of empty input is
    /// refused: it would equal that of every other empty directory.
    Listing,
    |text| {
        text.parse::<Digest>()?;
        if text == OF_NOTHING {
            return Err(format!("{OF_NOTHING} is the listing of an empty store"));
        }
        Ok(())
    }
);

/// Longest list of images in a message, in characters.
const MAX_LIST: usize = 600;

/// Checks a builder's report against the plan.
///
/// # Errors
/// [`Error::FlushFailed`], [`Error::ImageIncomplete`], [`Error::DigestMismatch`].
pub fn check_pulled(build: &Build, pulled: PulledImages) -> Result<PulledImages, Error> {
    if !pulled.flushed {
        return Err(Error::FlushFailed {
            build: build.id.clone(),
            reason: "the builder reports no flush".to_owned(),
        });
    }
    let references = |images: &[CachedImage]| -> Vec<String> {
        images.iter().map(|image| image.reference.to_string()).collect()
    };
    let planned: Vec<String> = build.images.iter().map(|i| i.reference.to_string()).collect();
    if references(&pulled.images) != planned {
        return Err(Error::ImageIncomplete {
            build: build.id.clone(),
            image: one_line(&planned.join(", "), MAX_LIST),
            reason: one_line(
                &format!("the builder reports {}", references(&pulled.images).join(", ")),
                MAX_LIST,
            ),
        });
    }
    if pulled.ancestor == AncestorFate::Kept && build.ancestor.is_none() {
        return Err(Error::BuilderFailed {
            build: build.id.clone(),
            reason: "it reports that it kept an ancestor's images, but it got no ancestor"
                .to_owned(),
        });
    }
    for (image, got) in build.images.iter().zip(&pulled.images) {
        let wanted = image.digest.as_ref().or(image.reference.digest());
        if wanted.is_some_and(|digest| *digest != got.digest) {
            return Err(Error::DigestMismatch {
                build: build.id.clone(),
                image: image.reference.to_string(),
                reason: format!("the builder reports {}", got.digest),
            });
        }
    }
    Ok(pulled)
}
