//! The event that tells the world of a publication.

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use serde::Serialize;

use super::{call_error, incomplete_answer};
use crate::domain::{AccountId, Manifest, ParameterNames};
use crate::error::Result;

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

/// Puts `Frontload Snapshot Published` on the bus: the manifest, the account whose
/// parameters changed, and their names (`infra/events/`). A consumer may see it
/// more than once.
///
/// # Errors
/// Those of [`super::call_error`].
pub async fn put_published(
    events: &Client,
    bus: &str,
    account: &AccountId,
    names: &ParameterNames,
    manifest: &Manifest,
) -> Result<()> {
    let operation = "events:PutEvents";
    let resource = || format!("bus {bus}");
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
    // PutEvents answers 200 even when it took none of the entries.
    match output.entries().iter().find_map(|entry| entry.error_code()) {
        None => Ok(()),
        Some(code) => Err(incomplete_answer(operation, resource(), events.config().region(), code)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::aws::clients::Place;
    use crate::domain::Architecture;
    use crate::testing::FakeCloud;

    /// `tests/infra` holds the same file against the schema.
    #[tokio::test]
    async fn the_event_is_the_documented_one() {
        let sample = include_str!("../../../tests/events/snapshot-published.json");
        let sample: Value = serde_json::from_str(sample).unwrap();
        let manifest: Manifest = serde_json::from_value(sample.clone()).unwrap();
        let prefix = "/frontload".parse().unwrap();
        let names = ParameterNames::new(&prefix, &manifest.cache, Architecture::X86_64);
        let cloud = FakeCloud::default();
        let events = cloud.clients().events(&Place::own(&manifest.region)).await.unwrap();
        let account = &manifest.consumers[0].account;
        put_published(&events, "default", account, &names, &manifest).await.unwrap();
        assert_eq!(cloud.world().events, [sample]);
    }
}
