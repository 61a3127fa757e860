//! Images in ECR: what a reference stands for now.

use aws_sdk_ecr::Client;
use aws_sdk_ecr::config::Region;
use aws_sdk_ecr::error::ProvideErrorMetadata;
use aws_sdk_ecr::types::{Image, ImageFailureCode, ImageIdentifier};
use serde::Deserialize;

use super::{call_error, incomplete_answer};
use crate::domain::{Architecture, Digest, EcrRegistry, ImageReference, PlannedImage};
use crate::error::{Error, Result};

/// Indexes and manifests, in OCI's and Docker's words. ECR converts to none of
/// them, it only refuses what is not listed.
const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// The part of an index or a manifest that planning needs (OCI image spec).
#[derive(Debug, Deserialize)]
struct ManifestDocument {
    #[serde(default)]
    manifests: Vec<IndexEntry>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct IndexEntry {
    digest: Digest,
    platform: Option<Platform>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    size: u64,
}

/// Resolves a reference for one architecture: tag to digest, and the size of its
/// compressed layers. Registries other than ECR are not asked.
///
/// # Errors
/// [`Error::ImageNotFound`], [`Error::PlatformMissing`] when an index lacks the
/// architecture, and those of [`super::call_error`].
pub async fn resolve(
    ecr: &Client,
    reference: &ImageReference,
    architecture: Architecture,
) -> Result<PlannedImage> {
    let Some(registry) = reference.ecr_registry() else {
        return Ok(PlannedImage {
            reference: reference.clone(),
            digest: reference.digest().cloned(),
            compressed_bytes: None,
        });
    };
    let ecr = in_region(ecr, &registry.region);
    let wanted = match reference.digest() {
        Some(digest) => ImageIdentifier::builder().image_digest(digest.as_str()),
        None => ImageIdentifier::builder().set_image_tag(reference.tag().map(ToOwned::to_owned)),
    };
    let (digest, document) = get_image(&ecr, &registry, reference, wanted.build()).await?;
    let layers = match child_for(&document, reference, architecture)? {
        None => document.layers,
        Some(child) => {
            let wanted = ImageIdentifier::builder().image_digest(child.as_str()).build();
            get_image(&ecr, &registry, reference, wanted).await?.1.layers
        }
    };
    Ok(PlannedImage {
        reference: reference.clone(),
        digest: Some(digest),
        compressed_bytes: Some(layers.iter().map(|layer| layer.size).sum()),
    })
}

fn in_region(ecr: &Client, region: &str) -> Client {
    if ecr.config().region().is_some_and(|own| own.as_ref() == region) {
        return ecr.clone();
    }
    Client::from_conf(ecr.config().to_builder().region(Region::new(region.to_owned())).build())
}

/// The manifest for `architecture` in an index; `None` when the image has no
/// index. Its platform then stands in its configuration, which the builder checks.
fn child_for(
    document: &ManifestDocument,
    reference: &ImageReference,
    architecture: Architecture,
) -> Result<Option<Digest>> {
    if document.manifests.is_empty() {
        return Ok(None);
    }
    let is_ours =
        |platform: &Platform| platform.os == "linux" && platform.architecture == architecture.oci();
    let entry = document.manifests.iter().find(|m| m.platform.as_ref().is_some_and(is_ours));
    if let Some(entry) = entry {
        return Ok(Some(entry.digest.clone()));
    }
    let platforms: Vec<String> = document
        .manifests
        .iter()
        .filter_map(|m| m.platform.as_ref())
        .map(|platform| format!("{}/{}", platform.os, platform.architecture))
        .collect();
    Err(Error::PlatformMissing {
        image: reference.to_string(),
        reason: format!("its index has {}, not linux/{}", platforms.join(", "), architecture.oci()),
    })
}

async fn get_image(
    ecr: &Client,
    registry: &EcrRegistry,
    reference: &ImageReference,
    wanted: ImageIdentifier,
) -> Result<(Digest, ManifestDocument)> {
    let operation = "ecr:BatchGetImage";
    let region = ecr.config().region();
    let answer = ecr
        .batch_get_image()
        .registry_id(&registry.account)
        .repository_name(reference.repository())
        .image_ids(wanted)
        .set_accepted_media_types(Some(MEDIA_TYPES.map(ToOwned::to_owned).to_vec()))
        .send()
        .await;
    let output = match answer {
        Ok(output) => output,
        Err(error) if error.code() == Some("RepositoryNotFoundException") => {
            return Err(not_found(reference, registry, "there is no such repository"));
        }
        Err(error) => {
            return Err(call_error(operation, format!("image {reference}"), region, &error));
        }
    };
    if let Some(image) = output.images().first() {
        return read_image(image).map_err(|reason| {
            incomplete_answer(operation, format!("image {reference}"), region, reason)
        });
    }
    let failure = output.failures().first();
    let absent = failure.is_none_or(|f| f.failure_code() == Some(&ImageFailureCode::ImageNotFound));
    let reason = failure.and_then(|f| f.failure_reason()).unwrap_or("no reason given");
    if absent {
        return Err(not_found(reference, registry, "the repository has no such tag or digest"));
    }
    Err(incomplete_answer(operation, format!("image {reference}"), region, reason))
}

fn not_found(reference: &ImageReference, registry: &EcrRegistry, what: &str) -> Error {
    Error::ImageNotFound {
        image: reference.to_string(),
        reason: format!("{what} in account {} in {}", registry.account, registry.region),
    }
}

fn read_image(image: &Image) -> std::result::Result<(Digest, ManifestDocument), String> {
    let digest = image.image_id().and_then(|id| id.image_digest()).unwrap_or_default();
    let manifest = image.image_manifest().unwrap_or_default();
    let document = serde_json::from_str(manifest)
        .map_err(|error| format!("its manifest is not readable: {error}"))?;
    Ok((digest.parse()?, document))
}
