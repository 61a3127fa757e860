//! `plan`: turns an event, or a request from the schedule or a person, into build requests. Or it
//! shows what would be built. It changes nothing.

use frontload_aws::clients::at_once;
use frontload_domain::lease::BuildOptions;
use frontload_domain::names::one_line;
use frontload_domain::step::{Report, Waited};
use frontload_domain::{Architecture, BuildId, BuildRequest, Cache, CacheName, Debounce, EcrImage};
use frontload_domain::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::context::Context;
use crate::planning::documents::{Documents, Listing, Trust};
use crate::planning::read_cache;
use crate::planning::request::{self, ManualRequest, PlanRequest};
use crate::planning::resolve::Decision;
use crate::settings::Settings;

/// Payload of the function.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// Input of the pipeline's execution: an event or a person's request.
    request: Value,
    /// The pipeline's execution, from which build ids derive.
    execution_id: String,
    /// Its start in epoch seconds. Definitions of an older release do not send it.
    #[serde(default)]
    started_at: Option<i64>,
    #[serde(default)]
    waited_seconds: Waited,
}

/// The builds to make.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    builds: Vec<BuildRequest>,
    /// Caches that a request may concern but that cannot be built.
    refused: Vec<Refusal>,
    /// One line that explains how much there is to do.
    reason: String,
    /// Dry run only: what would be done with each cache and architecture.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dry_run: Vec<Outlook>,
}

impl Plan {
    fn is_empty(&self) -> bool {
        self.builds.is_empty() && self.refused.is_empty()
    }
}

/// A cache that is left out, and why.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    cache: String,
    error: &'static str,
    message: String,
}

/// Maximum characters of a refusal. A hundred caches' refusals fit into a state's 256 KiB.
const MAX_REFUSAL: usize = 600;

impl Refusal {
    fn of(cache: &str, error: &Error) -> Self {
        let message = one_line(&error.chain(), MAX_REFUSAL);
        Self { cache: cache.to_owned(), error: error.name(), message }
    }
}

/// Result of a dry run for one cache and architecture.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Outlook {
    cache: CacheName,
    architecture: Architecture,
    build: bool,
    reason: String,
    /// What would be left out, one sentence per item.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// Plans the builds of a request. `documents` contains what this function read last. `now` is in
/// epoch seconds.
pub async fn handle(context: &Context, input: Input) -> Result<Report<Plan>> {
    let Context { settings, documents, .. } = context;
    let execution = &input.execution_id;
    let plan = match request::read(&input.request)? {
        PlanRequest::Nothing(reason) => nothing(reason),
        PlanRequest::Builds(manual) => plan_manual(context, &manual, execution).await?,
        PlanRequest::Reconcile => {
            let listing = documents.read(context).await?;
            let plan = plan_all(settings, &listing, execution, |_| true, |_| Debounce::NONE);
            explain(plan, "the schedule checks every cache", "no cache exists".to_owned())
        }
        PlanRequest::Image(image) => return plan_image(context, documents, &image, &input).await,
    };
    Ok(Report::Ready(plan))
}

/// Plans the caches that an image concerns, from every document written before its push.
async fn plan_image(
    context: &Context,
    documents: &Documents,
    image: &EcrImage,
    input: &Input,
) -> Result<Report<Plan>> {
    let plan = |listing: &Listing| {
        let concerned = |cache: &Cache| cache.is_concerned_by(image);
        let debounce = |cache: &Cache| cache.debounce;
        plan_all(&context.settings, listing, &input.execution_id, concerned, debounce)
    };
    let (why, without) = (format!("{image} has arrived"), format!("no cache holds {image}"));
    if let Some(kept) = documents.kept() {
        let plan = plan(&kept);
        match kept.trust(input.started_at, input.waited_seconds, context.now) {
            Trust::Complete => return Ok(Report::Ready(explain(plan, &why, without))),
            Trust::ReadAgain(seconds) if plan.is_empty() => {
                let progress = format!("{without} so far; the next check is in {seconds} s");
                return Ok(Report::wait(seconds, progress));
            }
            Trust::ReadAgain(_) | Trust::Expired => {}
        }
    }
    let plan = plan(&documents.read(context).await?);
    Ok(Report::Ready(explain(plan, &why, without)))
}

/// Sets the reason of a plan: `why`, or `without` if the plan is empty.
fn explain(plan: Plan, why: &str, without: String) -> Plan {
    if plan.is_empty() {
        return nothing(without);
    }
    Plan { reason: format!("{} builds: {why}", plan.builds.len()), ..plan }
}

fn nothing(reason: String) -> Plan {
    tracing::info!(reason, "nothing to do");
    Plan { reason, ..Plan::default() }
}

/// A broken document must not block the builds of the others, and must not go unnoticed. The
/// pipeline fails at its end with the refusals from here.
fn plan_all(
    settings: &Settings,
    listing: &Listing,
    execution: &str,
    is_concerned: impl Fn(&Cache) -> bool,
    debounce: impl Fn(&Cache) -> Debounce,
) -> Plan {
    let mut plan = Plan::default();
    for (name, document) in listing.documents.iter() {
        let short = name.rsplit('/').next().unwrap_or_default();
        match parse_named(settings, name, short, document) {
            Ok(cache) if !is_concerned(&cache) => {}
            Ok(cache) => {
                let debounce = debounce(&cache);
                let requests = cache.architectures.iter().map(|&architecture| {
                    request_for(&cache, architecture, execution, debounce, BuildOptions::default())
                });
                plan.builds.extend(requests);
            }
            Err(error) => plan.refused.push(Refusal::of(short, &error)),
        }
    }
    plan
}

async fn plan_manual(context: &Context, manual: &ManualRequest, execution: &str) -> Result<Plan> {
    let mut requests = Vec::new();
    for name in &manual.caches {
        let cache = context.read_cache(name).await?;
        let wanted = |&&of: &&Architecture| manual.architecture.is_none_or(|one| one == of);
        let architectures: Vec<_> = cache.architectures.iter().filter(wanted).collect();
        if architectures.is_empty() {
            let parameter = context.settings.prefix.cache(name);
            let problem = "architectures: the requested architecture is missing".to_owned();
            return Err(Error::InvalidCache { parameter, problem });
        }
        let request = |&&of: &&Architecture| {
            request_for(&cache, of, execution, Debounce::NONE, manual.options)
        };
        requests.extend(architectures.iter().map(request));
    }
    if manual.dry_run {
        return preview(context, &requests).await;
    }
    let reason = format!("{} builds as requested", requests.len());
    Ok(Plan { builds: requests, reason, ..Plan::default() })
}

/// Returns what the builds would be. Changes nothing.
async fn preview(context: &Context, requests: &[BuildRequest]) -> Result<Plan> {
    let resolved =
        at_once(requests, |request| context.resolve(request, BuildOptions::of(request))).await;
    let mut plan = Plan { reason: "a dry run: nothing is changed".to_owned(), ..Plan::default() };
    for (request, resolved) in requests.iter().zip(resolved) {
        match resolved {
            Ok(resolved) => {
                let (build, reason) = match resolved.decision {
                    Decision::Build(reason) => (true, reason),
                    Decision::Unchanged(reason) => (false, reason),
                };
                let (cache, architecture) = (request.cache.clone(), request.architecture);
                let warnings = resolved.warnings;
                plan.dry_run.push(Outlook { cache, architecture, build, reason, warnings });
            }
            Err(error) if error.retryable() => return Err(error),
            Err(error) => plan.refused.push(Refusal::of(request.cache.as_str(), &error)),
        }
    }
    Ok(plan)
}

fn request_for(
    cache: &Cache,
    architecture: Architecture,
    execution: &str,
    debounce: Debounce,
    options: BuildOptions,
) -> BuildRequest {
    BuildRequest {
        id: BuildId::derive(&cache.name, architecture, execution),
        cache: cache.name.clone(),
        architecture,
        force: options.force,
        full: options.full,
        debounce,
        claim_seconds: cache.time_limits.claim_seconds,
    }
}

fn parse_named(settings: &Settings, parameter: &str, short: &str, document: &str) -> Result<Cache> {
    let name = short
        .parse()
        .map_err(|problem| Error::InvalidCache { parameter: parameter.to_owned(), problem })?;
    read_cache(settings, name, document)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use frontload_aws::testing::FakeCloud;
    use serde_json::json;

    use super::*;
    use crate::testing::{HOST, context, put_cache};

    /// A warm function's answer, `at` seconds after the execution's start.
    async fn plan_warm(
        cloud: &FakeCloud,
        documents: &Arc<Documents>,
        (started_at, at): (i64, i64),
        request: Value,
    ) -> Result<Report<Plan>> {
        let waited_seconds = Waited(u64::try_from(at).unwrap());
        let execution_id = "execution-1".to_owned();
        let input = Input { request, execution_id, started_at: Some(started_at), waited_seconds };
        let documents = documents.clone();
        handle(&Context { documents, ..context(cloud, started_at + at) }, input).await
    }

    async fn plan(cloud: &FakeCloud, request: Value) -> Result<Plan> {
        match plan_warm(cloud, &Arc::default(), (0, 0), request).await? {
            Report::Ready(plan) => Ok(plan),
            Report::Waiting { progress, .. } => panic!("{progress}"),
        }
    }

    fn push() -> Value {
        serde_json::from_str(include_str!("../../../tests/events/ecr-push.json")).unwrap()
    }

    /// Cache `default` with two architectures, `other` with another tag, and a broken one.
    fn cloud() -> FakeCloud {
        let cloud = FakeCloud::default();
        put_cache(&cloud, "default", &json!({"architectures": ["arm64", "x86_64"]}));
        put_cache(&cloud, "other", &json!({"images": [format!("{HOST}/team/app:v2")]}));
        cloud.world().put("/frontload/caches/broken", "{");
        cloud
    }

    fn shown(plan: &Plan) -> Vec<String> {
        let built = plan.builds.iter().map(|build| {
            let quiet = build.debounce.quiet_seconds;
            format!("{} {} {quiet} {}", build.cache, build.architecture, build.force)
        });
        let refused = plan.refused.iter().map(|r| format!("{} {}", r.cache, r.error));
        built.chain(refused).collect()
    }

    #[tokio::test]
    async fn a_push_builds_the_caches_with_the_image_and_reports_broken_ones() {
        let plan = plan(&cloud(), push()).await.unwrap();
        let expected = ["default arm64 60 false", "default x86_64 60 false", "broken InvalidCache"];
        assert_eq!(shown(&plan), expected);
    }

    #[tokio::test]
    async fn a_push_of_an_uncached_image_does_nothing_and_says_so() {
        let cloud = FakeCloud::default();
        put_cache(&cloud, "other", &json!({"images": [format!("{HOST}/team/app:v2")]}));
        let plan = plan(&cloud, push()).await.unwrap();
        assert_eq!(shown(&plan), [""; 0]);
        assert_eq!(plan.reason, "no cache holds team/app:v1 in account 123456789012 in us-east-1");
    }

    /// Returns a warm function's answer to a push that waits as asked, and the number of reads.
    async fn answer_to_push(
        cloud: &FakeCloud,
        documents: &Arc<Documents>,
        at: i64,
    ) -> (Vec<String>, usize) {
        let before = cloud.world().listed;
        let mut waited = 0;
        loop {
            match plan_warm(cloud, documents, (at, waited), push()).await.unwrap() {
                Report::Ready(plan) => return (shown(&plan), cloud.world().listed - before),
                Report::Waiting { wait_seconds, .. } => waited += i64::from(wait_seconds),
            }
        }
    }

    #[tokio::test]
    async fn a_push_right_after_a_cache_write_builds_it_despite_remembered_documents() {
        let (cloud, documents) = (FakeCloud::default(), Arc::default());
        put_cache(&cloud, "other", &json!({"images": [format!("{HOST}/team/app:v2")]}));
        assert_eq!(answer_to_push(&cloud, &documents, 100).await, (vec![], 1));
        put_cache(&cloud, "default", &json!({}));
        let built = vec!["default x86_64 60 false".to_owned()];
        assert_eq!(answer_to_push(&cloud, &documents, 101).await, (built.clone(), 1));
        // A push that concerns a cache does not wait, and misses no other cache.
        put_cache(&cloud, "second", &json!({}));
        let both = vec![built[0].clone(), "second x86_64 60 false".to_owned()];
        let plan = plan_warm(&cloud, &documents, (162, 0), push()).await.unwrap();
        assert!(matches!(plan, Report::Ready(plan) if shown(&plan) == both));
    }

    #[tokio::test]
    async fn many_pushes_of_uncached_images_read_once_a_minute() {
        let (cloud, documents) = (FakeCloud::default(), Arc::default());
        put_cache(&cloud, "other", &json!({"images": [format!("{HOST}/team/app:v2")]}));
        let clock = &mut std::collections::BinaryHeap::new();
        let later = |at: i64, started: i64| std::cmp::Reverse((at, started));
        clock.extend((0..600).map(|started| later(started, started)));
        let mut answered = 0;
        while let Some(std::cmp::Reverse((at, started))) = clock.pop() {
            match plan_warm(&cloud, &documents, (started, at - started), push()).await.unwrap() {
                Report::Ready(plan) => answered += usize::from(plan.is_empty()),
                Report::Waiting { wait_seconds, .. } => {
                    clock.push(later(at + i64::from(wait_seconds), started));
                }
            }
        }
        assert_eq!((answered, cloud.world().listed), (600, 11));
    }

    #[tokio::test]
    async fn the_schedule_checks_every_cache_without_waiting_for_pushes() {
        let plan = plan(&cloud(), json!({"reconcile": true})).await.unwrap();
        let expected = [
            "default arm64 0 false",
            "default x86_64 0 false",
            "other x86_64 0 false",
            "broken InvalidCache",
        ];
        assert_eq!(shown(&plan), expected);
    }

    #[tokio::test]
    async fn a_manual_request_names_caches_architecture_and_force() {
        let request =
            json!({"caches": ["default", "other"], "architecture": "x86_64", "force": true});
        let plan = plan(&cloud(), request).await.unwrap();
        assert_eq!(shown(&plan), ["default x86_64 0 true", "other x86_64 0 true"]);
    }

    #[tokio::test]
    async fn a_missing_cache_or_architecture_is_named() {
        for (request, problem) in [
            (json!({"cache": "gone"}), "/frontload/caches/gone"),
            (
                json!({"cache": "other", "architecture": "arm64"}),
                "the requested architecture is missing",
            ),
        ] {
            let error = plan(&cloud(), request).await.unwrap_err();
            assert_eq!(error.name(), "InvalidCache");
            assert!(error.to_string().contains(problem), "{error}");
        }
    }

    #[tokio::test]
    async fn a_dry_run_reports_builds_with_reasons_and_changes_nothing() {
        let cloud = cloud();
        let request = json!({"caches": ["default", "other"], "dryRun": true});
        let plan = plan(&cloud, request).await.unwrap();
        assert_eq!(shown(&plan), ["other ImageNotFound"]);
        let outlook = |of: &Outlook| format!("{} {} {}", of.architecture, of.build, of.reason);
        let outlooks: Vec<_> = plan.dry_run.iter().map(outlook).collect();
        let why = "true nothing usable is published; built in full";
        assert_eq!(outlooks, [format!("arm64 {why}"), format!("x86_64 {why}")]);
        let world = cloud.world();
        assert_eq!((world.changes, world.items.len()), (0, 0));
    }

    #[tokio::test]
    async fn an_unusable_bottlerocket_release_is_refused_by_version() {
        let refused = async |version: &str| {
            let cloud = FakeCloud::default();
            put_cache(&cloud, "default", &json!({}));
            let latest = "/aws/service/bottlerocket/aws-k8s-1.35/x86_64/latest";
            cloud.world().put(&format!("{latest}/image_version"), version);
            let plan = plan(&cloud, json!({"cache": "default", "dryRun": true})).await.unwrap();
            plan.refused.first().map(|refusal| (refusal.error, refusal.message.clone()))
        };
        for version in ["1.52.9-01234567", "1.58.0-01234567", "next"] {
            let (error, message) = refused(version).await.unwrap();
            assert_eq!(error, "OsImageRefused");
            assert!(message.contains(version), "{message}");
        }
        for version in ["1.53.0-01234567", "1.58.1-01234567", "2.0.0"] {
            assert_eq!(refused(version).await, None, "{version}");
        }
    }

    #[tokio::test]
    async fn a_cache_with_an_oversized_manifest_is_refused_at_once() {
        let long = "a".repeat(150);
        let images: Vec<String> = (0..60).map(|n| format!("ghcr.io/{long}/app:v{n}")).collect();
        let cloud = FakeCloud::default();
        put_cache(&cloud, "default", &json!({"images": images}));
        let plan = plan(&cloud, json!({"cache": "default", "dryRun": true})).await.unwrap();
        assert!(plan.refused[0].message.contains("split the cache"), "{:?}", plan.refused);
    }
}
