//! `plan`: turns a request into builds, everything resolved before anything is
//! created. It changes nothing.

mod request;

use frontload_shared::aws::snapshots::SnapshotId;
use frontload_shared::aws::{images, parameters};
use frontload_shared::builder::report::PulledImages;
use frontload_shared::domain::build::OsImage;
use frontload_shared::domain::{
    Architecture, Build, BuildId, Cache, CacheName, CachedImage, Manifest, ParameterPrefix,
};
use frontload_shared::{Error, Result, publication};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::settings::Settings;
use request::{PushedImage, Request};

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
        Request::Cache(name) => {
            let builds = planner.plan_named(&name).await?;
            let reason = format!("{} builds of cache {name} as requested", builds.len());
            Ok(Plan { builds, refused: Vec::new(), reason })
        }
        Request::Push(pushed) => planner.plan_pushed(&pushed).await,
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
    async fn plan_named(&self, name: &CacheName) -> Result<Vec<Build>> {
        let parameter = self.settings.prefix.cache(name);
        let Some(document) = parameters::get(self.ssm, &parameter).await? else {
            let problem = format!(
                "it does not exist in {}; put the cache document there",
                self.settings.region
            );
            return Err(Error::InvalidCache { parameter, problem });
        };
        let cache = read_cache(&self.settings.prefix, name.clone(), &document.value)?;
        self.plan_cache(&cache).await
    }

    /// One broken document must not keep the others from being built, nor go
    /// unnoticed: the pipeline fails at its end with what is refused here.
    async fn plan_pushed(&self, pushed: &PushedImage) -> Result<Plan> {
        let mut plan = Plan { builds: Vec::new(), refused: Vec::new(), reason: String::new() };
        for (name, document) in parameters::list(self.ssm, &self.settings.prefix.caches()).await? {
            let short = name.rsplit('/').next().unwrap_or_default().to_owned();
            let cache = match parse_named(&self.settings.prefix, &name, &short, &document) {
                Ok(cache) if !cache.images.iter().any(|image| pushed.is(image)) => continue,
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
            let mut planned = Vec::new();
            for reference in &cache.images {
                planned.push(images::resolve(self.ecr, reference, architecture).await?);
            }
            let id = BuildId::derive(&cache.name, architecture, self.execution_id);
            let region = self.settings.region.clone();
            let build = Build::new(id, cache, architecture, region, os, planned);
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
                region: self.settings.region.clone(),
            }
        })
    }
}

fn parse_named(
    prefix: &ParameterPrefix,
    parameter: &str,
    short: &str,
    document: &str,
) -> Result<Cache> {
    let name = short
        .parse()
        .map_err(|problem| Error::InvalidCache { parameter: parameter.to_owned(), problem })?;
    read_cache(prefix, name, document)
}

fn read_cache(prefix: &ParameterPrefix, name: CacheName, document: &str) -> Result<Cache> {
    let parameter = prefix.cache(&name);
    Cache::parse(name, document)
        .map_err(|invalid| Error::InvalidCache { parameter, problem: invalid.to_string() })
}

/// Largest value of an advanced parameter in bytes (Parameter Store, "Parameter
/// tiers").
const MAX_PARAMETER_BYTES: usize = 8192;

/// A manifest that does not fit would be found out only after the pull.
fn check_manifest_fits(prefix: &ParameterPrefix, build: &Build) -> Result<()> {
    let filler = |character: char, count| character.to_string().repeat(count);
    let digest = format!("sha256:{}", filler('0', 64)).parse();
    let snapshot: std::result::Result<SnapshotId, _> = format!("snap-{}", filler('0', 17)).parse();
    let (Ok(digest), Ok(snapshot), Ok(containerd)) = (digest, snapshot, filler('0', 32).parse())
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
    let bytes = publication::manifest_text(&Manifest::new(build, &pulled, snapshot)).len();
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
