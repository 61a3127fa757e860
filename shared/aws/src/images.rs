//! Images in ECR: the images that a reference or a rule matches now.

use aws_sdk_ecr::Client;
use aws_sdk_ecr::config::Region;
use aws_sdk_ecr::error::ProvideErrorMetadata;
use aws_sdk_ecr::types::{
    DescribeImagesFilter, Image, ImageDetail, ImageFailureCode, ImageIdentifier, TagStatus,
};
use serde::Deserialize;

use super::{call_error, incomplete_answer};
use frontload_domain::names::one_line;
use frontload_domain::pull_order::{self, Layer};
use frontload_domain::{
    Architecture, Digest, EcrRegistry, EcrRepository, ImageReference, PlannedImage, Selection,
    TagRule, TaggedImage, choose,
};
use frontload_domain::{Error, Result};

/// Media types of indexes and manifests, by OCI and Docker. ECR does not convert
/// between them; it only refuses types that are not listed.
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
    digest: Digest,
    size: u64,
}

impl From<Descriptor> for Layer {
    fn from(descriptor: Descriptor) -> Self {
        Self { digest: descriptor.digest, bytes: descriptor.size }
    }
}

/// The images that the entries of a cache match now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SelectedImages {
    /// In the document's order; the images of a rule come newest first. No reference
    /// occurs twice.
    pub images: Vec<PlannedImage>,
    /// Compressed bytes of all layers; shared layers count once. `None` when the
    /// layers of an image are unknown.
    pub download_bytes: Option<u64>,
    /// One message per rule that matches nothing.
    pub warnings: Vec<String>,
}

/// The image of a reference and its layers for the architecture, lowest first. The
/// layers are `None` when the registry cannot be queried.
#[derive(Clone, Debug)]
struct Resolved {
    image: PlannedImage,
    layers: Option<Vec<Layer>>,
}

/// Resolved images, no reference twice.
#[derive(Default)]
struct Distinct(Vec<Resolved>);

impl Distinct {
    fn add(&mut self, resolved: Resolved) {
        let reference = &resolved.image.reference;
        if self.0.iter().all(|other| other.image.reference != *reference) {
            self.0.push(resolved);
        }
    }

    fn with_schedule(self, warnings: Vec<String>) -> SelectedImages {
        let (mut images, layers): (Vec<_>, Vec<_>) =
            self.0.into_iter().map(|resolved| (resolved.image, resolved.layers)).unzip();
        pull_order::set_waits(&mut images, &layers);
        let known: Option<Vec<&[Layer]>> = layers.iter().map(Option::as_deref).collect();
        let download_bytes = known.map(|known| pull_order::distinct_bytes(known.into_iter()));
        SelectedImages { images, download_bytes, warnings }
    }
}

/// Resolves the entries of a cache for one architecture. An image that a rule
/// chooses keeps the digest from the listing, even if its tag moves meanwhile.
///
/// # Errors
/// Those of [`resolve`]; [`Error::ImageNotFound`] also for a required rule that
/// matches nothing, for a repository that does not exist, and when no image is left
/// to build.
pub async fn select_all(
    ecr: &Client,
    selections: &[Selection],
    architecture: Architecture,
) -> Result<SelectedImages> {
    let mut selected = Distinct::default();
    let mut warnings = Vec::new();
    for selection in selections {
        match selection {
            Selection::Fixed(reference) => {
                selected.add(resolve(ecr, reference, architecture).await?);
            }
            Selection::Rule(rule) => {
                let chosen = choose(rule, &list_tagged(ecr, rule.repository()).await?);
                if chosen.is_empty() {
                    warnings.push(warn_of_no_match(rule)?);
                }
                for image in chosen {
                    for planned in resolve_chosen(ecr, rule, &image, architecture).await? {
                        selected.add(planned);
                    }
                }
            }
        }
    }
    if selected.0.is_empty() {
        let rules = selections.iter().filter_map(|selection| match selection {
            Selection::Fixed(_) => None,
            Selection::Rule(rule) => Some(rule.to_string()),
        });
        let image = rules.collect::<Vec<_>>().join("; ");
        let reason = "no image matches, and a cache needs at least one image".to_owned();
        return Err(Error::ImageNotFound { image, reason });
    }
    Ok(selected.with_schedule(warnings))
}

fn warn_of_no_match(rule: &TagRule) -> Result<String> {
    if rule.required() {
        return Err(Error::ImageNotFound {
            image: rule.to_string(),
            reason: "no image matches, and the rule is required".to_owned(),
        });
    }
    Ok(format!("{rule}: no image matches, so the cache is built without it"))
}

/// The chosen image under each of its tags.
async fn resolve_chosen(
    ecr: &Client,
    rule: &TagRule,
    image: &TaggedImage,
    architecture: Architecture,
) -> Result<Vec<Resolved>> {
    let references = image.tags.iter().map(|tag| rule.repository().at_tag(tag));
    let references: Vec<ImageReference> = references.collect();
    let Some(first) = references.first() else { return Ok(Vec::new()) };
    let held = first.clone().with_digest(&image.digest);
    let resolved = resolve(ecr, &held, architecture).await?;
    let named = |reference| {
        let image = PlannedImage { reference, ..resolved.image.clone() };
        Resolved { image, layers: resolved.layers.clone() }
    };
    Ok(references.into_iter().map(named).collect())
}

/// All tagged container images of a repository; other artifacts are skipped.
async fn list_tagged(ecr: &Client, repository: &EcrRepository) -> Result<Vec<TaggedImage>> {
    let operation = "ecr:DescribeImages";
    let registry = repository.registry();
    let ecr = in_region(ecr, registry.region.as_str());
    let region = ecr.config().region();
    let mut pages = ecr
        .describe_images()
        .registry_id(registry.account.as_str())
        .repository_name(repository.name().as_str())
        .filter(DescribeImagesFilter::builder().tag_status(TagStatus::Tagged).build())
        .into_paginator()
        .page_size(1000)
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| match error.code() {
            Some("RepositoryNotFoundException") => {
                not_found(repository.to_string(), registry, "the repository does not exist")
            }
            _ => call_error(operation, format!("repository {repository}"), region, &error),
        })?;
        for detail in page.image_details().iter().filter(|detail| is_image(detail)) {
            found.push(read_detail(detail).map_err(|reason| {
                incomplete_answer(operation, format!("repository {repository}"), region, reason)
            })?);
        }
    }
    Ok(found)
}

/// Media types of a container image's configuration. Charts and other artifacts have
/// another type; indexes have none.
const CONFIG_TYPES: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

fn is_image(detail: &ImageDetail) -> bool {
    detail.artifact_media_type().is_none_or(|media_type| CONFIG_TYPES.contains(&media_type))
}

fn read_detail(detail: &ImageDetail) -> std::result::Result<TaggedImage, String> {
    let pushed_at = detail.image_pushed_at().and_then(|time| time.to_millis().ok());
    // ECR accepts tags that are too long for a reference: nobody could pull by them.
    let tags = detail.image_tags().iter().filter_map(|tag| tag.parse().ok());
    Ok(TaggedImage {
        digest: detail.image_digest().unwrap_or_default().parse()?,
        tags: tags.collect(),
        pushed_at: pushed_at.ok_or("an image has no push time")?,
    })
}

/// Resolves a reference for one architecture: tag to digest, and its layers.
/// Registries other than ECR are not queried.
///
/// # Errors
/// [`Error::ImageNotFound`], [`Error::PlatformMissing`] when an index lacks the
/// architecture, and those of [`super::call_error`].
async fn resolve(
    ecr: &Client,
    reference: &ImageReference,
    architecture: Architecture,
) -> Result<Resolved> {
    let image = PlannedImage {
        reference: reference.clone(),
        digest: reference.digest().cloned(),
        compressed_bytes: None,
        manifest: None,
        waits_for: None,
        shared_layer: None,
    };
    let Some(registry) = reference.ecr_registry() else {
        return Ok(Resolved { image, layers: None });
    };
    let ecr = in_region(ecr, registry.region.as_str());
    let wanted = match reference.digest() {
        Some(digest) => ImageIdentifier::builder().image_digest(digest.as_str()),
        None => ImageIdentifier::builder().set_image_tag(reference.tag().map(ToOwned::to_owned)),
    };
    let (digest, document) = get_image(&ecr, &registry, reference, wanted.build()).await?;
    let (manifest, layers) = match child_for(&document, reference, architecture)? {
        None => (digest.clone(), document.layers),
        Some(child) => {
            let wanted = ImageIdentifier::builder().image_digest(child.as_str()).build();
            let document = get_image(&ecr, &registry, reference, wanted).await?.1;
            (child, document.layers)
        }
    };
    let layers: Vec<Layer> = layers.into_iter().map(Layer::from).collect();
    let compressed_bytes = Some(pull_order::total_bytes(&layers));
    let (digest, manifest) = (Some(digest), Some(manifest));
    let image = PlannedImage { digest, compressed_bytes, manifest, ..image };
    Ok(Resolved { image, layers: Some(layers) })
}

fn in_region(ecr: &Client, region: &str) -> Client {
    if ecr.config().region().is_some_and(|own| own.as_ref() == region) {
        return ecr.clone();
    }
    Client::from_conf(ecr.config().to_builder().region(Region::new(region.to_owned())).build())
}

/// Most characters of an index's platforms in an error. Whoever pushes the index
/// controls this text.
const MAX_PLATFORMS: usize = 300;

/// Digest of the manifest for `architecture` in an index; `None` when the image has no
/// index. Its platform is then in its configuration, which the builder checks.
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
        reason: format!(
            "its index has {}, not linux/{}",
            one_line(&platforms.join(", "), MAX_PLATFORMS),
            architecture.oci()
        ),
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
        .registry_id(registry.account.as_str())
        .repository_name(reference.repository())
        .image_ids(wanted)
        .set_accepted_media_types(Some(MEDIA_TYPES.map(ToOwned::to_owned).to_vec()))
        .send()
        .await;
    let output = match answer {
        Ok(output) => output,
        Err(error) if error.code() == Some("RepositoryNotFoundException") => {
            return Err(not_found(
                reference.to_string(),
                registry,
                "the repository does not exist",
            ));
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
        return Err(not_found(
            reference.to_string(),
            registry,
            "the repository has no such tag or digest",
        ));
    }
    Err(incomplete_answer(operation, format!("image {reference}"), region, reason))
}

fn not_found(image: String, registry: &EcrRegistry, what: &str) -> Error {
    Error::ImageNotFound {
        image,
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

#[cfg(test)]
mod tests {
    use aws_sdk_ecr::operation::batch_get_image::BatchGetImageOutput;
    use aws_sdk_ecr::operation::describe_images::DescribeImagesOutput;
    use aws_sdk_ecr::types::ImageFailure;
    use aws_smithy_mocks::{MockResponse, Rule, RuleMode, mock, mock_client};
    use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
    use aws_smithy_types::DateTime;
    use serde_json::{Value, json};

    use super::*;

    const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

    fn digest(character: char) -> String {
        format!("sha256:{}", character.to_string().repeat(64))
    }

    fn detail(character: char, pushed_at: i64, tags: &[&str]) -> ImageDetail {
        ImageDetail::builder()
            .image_digest(digest(character))
            .set_image_tags(Some(tags.iter().map(ToString::to_string).collect()))
            .image_pushed_at(DateTime::from_secs(pushed_at))
            .build()
    }

    #[test]
    fn platforms_with_hostile_names_are_reported_in_one_line() {
        for text in frontload_domain::testing::nasty() {
            let platform = json!({"os": text, "architecture": text});
            let entry = json!({"digest": digest('a'), "platform": platform});
            let index = json!({"manifests": [entry, entry]});
            let index = serde_json::from_value(index).unwrap();
            let reference = format!("{HOST}/team/app:v1").parse().unwrap();
            let error = child_for(&index, &reference, Architecture::Arm64).unwrap_err();
            frontload_domain::testing::assert_sentence(&error.to_string());
        }
    }

    /// Lists `pages`, one after the other.
    fn listing(pages: Vec<Vec<ImageDetail>>) -> Rule {
        mock!(Client::describe_images).then_compute_output(move |request| {
            assert_eq!(request.registry_id(), Some("123456789012"));
            assert_eq!(request.filter().unwrap().tag_status(), Some(&TagStatus::Tagged));
            let page: usize = request.next_token().map_or(0, |token| token.parse().unwrap());
            let next = (page + 1 < pages.len()).then(|| (page + 1).to_string());
            let details = pages.get(page).cloned();
            let output = DescribeImagesOutput::builder();
            output.set_image_details(details).set_next_token(next).build()
        })
    }

    /// Any digest is an image for amd64, except one that is for arm64 only. The only
    /// tag is `fixed`.
    fn contents() -> Rule {
        mock!(Client::batch_get_image).then_compute_output(|request| {
            let id = &request.image_ids()[0];
            let found = match (id.image_tag(), id.image_digest()) {
                (Some("fixed"), None) => digest('f'),
                (None, Some(asked)) => asked.to_owned(),
                _ => {
                    let code = ImageFailureCode::ImageNotFound;
                    let failure = ImageFailure::builder().failure_code(code).build();
                    return BatchGetImageOutput::builder().failures(failure).build();
                }
            };
            let manifest = if found == digest('a') {
                let platform = json!({"os": "linux", "architecture": "arm64"});
                json!({"manifests": [{"digest": digest('0'), "platform": platform}]})
            } else {
                let layer = |character, size| json!({"digest": digest(character), "size": size});
                json!({"layers": [layer('b', 3), layer('c', 4)]})
            };
            let id = ImageIdentifier::builder().image_digest(found).build();
            let image = Image::builder().image_id(id).image_manifest(manifest.to_string()).build();
            BatchGetImageOutput::builder().images(image).build()
        })
    }

    async fn select_with(list: Rule, entries: &Value) -> Result<SelectedImages> {
        let ecr = mock_client!(aws_sdk_ecr, RuleMode::MatchAny, [&list, &contents()]);
        let selections: Vec<Selection> = serde_json::from_value(entries.clone()).unwrap();
        select_all(&ecr, &selections, Architecture::X86_64).await
    }

    async fn select(pages: Vec<Vec<ImageDetail>>, entries: &Value) -> Result<SelectedImages> {
        select_with(listing(pages), entries).await
    }

    fn rule(fields: &Value) -> Value {
        let mut rule = json!({"repository": format!("{HOST}/team/app")});
        rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        rule
    }

    /// Tag and first character of the digest, image by image.
    fn shown(selected: &SelectedImages) -> Vec<String> {
        let image = |image: &PlannedImage| {
            let digest = image.digest.as_ref().map_or("", Digest::as_str);
            format!("{} {}", image.reference.tag().unwrap_or_default(), &digest[7..8])
        };
        selected.images.iter().map(image).collect()
    }

    #[tokio::test]
    async fn entries_keep_the_document_order_and_a_rule_lists_the_newest_first() {
        let pages = vec![
            vec![detail('1', 10, &["v1.0.0"]), detail('2', 20, &["v1.1.0"])],
            vec![detail('3', 30, &["v1.2.0", "latest"]), detail('4', 40, &["nightly"])],
        ];
        let entries =
            json!([rule(&json!({"tags": "v*", "newest": 2})), format!("{HOST}/team/app:fixed")]);
        let selected = select(pages, &entries).await.unwrap();
        assert_eq!(shown(&selected), ["v1.2.0 3", "v1.1.0 2", "fixed f"]);
        assert_eq!(selected.images[0].compressed_bytes, Some(7));
        let text = selected.images[0].reference.to_string();
        assert_eq!(text, format!("{HOST}/team/app:v1.2.0"));
        assert!(selected.warnings.is_empty());
    }

    #[tokio::test]
    async fn shared_layers_are_counted_once_and_unpacked_by_one_image() {
        let entries = json!([format!("{HOST}/team/app:fixed"), format!("{HOST}/team/b:fixed")]);
        let selected = select(vec![], &entries).await.unwrap();
        assert_eq!(selected.download_bytes, Some(7));
        assert_eq!([0, 1].map(|image| selected.images[image].waits_for), [None, Some(0)]);
        let unknown = json!([entries[0], "ghcr.io/team/app:v1"]);
        assert_eq!(select(vec![], &unknown).await.unwrap().download_bytes, None);
    }

    #[tokio::test]
    async fn a_reference_that_several_entries_name_is_planned_once() {
        let pages = vec![vec![detail('1', 10, &["fixed", "v1"])]];
        let any = rule(&json!({"tags": "*"}));
        let entries = json!([format!("{HOST}/team/app:fixed"), any]);
        assert_eq!(shown(&select(pages, &entries).await.unwrap()), ["fixed f", "v1 1"]);
    }

    #[tokio::test]
    async fn a_rule_without_matches_warns_or_is_refused_when_required() {
        let pages = || vec![vec![detail('1', 10, &["v1"])]];
        let fixed = format!("{HOST}/team/app:fixed");
        let entries = json!([rule(&json!({"tags": "w*"})), fixed]);
        let selected = select(pages(), &entries).await.unwrap();
        assert_eq!(shown(&selected), ["fixed f"]);
        let warning = format!(
            "{HOST}/team/app with tags w*: no image matches, so the cache is built without it"
        );
        assert_eq!(selected.warnings, [warning]);
        let entries = json!([rule(&json!({"tags": "w*", "required": true})), fixed]);
        let error = select(pages(), &entries).await.unwrap_err();
        assert_eq!(error.name(), "ImageNotFound");
        assert!(error.to_string().contains("team/app with tags w* was not found"), "{error}");
    }

    #[tokio::test]
    async fn a_cache_without_any_image_left_is_refused() {
        let entries = json!([rule(&json!({"tags": "w*"}))]);
        let error = select(vec![vec![]], &entries).await.unwrap_err();
        assert_eq!(error.name(), "ImageNotFound");
        assert!(error.to_string().contains("a cache needs at least one image"), "{error}");
    }

    #[tokio::test]
    async fn a_chosen_image_that_lacks_the_architecture_is_named() {
        let pages = vec![vec![detail('a', 10, &["v1"])]];
        let error = select(pages, &json!([rule(&json!({"tags": "*"}))])).await.unwrap_err();
        assert_eq!(error.name(), "PlatformMissing");
        assert!(error.to_string().contains("team/app:v1@sha256:aaa"), "{error}");
    }

    #[tokio::test]
    async fn charts_and_unusable_tags_are_skipped() {
        let chart = ImageDetail::builder()
            .image_digest(digest('2'))
            .image_tags("v2")
            .image_pushed_at(DateTime::from_secs(20))
            .artifact_media_type("application/vnd.cncf.helm.config.v1+json")
            .build();
        let pages = vec![vec![detail('1', 10, &["v1", &"v".repeat(200)]), chart]];
        let entries = json!([rule(&json!({"tags": "v*", "newest": 9}))]);
        assert_eq!(shown(&select(pages, &entries).await.unwrap()), ["v1 1"]);
    }

    #[tokio::test]
    async fn a_repository_that_does_not_exist_is_named() {
        let absent = mock!(Client::describe_images).then_compute_response(|_| {
            let body = r#"{"__type":"RepositoryNotFoundException","message":"planted"}"#;
            MockResponse::Http(HttpResponse::new(400.try_into().unwrap(), body.into()))
        });
        let error = select_with(absent, &json!([rule(&json!({"tags": "*"}))])).await.unwrap_err();
        assert_eq!(error.name(), "ImageNotFound");
        assert!(
            error.to_string().contains("the repository does not exist in account 123456789012"),
            "{error}"
        );
    }
}
