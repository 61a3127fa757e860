//! `publish`: ensures that both parameters name the snapshot, after checking
//! that it may be named (S1). A failed write is put back at once, and by
//! `clean_up` if this function dies half-way.

use frontload_shared::aws::events::put_published;
use frontload_shared::aws::snapshots::{Snapshot, SnapshotId, State, find_snapshot};
use frontload_shared::builder::report::{PulledImages, check_pulled};
use frontload_shared::domain::{Build, Manifest, ParameterNames};
use frontload_shared::step::Report;
use frontload_shared::{Error, Result, publication};
use serde::{Deserialize, Serialize};

use crate::settings::Settings;

/// Payload of the function.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    build: Build,
    pulled: PulledImages,
    snapshot_id: SnapshotId,
}

/// Facts for whoever reads the execution.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Publication {
    parameter: String,
    snapshot_id: SnapshotId,
}

/// Publishes; calling again changes nothing but may repeat the event.
pub async fn handle(
    ec2: &aws_sdk_ec2::Client,
    ssm: &aws_sdk_ssm::Client,
    events: &aws_sdk_eventbridge::Client,
    settings: &Settings,
    input: Input,
) -> Result<Report<Publication>> {
    let build = &input.build;
    let pulled = check_pulled(build, input.pulled)?;
    let snapshot = find_snapshot(ec2, &input.snapshot_id).await?;
    check_publishable(build, snapshot.as_ref())?;
    let names = ParameterNames::new(&settings.prefix, &build.cache, build.architecture);
    let manifest = Manifest::new(build, &pulled, input.snapshot_id.clone());
    publication::publish(ssm, &names, &manifest).await?;
    put_published(events, &settings.event_bus, &build.region, &names, &manifest).await?;
    Ok(Report::Ready(Publication { parameter: names.snapshot_id, snapshot_id: input.snapshot_id }))
}

/// S1 for one region: the snapshot is there, completed, and this build's own.
fn check_publishable(build: &Build, snapshot: Option<&Snapshot>) -> Result<()> {
    let reason = match snapshot {
        None => "its snapshot is gone".to_owned(),
        Some(s) if s.build.as_deref() != Some(build.id.as_str()) => {
            format!("snapshot {} carries the tags of another build", s.id)
        }
        Some(s) => match &s.state {
            State::Completed => return Ok(()),
            State::Pending(progress) => format!("snapshot {} is only at {progress}", s.id),
            State::Error(reason) => format!("snapshot {} is in error: {reason}", s.id),
        },
    };
    Err(Error::PublishRefused { build: build.id.clone(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::build;

    fn snapshot(state: State, build: &str) -> Snapshot {
        Snapshot { id: "snap-1".parse().unwrap(), state, started: 0, build: Some(build.to_owned()) }
    }

    fn refusal(snapshot: Option<&Snapshot>) -> String {
        check_publishable(&build(), snapshot).map_or_else(|e| e.to_string(), |()| String::new())
    }

    #[test]
    fn only_a_completed_snapshot_of_the_build_is_published() {
        let own = build().id.to_string();
        assert_eq!(refusal(Some(&snapshot(State::Completed, &own))), "");
        for (snapshot, reason) in [
            (None, "its snapshot is gone"),
            (Some(snapshot(State::Completed, "other")), "tags of another build"),
            (Some(snapshot(State::Pending("99%".to_owned()), &own)), "only at 99%"),
            (Some(snapshot(State::Error("x".to_owned()), &own)), "in error: x"),
        ] {
            let refusal = refusal(snapshot.as_ref());
            assert!(refusal.contains(reason), "{refusal}");
        }
    }
}
