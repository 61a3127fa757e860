//! `replicate`: gives a region a snapshot that is completed, shared with every consumer, and has
//! fast restore where requested. In the home region this is the snapshot itself. `clean_up` undoes
//! it and finds replicas by their tags.

use frontload_aws::replicas::{Copy, ensure_fast_restore, share, shared_with, start_copy};
use frontload_aws::snapshots::{find_snapshot, find_snapshots};
use frontload_aws::tagging::Owner;
use frontload_domain::manifest::Replica;
use frontload_domain::snapshot::{Snapshot, SnapshotId, State};
use frontload_domain::step::{Report, Waited};
use frontload_domain::{Build, RegionSettings};
use frontload_domain::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::settings::Settings;

/// Payload of the function.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    build: Build,
    /// The home region's snapshot.
    snapshot_id: SnapshotId,
    region: RegionSettings,
    waited_seconds: Waited,
}

/// Facts for later steps.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Replicated {
    replica: Replica,
}

/// Moves one region's replica one step forward.
pub async fn handle(context: &Context, input: Input) -> Result<Report<Replicated>> {
    let Context { clients, settings, .. } = context;
    let build = &input.build;
    let ec2 = clients.own_ec2(&input.region.region);
    match ensure_replica(&ec2, settings, &input).await? {
        Report::Waiting { progress, .. }
            if input.waited_seconds.is_past(build.time_limits.replicate_seconds) =>
        {
            Err(Error::ReplicateTimedOut {
                build: build.id.clone(),
                region: input.region.region.to_string(),
                seconds: input.waited_seconds.0,
                progress,
            })
        }
        report => Ok(report),
    }
}

async fn ensure_replica(
    ec2: &aws_sdk_ec2::Client,
    settings: &Settings,
    input: &Input,
) -> Result<Report<Replicated>> {
    let (build, region) = (&input.build, &input.region);
    let (loops, usual) = (build.regions.len(), build.usual_seconds.replicate);
    let wait_seconds = input.waited_seconds.next_wait_among(loops, usual);
    let wait = |progress: String| Ok(Report::wait(wait_seconds, progress));
    let Some(snapshot) = find_replica(ec2, settings, input).await? else {
        return match start_copy(ec2, &settings.stack, build, &input.snapshot_id, region).await? {
            Copy::Started(id) => wait(format!("copy {id} is started in {}", region.region)),
            Copy::WaitsItsTurn => {
                wait(format!("{} already has its maximum of copies in progress", region.region))
            }
        };
    };
    match &snapshot.state {
        State::Pending(at) => wait(format!("{} in {} is at {at}", snapshot.id, region.region)),
        State::Error(reason) => Err(Error::ReplicaFailed {
            build: build.id.clone(),
            snapshot: snapshot.id.to_string(),
            region: region.region.to_string(),
            reason: reason.clone(),
        }),
        State::Completed => {
            ensure_shared(ec2, build, &snapshot.id).await?;
            if let Some(progress) =
                ensure_fast_restore(ec2, &snapshot.id, &region.fsr_zones).await?
            {
                return wait(progress);
            }
            Ok(Report::Ready(Replicated { replica: describe(region, snapshot) }))
        }
    }
}

fn describe(region: &RegionSettings, snapshot: Snapshot) -> Replica {
    Replica {
        region: region.region.clone(),
        snapshot_id: snapshot.id,
        encrypted: snapshot.encrypted,
        kms_key_id: snapshot.kms_key_id,
    }
}

/// The region's snapshot of the build: the oldest, if a lost answer left two.
async fn find_replica(
    ec2: &aws_sdk_ec2::Client,
    settings: &Settings,
    input: &Input,
) -> Result<Option<Snapshot>> {
    if input.region.region == input.build.region {
        return find_snapshot(ec2, &input.snapshot_id).await;
    }
    let owner = Owner { stack: &settings.stack, build: &input.build.id };
    Ok(find_snapshots(ec2, owner).await?.into_iter().next())
}

async fn ensure_shared(ec2: &aws_sdk_ec2::Client, build: &Build, id: &SnapshotId) -> Result<()> {
    if build.consumers.is_empty() {
        return Ok(());
    }
    let known = shared_with(ec2, id).await?;
    let accounts = build.consumers.iter().map(|consumer| &consumer.account);
    let missing: Vec<_> = accounts.filter(|a| !known.iter().any(|k| k == a.as_str())).collect();
    if missing.is_empty() {
        return Ok(());
    }
    share(ec2, id, &missing).await
}

#[cfg(test)]
mod tests {
    use frontload_aws::testing::FakeCloud;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{build_document, context, shown};

    const AWAY: &str = "eu-west-1";

    /// Seconds until the next poll of a running copy, in a build of `regions` regions.
    async fn wait(regions: usize, usual: Value, waited: u32) -> Value {
        let cloud = FakeCloud::default();
        let copy = "<item><snapshotId>snap-2</snapshotId><status>pending</status></item>";
        let place = (AWAY.to_owned(), "DescribeSnapshots".to_owned());
        cloud.world().ec2.insert(place, format!("<snapshotSet>{copy}</snapshotSet>"));
        let mut build = build_document();
        build["regions"] = vec![json!({"region": AWAY}); regions].into();
        build["usualSeconds"] = usual;
        let payload = json!({
            "build": build, "snapshotId": "snap-1", "region": {"region": AWAY},
            "waitedSeconds": waited,
        });
        let input = serde_json::from_value(payload).unwrap();
        let report = handle(&context(&cloud, 0), input).await.unwrap();
        shown(&report)["waitSeconds"].clone()
    }

    #[tokio::test]
    async fn a_copy_is_polled_by_its_usual_time_and_less_often_with_many_regions() {
        assert_eq!(wait(2, json!({}), 1000).await, 50);
        assert_eq!(wait(2, json!({"replicate": 1000}), 1000).await, 25);
        assert_eq!(wait(30, json!({}), 1000).await, 240);
    }
}
