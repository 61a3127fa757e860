//! `plan`: turns a request into builds, everything resolved before anything is
//! created. It changes nothing.

mod request;

use frontload_shared::aws::snapshots::SnapshotId;
use frontload_shared::aws::{images, parameters};
use frontload_shared::builder::report::PulledImages;
use frontload_shared::domain::build::OsImage;
use frontload_shared::domain::manifest::Replica;
use frontload_shared::domain::{
    Architecture, Build, BuildId, Cache, CacheName, CachedImage, EcrImage, Manifest,
    ParameterPrefix, RegionSettings,
};
use frontload_shared::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::settings::Settings;
use request::{Order, Request};

/// Payload of the function.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// Input of the pipeline's execution: an event or a person's request.
    request: Value,
    /// The pipeline's execution, from which build ids derive.
    execution_id: String,
}

/// What is to be built.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    builds: Vec<Build>,
    /// Caches that an event may concern but whose document cannot be built.
    refused: Vec<Refusal>,
    /// One line that says why there is this much to do.
    reason: String,
}

/// A cache that is left out, and why.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    cache: String,
    error: &'static str,
    message: String,
}

/// Plans the builds of a request.
pub async fn handle(
    ssm: &aws_sdk_ssm::Client,
    ecr: &aws_sdk_ecr::Client,
    settings: &Settings,
    input: Input,
) -> Result<Plan> {
    let planner = Planner { ssm, ecr, settings, execution_id: &input.execution_id };
    match request::read(&input.request)? {
        Request::Nothing(reason) => Ok(nothing(reason)),
        Request::Builds(order) => planner.plan_order(&order).await,
        Request::Image(image) => planner.plan_pushed(&image).await,
        Request::Reconcile => Err(Error::InvalidRequest("reconcile is not known yet".to_owned())),
    }
}

fn nothing(reason: String) -> Plan {
    tracing::info!(reason, "nothing to do");
    Plan { builds: Vec::new(), refused: Vec::new(), reason }
}

struct Planner<'a> {
    ssm: &'a aws_sdk_ssm::Client,
    ecr: &'a aws_sdk_ecr::Client,
    settings: &'a Settings,
    execution_id: &'a str,
}

impl Planner<'_> {
    async fn plan_order(&self, order: &Order) -> Result<Plan> {
        if order.architecture.is_some() || order.force || order.dry_run {
            let problem = "architecture, force and dryRun are not known yet";
            return Err(Error::InvalidRequest(problem.to_owned()));
        }
        let mut builds = Vec::new();
        for name in &order.caches {
            builds.extend(self.plan_named(name).await?);
        }
        let names: Vec<&str> = order.caches.iter().map(CacheName::as_str).collect();
        let reason = format!("{} builds of cache {} as requested", builds.len(), names.join(", "));
        Ok(Plan { builds, refused: Vec::new(), reason })
    }

    async fn plan_named(&self, name: &CacheName) -> Result<Vec<Build>> {
        let parameter = self.settings.prefix.cache(name);
        let Some(document) = parameters::get(self.ssm, &parameter).await? else {
            let problem = format!(
                "it does not exist in {}; put the cache document there",
                self.settings.home.region
            );
            return Err(Error::InvalidCache { parameter, problem });
        };
        let cache = read_cache(self.settings, name.clone(), &document.value)?;
        self.plan_cache(&cache).await
    }

    /// One broken document must not keep the others from being built, nor go
    /// unnoticed: the pipeline fails at its end with what is refused here.
    async fn plan_pushed(&self, pushed: &EcrImage) -> Result<Plan> {
        let mut plan = Plan { builds: Vec::new(), refused: Vec::new(), reason: String::new() };
        for (name, document) in parameters::list(self.ssm, &self.settings.prefix.caches()).await? {
            let short = name.rsplit('/').next().unwrap_or_default().to_owned();
            let cache = match parse_named(self.settings, &name, &short, &document) {
                Ok(cache) if !cache.is_concerned_by(pushed) => continue,
                Ok(cache) => self.plan_cache(&cache).await,
                Err(error) => Err(error),
            };
            match cache {
                Ok(builds) => plan.builds.extend(builds),
                Err(error) if error.retryable() => return Err(error),
                Err(error) => plan.refused.push(Refusal {
                    cache: short,
                    error: error.name(),
                    message: error.to_string(),
                }),
            }
        }
        if plan.builds.is_empty() && plan.refused.is_empty() {
            return Ok(nothing(format!("no cache holds {pushed}")));
        }
        plan.reason = format!("{} builds because of a push of {pushed}", plan.builds.len());
        Ok(plan)
    }

    async fn plan_cache(&self, cache: &Cache) -> Result<Vec<Build>> {
        let mut builds = Vec::new();
        for &architecture in &cache.architectures {
            let os = self.find_os_image(cache, architecture).await?;
            let planned = images::select_all(self.ecr, &cache.images, architecture).await?.images;
            let id = BuildId::derive(&cache.name, architecture, self.execution_id);
            let build = Build::new(id, cache, architecture, &self.settings.home, os, planned);
            check_manifest_fits(&self.settings.prefix, &build)?;
            builds.push(build);
        }
        Ok(builds)
    }

    /// The newest Bottlerocket of the variant, from the public parameters that
    /// Bottlerocket publishes in every region.
    async fn find_os_image(&self, cache: &Cache, architecture: Architecture) -> Result<OsImage> {
        let path = format!("/aws/service/bottlerocket/{}/{architecture}/latest", cache.variant);
        let (image_id, version) = (format!("{path}/image_id"), format!("{path}/image_version"));
        Ok(OsImage {
            variant: cache.variant.clone(),
            image_id: self.read_public(&image_id).await?,
            version: self.read_public(&version).await?,
        })
    }

    async fn read_public<T: TryFrom<String>>(&self, parameter: &str) -> Result<T> {
        let found = parameters::get(self.ssm, parameter).await?;
        found.and_then(|found| T::try_from(found.value).ok()).ok_or_else(|| {
            Error::OsImageNotFound {
                parameter: parameter.to_owned(),
                region: self.settings.home.region.to_string(),
            }
        })
    }
}

fn parse_named(settings: &Settings, parameter: &str, short: &str, document: &str) -> Result<Cache> {
    let name = short
        .parse()
        .map_err(|problem| Error::InvalidCache { parameter: parameter.to_owned(), problem })?;
    read_cache(settings, name, document)
}

/// Reads a cache document, checked against where Frontload runs.
pub fn read_cache(settings: &Settings, name: CacheName, document: &str) -> Result<Cache> {
    let parameter = settings.prefix.cache(&name);
    Cache::parse(name, document)
        .and_then(|cache| cache.settle(&settings.home.account, &settings.home.region))
        .map_err(|invalid| Error::InvalidCache { parameter, problem: invalid.to_string() })
}

/// Largest value of an advanced parameter in bytes (Parameter Store, "Parameter
/// tiers").
const MAX_PARAMETER_BYTES: usize = 8192;

/// A manifest that does not fit would be found out only after the pull.
fn check_manifest_fits(prefix: &ParameterPrefix, build: &Build) -> Result<()> {
    let filler = |character: char, count| character.to_string().repeat(count);
    let digest = format!("sha256:{}", filler('0', 64)).parse();
    let snapshot = format!("snap-{}", filler('0', 17)).parse();
    let containerd = filler('0', 32).parse();
    let (Ok(digest), Ok(snapshot), Ok(containerd)): (_, std::result::Result<SnapshotId, _>, _) =
        (digest, snapshot, containerd)
    else {
        return Ok(());
    };
    let images = build.images.iter();
    let pulled = PulledImages {
        containerd,
        images: images
            .map(|image| CachedImage {
                reference: image.reference.clone(),
                digest: Clone::clone(&digest),
            })
            .collect(),
        used_bytes: u64::MAX,
        flushed: true,
    };
    let replica = |settings: &RegionSettings| Replica {
        region: settings.region.clone(),
        snapshot_id: snapshot.clone(),
        encrypted: true,
        kms_key_id: settings.kms_key_id.clone(),
    };
    let replicas: Vec<Replica> = build.regions.iter().map(replica).collect();
    let manifests = Manifest::of_replicas(build, &pulled, &replicas);
    let bytes = manifests.iter().map(|manifest| manifest.text().len()).max().unwrap_or_default();
    if bytes <= MAX_PARAMETER_BYTES {
        return Ok(());
    }
    Err(Error::InvalidCache {
        parameter: prefix.cache(&build.cache),
        problem: format!(
            "images: the manifest of {} images would have {bytes} bytes, a parameter holds \
             {MAX_PARAMETER_BYTES}: split the cache",
            build.images.len()
        ),
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecr::operation::batch_get_image::BatchGetImageOutput;
    use aws_sdk_ecr::types::{Image, ImageFailure, ImageFailureCode, ImageIdentifier};
    use aws_sdk_ssm::operation::get_parameter::GetParameterOutput;
    use aws_sdk_ssm::operation::get_parameters_by_path::GetParametersByPathOutput;
    use aws_sdk_ssm::types::Parameter;
    use aws_smithy_mocks::{MockResponse, RuleMode, mock, mock_client};
    use serde_json::json;

    use super::*;
    use crate::testing::{json_error, settings};

    const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

    fn digest(character: char) -> String {
        format!("sha256:{}", character.to_string().repeat(64))
    }

    fn document(image: &str) -> String {
        let image = format!("{HOST}/{image}");
        json!({"images": [image], "architectures": ["x86_64"], "variant": "aws-k8s-1.35"})
            .to_string()
    }

    /// Parameter Store with these cache documents and Bottlerocket's parameters.
    fn ssm(documents: &[(&str, String)]) -> aws_sdk_ssm::Client {
        let documents: Vec<(String, String)> = documents
            .iter()
            .map(|(name, text)| (format!("/frontload/caches/{name}"), text.clone()))
            .collect();
        let all = documents.clone();
        let get = mock!(aws_sdk_ssm::Client::get_parameter).then_compute_response(move |request| {
            let name = request.name().unwrap();
            let value = match name.rsplit('/').next() {
                Some("image_id") => Some("ami-0abc".to_owned()),
                Some("image_version") => Some("1.57.0-abcdef01".to_owned()),
                _ => documents.iter().find(|(n, _)| n == name).map(|(_, text)| text.clone()),
            };
            let Some(value) = value else {
                return MockResponse::Http(json_error("ParameterNotFound"));
            };
            let parameter = Parameter::builder().value(value).version(1).build();
            MockResponse::Output(GetParameterOutput::builder().parameter(parameter).build())
        });
        let list = mock!(aws_sdk_ssm::Client::get_parameters_by_path).then_output(move || {
            let parameter = |(name, text): &(String, String)| {
                Parameter::builder().name(name).value(text).build()
            };
            GetParametersByPathOutput::builder()
                .set_parameters(Some(all.iter().map(parameter).collect()))
                .build()
        });
        mock_client!(aws_sdk_ssm, RuleMode::MatchAny, [&get, &list])
    }

    fn image(digest: &str, manifest: &Value) -> BatchGetImageOutput {
        let id = ImageIdentifier::builder().image_digest(digest).build();
        let image = Image::builder().image_id(id).image_manifest(manifest.to_string()).build();
        BatchGetImageOutput::builder().images(image).build()
    }

    /// ECR with `team/app:v1`, an index for `architectures` whose images have
    /// layers of 3 and 4 bytes.
    fn ecr(architectures: &'static [&str]) -> aws_sdk_ecr::Client {
        let get =
            mock!(aws_sdk_ecr::Client::batch_get_image).then_compute_response(move |request| {
                let id = &request.image_ids()[0];
                if request.repository_name() != Some("team/app") {
                    return MockResponse::Http(json_error("RepositoryNotFoundException"));
                }
                MockResponse::Output(match (id.image_tag(), id.image_digest()) {
                    (Some("v1"), _) => {
                        let child = |architecture: &&str| {
                            let platform = json!({"os": "linux", "architecture": architecture});
                            json!({"digest": digest('c'), "platform": platform})
                        };
                        let children: Vec<Value> = architectures.iter().map(child).collect();
                        image(&digest('a'), &json!({"manifests": children}))
                    }
                    (None, Some(_)) => {
                        image(&digest('c'), &json!({"layers": [{"size": 3}, {"size": 4}]}))
                    }
                    _ => {
                        let code = ImageFailureCode::ImageNotFound;
                        let failure = ImageFailure::builder().failure_code(code).build();
                        BatchGetImageOutput::builder().failures(failure).build()
                    }
                })
            });
        mock_client!(aws_sdk_ecr, RuleMode::MatchAny, [&get])
    }

    async fn plan(
        documents: &[(&str, String)],
        architectures: &'static [&str],
        request: Value,
    ) -> Result<Plan> {
        let settings = settings();
        let input = Input { request, execution_id: "execution-1".to_owned() };
        handle(&ssm(documents), &ecr(architectures), &settings, input).await
    }

    fn push() -> Value {
        serde_json::from_str(include_str!("../../../tests/events/ecr-push.json")).unwrap()
    }

    #[tokio::test]
    async fn a_tag_becomes_the_digest_of_the_index_and_the_size_of_its_image() {
        let documents = [("default", document("team/app:v1"))];
        let plan =
            plan(&documents, &["arm64", "amd64"], json!({"cache": "default"})).await.unwrap();
        let image = &plan.builds[0].images[0];
        assert_eq!(image.digest.as_ref().unwrap().as_str(), digest('a'));
        assert_eq!(image.compressed_bytes, Some(7));
        assert_eq!(plan.builds[0].os.image_id.as_str(), "ami-0abc");
    }

    #[tokio::test]
    async fn an_architecture_that_the_index_lacks_is_named() {
        let documents = [("default", document("team/app:v1"))];
        let error = plan(&documents, &["arm64"], json!({"cache": "default"})).await.unwrap_err();
        assert_eq!(error.name(), "PlatformMissing");
        assert!(error.to_string().contains("has linux/arm64, not linux/amd64"), "{error}");
    }

    #[tokio::test]
    async fn what_does_not_exist_is_named() {
        for (image, reason) in [
            ("team/app:v9", "the repository has no such tag"),
            ("team/nothing:v1", "there is no such repository"),
        ] {
            let documents = [("default", document(image))];
            let error =
                plan(&documents, &["amd64"], json!({"cache": "default"})).await.unwrap_err();
            assert_eq!(error.name(), "ImageNotFound");
            assert!(error.to_string().contains(reason), "{error}");
        }
        let error = plan(&[], &["amd64"], json!({"cache": "gone"})).await.unwrap_err();
        assert_eq!(error.name(), "InvalidCache");
        assert!(error.to_string().contains("/frontload/caches/gone"), "{error}");
    }

    #[tokio::test]
    async fn a_push_builds_the_caches_that_hold_the_image_and_reports_broken_ones() {
        let documents = [
            ("broken", "{".to_owned()),
            ("default", document("team/app:v1")),
            ("other", document("team/app:v2")),
        ];
        let plan = plan(&documents, &["amd64"], push()).await.unwrap();
        let built: Vec<&str> = plan.builds.iter().map(|build| build.cache.as_str()).collect();
        assert_eq!(built, ["default"]);
        let refused: Vec<_> = plan.refused.iter().map(|r| (r.cache.as_str(), r.error)).collect();
        assert_eq!(refused, [("broken", "InvalidCache")]);
    }

    #[tokio::test]
    async fn a_push_of_what_no_cache_holds_does_nothing_and_says_so() {
        let plan = plan(&[("other", document("team/app:v2"))], &["amd64"], push()).await.unwrap();
        assert!(plan.builds.is_empty() && plan.refused.is_empty());
        assert_eq!(plan.reason, "no cache holds team/app:v1 in account 123456789012 in us-east-1");
    }

    #[tokio::test]
    async fn a_cache_whose_manifest_would_not_fit_is_refused_before_anything_is_made() {
        let long = "a".repeat(150);
        let images: Vec<String> = (0..60).map(|n| format!("ghcr.io/{long}/app:v{n}")).collect();
        let document =
            json!({"images": images, "architectures": ["x86_64"], "variant": "aws-k8s-1.35"});
        let documents = [("default", document.to_string())];
        let error = plan(&documents, &["amd64"], json!({"cache": "default"})).await.unwrap_err();
        assert_eq!(error.name(), "InvalidCache");
        assert!(error.to_string().contains("split the cache"), "{error}");
    }
}
