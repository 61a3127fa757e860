//! The event that announces a publication.

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use serde::Serialize;

use super::{call_error, entry_error, incomplete_answer};
use frontload_domain::Result;
use frontload_domain::{AccountId, Manifest, ParameterNames};

/// `source` of our events.
const SOURCE: &str = "frontload";
/// `detail-type` of our event.
const PUBLISHED: &str = "Frontload Snapshot Published";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Published<'a> {
    account: &'a AccountId,
    parameter: &'a str,
    manifest_parameter: &'a str,
    #[serde(flatten)]
    manifest: &'a Manifest,
}

/// Puts `Frontload Snapshot Published` on the bus. The event contains the manifest,
/// the account whose parameters changed, and the parameter names (`infra/events/`).
/// A consumer may receive it more than once.
///
/// # Errors
/// Those of [`super::call_error`], also if the bus accepts the call but refuses the event.
pub async fn put_published(
    events: &Client,
    bus: &str,
    account: &AccountId,
    names: &ParameterNames,
    manifest: &Manifest,
) -> Result<()> {
    let operation = "events:PutEvents";
    let resource = || format!("bus {bus} of {account}");
    let detail = Published {
        account,
        parameter: &names.snapshot_id,
        manifest_parameter: &names.manifest,
        manifest,
    };
    let detail = serde_json::to_string(&detail).map_err(|error| {
        incomplete_answer(operation, resource(), events.config().region(), error.to_string())
    })?;
    let entry = PutEventsRequestEntry::builder()
        .event_bus_name(bus)
        .source(SOURCE)
        .detail_type(PUBLISHED)
        .detail(detail)
        .build();
    let output = events
        .put_events()
        .entries(entry)
        .send()
        .await
        .map_err(|error| call_error(operation, resource(), events.config().region(), &error))?;
    // PutEvents returns 200 even when it accepted none of the entries.
    let refused = output.entries().iter().find_map(|entry| Some((entry.error_code()?, entry)));
    let Some((code, entry)) = refused else { return Ok(()) };
    let message = entry.error_message().unwrap_or("no reason given");
    Err(entry_error(operation, resource(), events.config().region(), code, message))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::FakeCloud;
    use frontload_domain::{Architecture, Place};

    fn sample() -> Value {
        serde_json::from_str(include_str!("../../../tests/events/snapshot-published.json")).unwrap()
    }

    /// Puts the event of the sample on a consumer's bus.
    async fn put(cloud: &FakeCloud) -> Result<()> {
        let manifest: Manifest = serde_json::from_value(sample()).unwrap();
        let prefix = "/frontload".parse().unwrap();
        let names = ParameterNames::new(&prefix, &manifest.cache, Architecture::X86_64);
        let events = cloud.clients().events(&Place::own(&manifest.region)).await.unwrap();
        put_published(&events, "default", &manifest.consumers[0].account, &names, &manifest).await
    }

    /// `tests/infra` validates the same file against the schema.
    #[tokio::test]
    async fn the_event_matches_the_documentation() {
        let cloud = FakeCloud::default();
        put(&cloud).await.unwrap();
        assert_eq!(cloud.world().events, [sample()]);
    }

    #[tokio::test]
    async fn an_event_refusal_has_the_right_retry_class() {
        for (code, name) in [
            ("ThrottlingException", "AwsUnavailable"),
            ("InternalFailure", "AwsUnavailable"),
            ("AccessDeniedException", "AwsDenied"),
            ("MalformedDetail", "AwsRejected"),
        ] {
            let cloud = FakeCloud::default();
            let entry = json!({"ErrorCode": code, "ErrorMessage": "planted"});
            let refused = json!({"FailedEntryCount": 1, "Entries": [entry]});
            cloud.world().answers.insert("PutEvents".to_owned(), refused);
            let error = put(&cloud).await.unwrap_err();
            let message = error.chain();
            assert_eq!(error.name(), name);
            assert!(message.contains(&format!("{code}: planted")), "{message}");
            assert!(message.contains("bus default of 2"), "{message}");
        }
    }
}
