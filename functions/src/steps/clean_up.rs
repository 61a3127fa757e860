//! `clean_up`: removes everything of a build except what it published. It runs at the end of every
//! build, however the build ended. It decides by what it finds in AWS, not by what earlier steps
//! reported.

use crate::publication::{self, places};
use frontload_aws::clients::Clients;
use frontload_aws::instances::{State, find_builders, terminate_builder};
use frontload_aws::snapshots::{
    delete_snapshot, delete_volume, find_leftover_volumes, find_snapshots,
};
use frontload_aws::tagging::Owner;
use frontload_domain::lease::LeaseKey;
use frontload_domain::step::{Report, Waited};
use frontload_domain::{Build, BuildRequest, ParameterNames, RegionSettings};
use frontload_domain::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::settings::Settings;

/// Payload of the function.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    request: BuildRequest,
    /// Absent if the execution ended before the build was decided. Nothing was created then.
    build: Option<Build>,
    /// Whether a step failed.
    #[serde(default)]
    failed: bool,
    waited_seconds: Waited,
}

/// What the last call removed.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Cleaned {
    released: Vec<String>,
}

/// Seconds that EC2 may take to terminate an instance.
const LIMIT_SECONDS: u32 = 600;

/// Removes what is left, builder first.
pub async fn handle(context: &Context, input: Input) -> Result<Report<Cleaned>> {
    let Context { clients, settings, .. } = context;
    let mut released = Vec::new();
    if let Some(build) = &input.build {
        match remove(clients, settings, build, input.waited_seconds).await? {
            Report::Ready(removed) => released.extend(removed),
            Report::Waiting { wait_seconds, progress } => {
                return Ok(Report::wait(wait_seconds, progress));
            }
        }
    }
    let BuildRequest { id, cache, architecture, .. } = &input.request;
    let leases = clients.leases(&settings.home.region, &settings.lease_table);
    // A build that failed on its ancestor may have failed because of it.
    let next_in_full = input.failed && input.build.is_some_and(|build| build.ancestor.is_some());
    if leases.release(&LeaseKey::new(cache, *architecture), id, next_in_full).await? {
        released.push(format!("the lease of {cache} for {architecture}"));
    }
    Ok(Report::Ready(Cleaned { released }))
}

/// Removes what a build created. Ready, with the removed ids, once its builder is gone, too.
async fn remove(
    clients: &Clients,
    settings: &Settings,
    build: &Build,
    waited: Waited,
) -> Result<Report<Vec<String>>> {
    let owner = Owner { stack: &settings.stack, build: &build.id };
    let ec2 = clients.own_ec2(&build.region);
    if let Some(progress) = end_builders(&ec2, owner).await? {
        if waited.is_past(LIMIT_SECONDS) {
            let (build, seconds) = (build.id.clone(), waited.0);
            return Err(Error::CleanUpTimedOut { build, seconds, progress });
        }
        return Ok(Report::wait(waited.next_wait(None), progress));
    }
    let mut removed = remove_unpublished(clients, owner, build, settings).await?;
    for volume in find_leftover_volumes(&ec2, owner).await? {
        delete_volume(&ec2, &volume.id).await?;
        removed.push(volume.id);
    }
    Ok(Report::Ready(removed))
}

/// Terminates builders. Returns the progress, or `None` once all are gone.
pub async fn end_builders(ec2: &aws_sdk_ec2::Client, owner: Owner<'_>) -> Result<Option<String>> {
    let mut progress = None;
    for builder in find_builders(ec2, owner).await? {
        match builder.state {
            State::Terminated => {}
            State::Pending | State::Running | State::Ending => {
                terminate_builder(ec2, &builder.id).await?;
                progress = Some(format!("builder {} is terminating", builder.id));
            }
        }
    }
    Ok(progress)
}

/// Deletes the build's snapshots and replicas except those that a parameter names. A rollback
/// returns to a snapshot that another build superseded (S3).
async fn remove_unpublished(
    clients: &Clients,
    owner: Owner<'_>,
    build: &Build,
    settings: &Settings,
) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for RegionSettings { region, .. } in &build.regions {
        let ec2 = clients.own_ec2(region);
        for snapshot in find_snapshots(&ec2, owner).await? {
            found.push((ec2.clone(), snapshot.id));
        }
        // The home region is the first. Without a snapshot there, no replica exists, and a region
        // that preflight refused must not be called.
        if found.is_empty() {
            return Ok(Vec::new());
        }
    }
    let regions: Vec<_> = build.regions.iter().map(|settings| settings.region.clone()).collect();
    let places = places(&regions, &build.consumers);
    // A build without the lease may be one publication behind. A half-done publication that it sees
    // may belong to the next build, which is still publishing.
    let names = ParameterNames::new(&settings.prefix, &build.cache, build.architecture);
    let leases = clients.leases(&settings.home.region, &settings.lease_table);
    let state = leases.read(&LeaseKey::new(&build.cache, build.architecture)).await?;
    if state.is_held_by(&build.id) {
        let ids: Vec<String> = found.iter().map(|(_, id)| id.to_string()).collect();
        publication::finish_or_undo(clients, &names, &build.id, &places, &ids).await?;
    }
    let kept = publication::named_snapshots(clients, &names, &places).await?;
    let mut removed = Vec::new();
    // Delete the home region's snapshot last: a repeated call looks for replicas only while it
    // exists.
    for (ec2, id) in found.into_iter().rev() {
        if !kept.contains(id.as_str()) {
            delete_snapshot(&ec2, &id).await?;
            removed.push(id.to_string());
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use frontload_aws::leases::Leases;
    use frontload_aws::parameters;
    use frontload_aws::testing::FakeCloud;
    use frontload_domain::Architecture;
    use frontload_domain::lease::{Acquire, Contender};
    use serde_json::json;

    use super::*;
    use crate::testing::{build_document, context, input, request, shown};

    const HOME: &str = "us-east-1";
    const AWAY: &str = "eu-west-1";

    /// A builder in `state`, and the build's snapshots snap-1 at home, snap-2 away.
    fn cloud(state: &str, snapshots: bool) -> FakeCloud {
        let cloud = FakeCloud::default();
        let mut world = cloud.world();
        let mut answer = |region: &str, action: &str, inside: String| {
            world.ec2.insert((region.to_owned(), action.to_owned()), inside);
        };
        answer(
            HOME,
            "DescribeInstances",
            format!(
                "<reservationSet><item><instancesSet><item><instanceId>i-1</instanceId>\
                 <instanceState><name>{state}</name></instanceState></item></instancesSet></item>\
                 </reservationSet>"
            ),
        );
        for (region, id) in [(HOME, "snap-1"), (AWAY, "snap-2")].iter().filter(|_| snapshots) {
            let item = format!("<item><snapshotId>{id}</snapshotId></item>");
            answer(region, "DescribeSnapshots", format!("<snapshotSet>{item}</snapshotSet>"));
        }
        drop(world);
        cloud
    }

    async fn report(cloud: &FakeCloud, waited: u32) -> String {
        let mut build = build_document();
        build["regions"] = json!([{"region": HOME}, {"region": AWAY}]);
        let listing = format!("sha256:{}", "a".repeat(64));
        build["ancestor"] = json!({"snapshotId": "snap-0", "listing": listing, "links": 1});
        let input = input(&json!({
            "request": request(), "build": build, "failed": true, "waitedSeconds": waited,
        }));
        match handle(&context(cloud, 0), input).await {
            Ok(Report::Waiting { progress, .. }) => progress,
            Ok(ready) => shown(&ready)["released"].to_string(),
            Err(error) => error.name().to_owned(),
        }
    }

    fn leases(cloud: &FakeCloud) -> (Leases, LeaseKey) {
        let leases = cloud.clients().leases(&HOME.parse().unwrap(), "leases");
        (leases, LeaseKey::new(&"default".parse().unwrap(), Architecture::X86_64))
    }

    async fn take_lease(cloud: &FakeCloud, build: &str) {
        let (leases, key) = leases(cloud);
        let owner = Contender { build: build.parse().unwrap(), execution: "arn".to_owned() };
        leases.take(&key, &owner, Acquire::AsAnybody, None, 0).await.unwrap().unwrap();
    }

    async fn holder(cloud: &FakeCloud) -> Option<String> {
        let (leases, key) = leases(cloud);
        Some(leases.read(&key).await.unwrap().holder?.build.to_string())
    }

    #[tokio::test]
    async fn the_builder_is_terminated_first_and_awaited() {
        let running = cloud("running", true);
        assert_eq!(report(&running, 0).await, "builder i-1 is terminating");
        assert!(!running.world().ec2_calls.iter().any(|call| call.contains("DeleteSnapshot")));
        assert_eq!(report(&cloud("shutting-down", true), 600).await, "CleanUpTimedOut");
    }

    #[tokio::test]
    async fn an_unpublished_build_leaves_no_snapshot_in_any_region_and_no_lease() {
        let cloud = cloud("terminated", true);
        take_lease(&cloud, "default-x86-64-0123456789ab").await;
        let released = report(&cloud, 0).await;
        assert_eq!(released, r#"["snap-2","snap-1","the lease of default for x86_64"]"#);
        assert_eq!(holder(&cloud).await, None);
        let full = cloud.world().items["default/x86_64"]["inFull"].clone();
        assert_eq!(full, json!({"BOOL": true}), "it may have failed because of its ancestor");
    }

    /// The first call's answer was lost. Meanwhile the next build has published, or is publishing.
    #[tokio::test]
    async fn a_late_repetition_keeps_the_current_and_previous_publication() {
        let cloud = cloud("terminated", true);
        let name = "/frontload/default/x86_64/snapshot-id";
        for (region, id, next) in [(HOME, "snap-1", "snap-8"), (AWAY, "snap-2", "snap-9")] {
            let ssm = cloud.clients().own_ssm(&region.parse().unwrap());
            let version = parameters::put(&ssm, name, id).await.unwrap();
            parameters::label(&ssm, name, version, parameters::PREVIOUS).await.unwrap();
            if region == HOME {
                parameters::put(&ssm, name, next).await.unwrap();
            }
        }
        assert_eq!(report(&cloud, 0).await, "[]");
        let values = cloud.world().newest();
        assert_eq!(values["123456789012 us-east-1 snapshot-id"], "snap-8");
        assert_eq!(values["123456789012 eu-west-1 snapshot-id"], "snap-2");
    }

    #[tokio::test]
    async fn without_a_home_snapshot_no_other_region_is_queried() {
        let cloud = cloud("terminated", false);
        assert_eq!(report(&cloud, 0).await, "[]");
        assert!(!cloud.world().ec2_calls.iter().any(|call| call.starts_with(AWAY)));
    }

    #[tokio::test]
    async fn an_undecided_build_releases_its_lease() {
        let cloud = FakeCloud::default();
        take_lease(&cloud, "default-x86-64-0123456789ab").await;
        let input = input(&json!({"request": request(), "build": null}));
        handle(&context(&cloud, 0), input).await.unwrap();
        assert_eq!(holder(&cloud).await, None);
        assert_eq!(cloud.world().ec2_calls, [""; 0]);
    }

    #[tokio::test]
    async fn another_builds_lease_stays() {
        let cloud = cloud("terminated", false);
        take_lease(&cloud, "other").await;
        assert_eq!(report(&cloud, 0).await, "[]");
        assert_eq!(holder(&cloud).await.as_deref(), Some("other"));
    }
}
