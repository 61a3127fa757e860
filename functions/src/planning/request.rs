//! The input of an execution of the pipeline: an ECR event, a person's request, or the schedule's.
//! Events come from outside. Their content is compared with the configuration and goes nowhere
//! else.

use std::collections::BTreeSet;

use aws_lambda_events::eventbridge::EventBridgeEvent;
use frontload_domain::lease::BuildOptions;
use frontload_domain::names::{one_line, quoted};
use frontload_domain::{Architecture, CacheName, Digest, EcrImage, Tag};
use frontload_domain::{Error, Result};
use serde::Deserialize;
use serde_json::Value;

/// A parsed request.
#[derive(Debug, PartialEq, Eq)]
pub enum PlanRequest {
    /// Build what this image concerns.
    Image(EcrImage),
    /// Build what a person asks for.
    Builds(ManualRequest),
    /// Compare every cache with what is published.
    Reconcile,
    /// Nothing to do, and why.
    Nothing(String),
}

/// What a person asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct ManualRequest {
    /// At least one, without duplicates.
    pub caches: Vec<CacheName>,
    /// Only this architecture. `None` means all architectures of each cache.
    pub architecture: Option<Architecture>,
    /// What to build although no change requires it.
    pub options: BuildOptions,
    /// Only report what would be built and why.
    pub dry_run: bool,
}

/// A person's request or the schedule's, before validation.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    cache: Option<CacheName>,
    caches: Option<Vec<CacheName>>,
    architecture: Option<Architecture>,
    force: Option<bool>,
    full: Option<bool>,
    dry_run: Option<bool>,
    reconcile: Option<bool>,
}

/// Reads a request.
///
/// # Errors
/// [`Error::InvalidRequest`] if the input is neither an `EventBridge` event nor a request that can
/// be met.
pub fn read(request: &Value) -> Result<PlanRequest> {
    if request.get("detail-type").is_some() {
        return read_event(request);
    }
    let written = serde_path_to_error::deserialize(request).map_err(|error| {
        let path = match error.path().to_string() {
            path if path == "." => String::new(),
            path => format!("{path}: "),
        };
        refuse(&one_line(&format!("{path}{}", error.inner()), 400))
    })?;
    read_written(written)
}

fn refuse(problem: &str) -> Error {
    Error::InvalidRequest(format!(
        "{problem}; write {{\"cache\": \"<name>\"}} or {{\"caches\": [\"<name>\", …]}}, with \
         \"architecture\", \"force\", \"full\" and \"dryRun\" if wanted, or send an ECR event"
    ))
}

fn read_written(written: Written) -> Result<PlanRequest> {
    let Written { cache, caches, architecture, force, full, dry_run, reconcile } = written;
    let asks_more =
        architecture.is_some() || force.is_some() || full.is_some() || dry_run.is_some();
    let caches = match (cache, caches, reconcile) {
        (None, None, Some(true)) if !asks_more => return Ok(PlanRequest::Reconcile),
        (None, None, Some(true)) => return Err(refuse("reconcile allows no other field")),
        (None, None, Some(false)) => return Err(refuse("reconcile can only be true")),
        (None, None, None) => return Err(refuse("no cache is named")),
        (_, _, Some(_)) => {
            return Err(refuse("reconcile applies to all caches and allows no cache name"));
        }
        (Some(_), Some(_), None) => return Err(refuse("both cache and caches are given")),
        (Some(cache), None, None) => vec![cache],
        (None, Some(caches), None) => caches,
    };
    if caches.is_empty() {
        return Err(refuse("caches: the list is empty"));
    }
    if caches.iter().collect::<BTreeSet<_>>().len() < caches.len() {
        return Err(refuse("caches: a cache is listed twice"));
    }
    let full = full.unwrap_or_default();
    // A full build is wanted whether or not anything has changed.
    let options = BuildOptions { force: force.unwrap_or(full), full };
    let dry_run = dry_run.unwrap_or_default();
    Ok(PlanRequest::Builds(ManualRequest { caches, architecture, options, dry_run }))
}

/// Events that may mean new content in a registry (Amazon ECR user guide, "Sample events from
/// Amazon ECR").
enum Kind {
    Push,
    Replication,
    PullThrough,
}

impl Kind {
    fn of(detail_type: &str) -> Option<Self> {
        match detail_type {
            "ECR Image Action" => Some(Self::Push),
            "ECR Replication Action" => Some(Self::Replication),
            "ECR Pull Through Cache Action" => Some(Self::PullThrough),
            _ => None,
        }
    }

    /// The name in messages.
    fn name(&self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Replication => "replication",
            Self::PullThrough => "pull through the cache",
        }
    }

    /// The action type that brings content, for kinds with several.
    fn action(&self) -> Option<&'static str> {
        match self {
            Self::Push => Some("PUSH"),
            Self::Replication => Some("REPLICATE"),
            Self::PullThrough => None,
        }
    }

    fn outcome<'a>(&self, action: &'a EcrAction) -> Option<&'a str> {
        match self {
            Self::Push | Self::Replication => action.result.as_deref(),
            Self::PullThrough => action.sync_status.as_deref(),
        }
    }
}

/// `detail` of these events. AWS adds fields: unknown ones are ignored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct EcrAction {
    action_type: Option<String>,
    result: Option<String>,
    /// The result of a pull through the cache.
    sync_status: Option<String>,
    repository_name: String,
    image_digest: Option<String>,
    image_tag: Option<String>,
}

fn read_event(event: &Value) -> Result<PlanRequest> {
    let event = EventBridgeEvent::<Value>::deserialize(event).map_err(|error| {
        Error::InvalidRequest(format!("the event: {}", one_line(&error.to_string(), 400)))
    })?;
    Ok(read_image(event).map_or_else(PlanRequest::Nothing, PlanRequest::Image))
}

/// Returns the image with new content, or the reason why there is none. Nothing that another
/// account sends can fail an execution.
fn read_image(event: EventBridgeEvent<Value>) -> std::result::Result<EcrImage, String> {
    let detail_type = quoted(&event.detail_type);
    let Some(kind) = Kind::of(&event.detail_type) else {
        return Err(format!("events of type {detail_type} start no build"));
    };
    let action = EcrAction::deserialize(event.detail).map_err(|error| {
        let error = one_line(&error.to_string(), 200);
        format!("the event of type {detail_type} does not have the form that ECR sends: {error}")
    })?;
    check_outcome(&kind, &action)?;
    let repository = quoted(&action.repository_name);
    let image = EcrImage {
        account: event.account.unwrap_or_default().try_into()?,
        region: event.region.unwrap_or_default().try_into()?,
        repository: action.repository_name.try_into()?,
        tag: present(action.image_tag).map(Tag::try_from).transpose()?,
        digest: present(action.image_digest).map(Digest::try_from).transpose()?,
    };
    if image.tag.is_none() && image.digest.is_none() {
        return Err(format!("the event about {repository} has neither tag nor digest"));
    }
    Ok(image)
}

/// Treats an empty string as a missing one.
fn present(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// Returns `Err` with the reason if the action brought no content.
fn check_outcome(kind: &Kind, action: &EcrAction) -> std::result::Result<(), String> {
    let repository = quoted(&action.repository_name);
    let name = action.action_type.as_deref().unwrap_or_default();
    if kind.action().is_some_and(|wanted| wanted != name) {
        return Err(format!("{} of {repository} is not a {}", quoted(name), kind.name()));
    }
    match kind.outcome(action).unwrap_or_default() {
        "SUCCESS" => Ok(()),
        other => Err(format!("the {} to {repository} ended in {}", kind.name(), quoted(other))),
    }
}

#[cfg(test)]
mod tests {
    use frontload_domain::Selection;
    use serde_json::json;

    use super::*;

    fn fixture(name: &str) -> Value {
        let path = format!("{}/../tests/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_str(&text).unwrap()
    }

    fn image(name: &str) -> EcrImage {
        let PlanRequest::Image(image) = read(&fixture(name)).unwrap() else { panic!("{name}") };
        image
    }

    fn nothing(event: &Value) -> String {
        let PlanRequest::Nothing(reason) = read(event).unwrap() else { panic!("{event}") };
        reason
    }

    fn refusal(request: &Value) -> String {
        let error = read(request).unwrap_err();
        assert_eq!(error.name(), "InvalidRequest");
        error.to_string()
    }

    #[test]
    fn events_of_new_content_name_its_image() {
        for (name, expected) in [
            ("ecr-push", "team/app:v1 in account 123456789012 in us-east-1"),
            ("ecr-push-index", "team/app:v1 in account 123456789012 in us-east-1"),
            ("ecr-push-other-account", "team/app:v1 in account 567890123456 in us-east-1"),
            ("ecr-push-new-fields", "team/app:v1 in account 123456789012 in us-east-1"),
            ("ecr-replication", "team/app:v1 in account 123456789012 in us-east-1"),
            ("ecr-pull-through", "docker-hub/alpine:3.17.2 in account 123456789012 in us-east-1"),
        ] {
            assert_eq!(image(name).to_string(), expected, "{name}");
            assert!(image(name).digest.is_some(), "{name}");
        }
    }

    #[test]
    fn a_replicated_image_belongs_to_the_receiving_registry() {
        let event = fixture("ecr-replication");
        assert_eq!(event["detail"]["source-region"], "eu-west-1");
        assert_eq!(event["detail"]["source-account"], "567890123456");
        let at = |host: &str| -> bool {
            let reference = json!(format!("{host}.amazonaws.com/team/app:v1"));
            let selection: Selection = serde_json::from_value(reference).unwrap();
            selection.concerns(&image("ecr-replication"))
        };
        assert!(at("123456789012.dkr.ecr.us-east-1"));
        assert!(!at("567890123456.dkr.ecr.eu-west-1"));
    }

    #[test]
    fn a_push_under_two_tags_is_two_events_of_one_digest() {
        let (one, two) = (image("ecr-push-multi-tag-1"), image("ecr-push-multi-tag-2"));
        assert_eq!(one.digest, two.digest);
        assert_ne!(one.tag, two.tag);
    }

    #[test]
    fn a_push_without_a_tag_names_its_image_by_digest() {
        let untagged = image("ecr-push-untagged");
        assert_eq!(untagged.tag, None);
        assert!(untagged.to_string().starts_with("team/app@sha256:7f5b2640"), "{untagged}");
        let mut event = fixture("ecr-push-untagged");
        event["detail"]["image-tag"] = json!("");
        assert_eq!(read(&event).unwrap(), PlanRequest::Image(untagged));
        event["detail"].as_object_mut().unwrap().remove("image-digest");
        assert_eq!(nothing(&event), "the event about \"team/app\" has neither tag nor digest");
    }

    #[test]
    fn events_that_start_no_build_say_why() {
        for (name, reason) in [
            ("ecr-push-failed", "the push to \"team/app\" ended in \"FAILURE\""),
            ("ecr-delete", "\"DELETE\" of \"team/app\" is not a push"),
            ("ecr-archive", "\"UPDATE_STORAGE_CLASS\" of \"team/app\" is not a push"),
            ("ecr-scan", "events of type \"ECR Image Scan\" start no build"),
            (
                "execution-aborted",
                "events of type \"Step Functions Execution Status Change\" start no build",
            ),
            ("ecr-replication-failed", "the replication to \"team/app\" ended in \"FAILED\""),
            (
                "ecr-pull-through-failed",
                "the pull through the cache to \"docker-hub/alpine\" ended in \"FAILURE\"",
            ),
        ] {
            let said = nothing(&fixture(name));
            assert!(said.starts_with(reason), "{name}: {said}");
        }
    }

    #[test]
    fn an_event_with_invalid_names_starts_nothing_and_is_quoted() {
        let long = "v".repeat(10_000);
        for (pointer, value, reason) in [
            ("/detail/repository-name", "a\nb", r#""a\nb" is not a repository"#),
            ("/detail/image-tag", "$(x)", r#""$(x)" is not a tag"#),
            ("/detail/image-tag", "v1\u{7}\u{1b}[2J", r#""v1\u{7}\u{1b}[2J" is not a tag"#),
            ("/detail/image-tag", &long, r#""vvvv"#),
            ("/detail/image-digest", "sha256:0", r#""sha256:0" is not a digest"#),
            ("/account", "12345", r#""12345" is not an account id"#),
            ("/region", "mars", r#""mars" is not a region"#),
            ("/detail-type", "ECR\nImage Action", r#"events of type "ECR\nImage Action" start"#),
        ] {
            for name in ["ecr-push", "ecr-replication", "ecr-pull-through"] {
                let mut event = fixture(name);
                *event.pointer_mut(pointer).unwrap() = json!(value);
                let said = nothing(&event);
                assert!(said.starts_with(reason), "{said}");
                assert!(said.len() < 200 && !said.contains(char::is_control), "{said:?}");
            }
        }
    }

    #[test]
    fn a_malformed_event_starts_nothing_and_fails_no_execution() {
        for detail in [json!({}), json!(3), json!({"repository-name": "x".repeat(10_000)})] {
            let mut event = fixture("ecr-push");
            event["detail"] = detail;
            assert!(nothing(&event).len() < 300);
        }
        let mut event = fixture("ecr-push");
        event["detail"]["image-tag"] = json!({"nested": "\n".repeat(1000)});
        let said = nothing(&event);
        assert!(said.starts_with("the event of type \"ECR Image Action\" does not have"), "{said}");
    }

    #[test]
    fn a_manual_request_names_caches_and_build_options() {
        let manual = |request: Value| {
            let PlanRequest::Builds(manual) = read(&request).unwrap() else { panic!("{request}") };
            let names: Vec<&str> = manual.caches.iter().map(CacheName::as_str).collect();
            (names.join(" "), manual.architecture, manual.options, manual.dry_run)
        };
        assert_eq!(
            manual(fixture("request-cache")),
            ("default".to_owned(), None, BuildOptions::default(), false)
        );
        assert_eq!(
            manual(fixture("request-caches")),
            ("default gpu".to_owned(), Some(Architecture::Arm64), BuildOptions::default(), true)
        );
        let forced = manual(json!({"cache": "a", "force": true, "dryRun": false}));
        assert_eq!(
            forced,
            ("a".to_owned(), None, BuildOptions { force: true, full: false }, false)
        );
        let full = manual(json!({"cache": "a", "full": true}));
        assert_eq!(full.2, BuildOptions { force: true, full: true });
    }

    #[test]
    fn the_schedule_asks_to_reconcile() {
        assert_eq!(read(&fixture("request-reconcile")).unwrap(), PlanRequest::Reconcile);
    }

    #[test]
    fn an_invalid_request_is_refused_with_a_correct_example() {
        for (request, problem) in [
            (json!({}), "no cache is named"),
            (json!({"force": true}), "no cache is named"),
            (json!({"cache": "a", "caches": ["b"]}), "both cache and caches are given"),
            (json!({"caches": []}), "caches: the list is empty"),
            (json!({"caches": ["a", "b", "a"]}), "caches: a cache is listed twice"),
            (json!({"caches": ["a", "b c"]}), "caches[1]: \"b c\" is not a name"),
            (json!({"cache": "a b"}), "cache: \"a b\" is not a name"),
            (json!({"cache": "a", "dryrun": true}), "dryrun: unknown field `dryrun`, expected"),
            (json!({"cache": "a", "force": "yes"}), "force: invalid type: string \"yes\""),
            (json!({"cache": "a", "architecture": "amd64"}), "architecture: unknown variant"),
            (json!({"reconcile": false}), "reconcile can only be true"),
            (json!({"reconcile": true, "force": true}), "reconcile allows no other field"),
            (json!({"reconcile": true, "cache": "a"}), "reconcile applies to all caches"),
            (json!(3), "invalid type: integer `3`"),
        ] {
            let said = refusal(&request);
            assert!(said.contains(&format!("refused: {problem}")), "{said}");
            assert!(said.contains("write {\"cache\": \"<name>\"} or"), "{said}");
        }
    }
}
