//! What an execution of the pipeline was started with: an ECR event or a
//! person's request. Events come from outside; what they carry is compared with
//! configuration and goes nowhere else.

use std::fmt;

use aws_lambda_events::eventbridge::EventBridgeEvent;
use frontload_shared::domain::image::{Digest, ImageReference, check_repository_and_tag};
use frontload_shared::domain::names::{CacheName, quoted};
use frontload_shared::domain::{AccountId, RegionName};
use frontload_shared::{Error, Result};
use serde::Deserialize;
use serde_json::Value;

/// A request, understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// Build what holds this image.
    Push(PushedImage),
    /// Build this cache.
    Cache(CacheName),
    /// Nothing to do, and why.
    Nothing(String),
}

/// An image that was pushed to ECR under a tag; every part is of its alphabet.
#[derive(Debug, PartialEq, Eq)]
pub struct PushedImage {
    account: AccountId,
    region: RegionName,
    repository: String,
    tag: String,
}

impl PushedImage {
    /// Whether a cache's reference names this image by its tag.
    pub fn is(&self, reference: &ImageReference) -> bool {
        reference.ecr_registry().is_some_and(|registry| {
            registry.account == self.account.as_str() && registry.region == self.region.as_str()
        }) && reference.repository() == self.repository
            && reference.tag() == Some(self.tag.as_str())
            && reference.digest().is_none()
    }
}

impl fmt::Display for PushedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, region, repository, tag } = self;
        write!(f, "{repository}:{tag} in account {account} in {region}")
    }
}

/// `detail` of `ECR Image Action` (Amazon ECR user guide, "Sample events").
/// AWS adds fields: unknown ones are ignored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct EcrImageAction {
    action_type: String,
    result: String,
    repository_name: String,
    image_digest: Option<Digest>,
    image_tag: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CacheRequest {
    cache: CacheName,
}

/// Reads a request.
///
/// # Errors
/// [`Error::InvalidRequest`] for what is neither an event of a known type nor
/// `{"cache": "<name>"}`.
pub fn read(request: &Value) -> Result<Request> {
    if request.get("detail-type").is_some() {
        return read_event(request);
    }
    let request = CacheRequest::deserialize(request).map_err(|error| {
        Error::InvalidRequest(format!(
            "{error}; write {{\"cache\": \"<name>\"}}, or send an ECR event"
        ))
    })?;
    Ok(Request::Cache(request.cache))
}

fn read_event(event: &Value) -> Result<Request> {
    let invalid = |error: serde_json::Error| Error::InvalidRequest(format!("the event: {error}"));
    let event = EventBridgeEvent::<Value>::deserialize(event).map_err(invalid)?;
    if event.detail_type != "ECR Image Action" {
        let what = quoted(&event.detail_type);
        return Ok(Request::Nothing(format!("events of type {what} start no build")));
    }
    let action = EcrImageAction::deserialize(&event.detail).map_err(invalid)?;
    if let Some(reason) = why_ignored(&action) {
        return Ok(Request::Nothing(reason));
    }
    let pushed = read_pushed(event.account, event.region, action);
    Ok(pushed.map_or_else(Request::Nothing, Request::Push))
}

/// The pushed image, or why the event names none.
fn read_pushed(
    account: Option<String>,
    region: Option<String>,
    action: EcrImageAction,
) -> std::result::Result<PushedImage, String> {
    let tag = action.image_tag.unwrap_or_default();
    check_repository_and_tag(&action.repository_name, &tag)?;
    Ok(PushedImage {
        account: account.unwrap_or_default().try_into()?,
        region: region.unwrap_or_default().try_into()?,
        repository: action.repository_name,
        tag,
    })
}

/// Why an image action starts no build, if so.
fn why_ignored(action: &EcrImageAction) -> Option<String> {
    let repository = quoted(&action.repository_name);
    if action.action_type != "PUSH" {
        return Some(format!("{} of {repository} is no push", quoted(&action.action_type)));
    }
    if action.result != "SUCCESS" {
        return Some(format!("the push to {repository} ended in {}", quoted(&action.result)));
    }
    match action.image_tag.as_deref() {
        None | Some("") => {
            let digest = action.image_digest.as_ref().map_or("an image", Digest::as_str);
            Some(format!("{digest} was pushed to {repository} without a tag"))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fixture(name: &str) -> Value {
        let path = format!("{}/../tests/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_str(&text).unwrap()
    }

    fn shown(name: &str) -> String {
        match read(&fixture(name)).unwrap() {
            Request::Push(pushed) => format!("push of {pushed}"),
            Request::Cache(name) => format!("cache {name}"),
            Request::Nothing(reason) => format!("nothing: {reason}"),
        }
    }

    #[test]
    fn a_tagged_push_names_its_image() {
        assert_eq!(shown("ecr-push"), "push of team/app:v1 in account 123456789012 in us-east-1");
    }

    #[test]
    fn events_that_start_no_build_say_why() {
        for (name, reason) in [
            ("ecr-push-untagged", "was pushed to \"team/app\" without a tag"),
            ("ecr-push-failed", "the push to \"team/app\" ended in \"FAILURE\""),
            ("ecr-delete", "\"DELETE\" of \"team/app\" is no push"),
            ("ecr-scan", "events of type \"ECR Image Scan\" start no build"),
        ] {
            let shown = shown(name);
            assert!(shown.starts_with("nothing: ") && shown.contains(reason), "{shown}");
        }
    }

    #[test]
    fn fields_that_aws_adds_later_are_ignored() {
        let mut event = fixture("ecr-push");
        event["detail"]["something-new"] = json!({"a": 1});
        event["something-new"] = json!(1);
        assert!(matches!(read(&event).unwrap(), Request::Push(_)));
    }

    #[test]
    fn an_event_whose_names_are_none_starts_nothing_and_is_quoted() {
        for (pointer, value, reason) in [
            ("/detail/repository-name", "a\nb", r#""a\nb" is no repository"#),
            ("/detail/image-tag", "$(x)", r#""$(x)" is no tag"#),
            ("/account", "12345", r#""12345" is not an account id"#),
            ("/region", "mars", r#""mars" is not a region"#),
        ] {
            let mut event = fixture("ecr-push");
            *event.pointer_mut(pointer).unwrap() = json!(value);
            let Request::Nothing(said) = read(&event).unwrap() else { panic!("{pointer}") };
            assert!(said.starts_with(reason), "{said}");
        }
    }

    #[test]
    fn a_person_names_a_cache() {
        assert_eq!(shown("request-cache"), "cache default");
        for bad in [json!({}), json!({"cache": "a b"}), json!({"cache": "a", "x": 1}), json!(3)] {
            assert_eq!(read(&bad).unwrap_err().name(), "InvalidRequest", "{bad}");
        }
    }

    #[test]
    fn a_push_concerns_references_by_that_tag_only() {
        let Request::Push(pushed) = read(&fixture("ecr-push")).unwrap() else { panic!("a push") };
        let host = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
        let is = |text: &str| pushed.is(&text.parse().unwrap());
        assert!(is(&format!("{host}/team/app:v1")));
        assert!(!is(&format!("{host}/team/app:v2")));
        assert!(!is(&format!("{host}/team/other:v1")));
        assert!(!is("123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:v1"));
        assert!(!is("210987654321.dkr.ecr.us-east-1.amazonaws.com/team/app:v1"));
        assert!(!is(&format!("{host}/team/app:v1@sha256:{}", "0".repeat(64))));
        assert!(!is("ghcr.io/team/app:v1"));
    }
}
