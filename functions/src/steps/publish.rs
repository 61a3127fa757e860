//! `publish`: writes the replica of each region to the parameters of every account there, after
//! checking that it may be published (S1). A failed write is undone at once, or by `clean_up` if
//! this function dies half-way.

use crate::publication::{self, targets};
use frontload_aws::clients::{Clients, at_once};
use frontload_aws::replicas::{fast_restores, shared_with};
use frontload_aws::snapshots::{find_snapshot, mark_published};
use frontload_domain::lease::LeaseKey;
use frontload_domain::manifest::Replica;
use frontload_domain::pulled::{PulledImages, check_pulled};
use frontload_domain::snapshot::{Snapshot, State};
use frontload_domain::step::{Report, Waited};
use frontload_domain::tags;
use frontload_domain::{
    AccountId, Build, Manifest, ParameterNames, PhaseEnds, RegionName, RegionSettings,
};
use frontload_domain::{Error, Result};
use serde::Deserialize;

use crate::context::Context;
use crate::publication::after::{Publications, finished, follow_up, list};
use crate::settings::Settings;

/// Payload of the function.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    build: Build,
    /// Fencing token of the lease that the build took.
    token: u64,
    pulled: PulledImages,
    replicas: Vec<Replica>,
    waited_seconds: Waited,
    /// Absent in an execution that began before phases were measured.
    #[serde(default)]
    phase_ends: Option<PhaseEnds>,
}

/// Publishes. A repeated call changes nothing but may send the events again.
pub async fn handle(context: &Context, input: Input) -> Result<Report<Publications>> {
    let Context { clients, settings, .. } = context;
    let build = &input.build;
    let pulled = check_pulled(build, input.pulled)?;
    check_lease(clients, settings, build, input.token).await?;
    check_replicas(clients, build, &input.replicas).await?;
    let mut manifests = Manifest::of_replicas(build, input.token, &pulled, &input.replicas);
    for manifest in &mut manifests {
        manifest.durations = input.phase_ends.map(Into::into);
    }
    let names = ParameterNames::new(&settings.prefix, &build.cache, build.architecture);
    publication::publish(clients, &names, &build.id, input.token, &targets(&manifests)).await?;
    let marked = mark(clients, build, &input.replicas).await;
    let followed_up = follow_up(clients, settings, &names, &manifests).await;
    let failed: Vec<Error> = marked.err().into_iter().chain(followed_up).collect();
    Ok(finished(list(settings, &names, &manifests), &failed, input.waited_seconds))
}

/// Tags the home region's snapshot as published, so that the reaper never checks it again.
async fn mark(clients: &Clients, build: &Build, replicas: &[Replica]) -> Result<()> {
    let ec2 = clients.own_ec2(&build.region);
    for replica in replicas.iter().filter(|replica| replica.region == build.region) {
        mark_published(&ec2, &replica.snapshot_id).await?;
    }
    Ok(())
}

/// Checks that the build still holds its lease. If its execution was over for a while, another may
/// have taken the lease and publishes something newer (S8).
async fn check_lease(
    clients: &Clients,
    settings: &Settings,
    build: &Build,
    token: u64,
) -> Result<()> {
    let leases = clients.leases(&settings.home.region, &settings.lease_table);
    let state = leases.read(&LeaseKey::new(&build.cache, build.architecture)).await?;
    if state.is_held_by(&build.id) && state.token == token {
        return Ok(());
    }
    let holder = state.holder.map_or("nobody".to_owned(), |holder| holder.execution);
    let reason = format!("its lease with token {token} is now held by {holder}");
    Err(Error::LeaseLost { build: build.id.clone(), reason })
}

/// S1: every region of the build has a replica that is completed, belongs to the build, is shared
/// with every consumer, and has fast restore where requested.
async fn check_replicas(clients: &Clients, build: &Build, replicas: &[Replica]) -> Result<()> {
    let regions = |of: Vec<&RegionName>| of.iter().map(ToString::to_string).collect::<Vec<_>>();
    let asked = regions(build.regions.iter().map(|settings| &settings.region).collect());
    let got = regions(replicas.iter().map(|replica| &replica.region).collect());
    if asked != got {
        let reason = format!("replicas are in {}, not in {}", got.join(", "), asked.join(", "));
        return Err(Error::PublishRefused { build: build.id.clone(), reason });
    }
    let pairs: Vec<_> = replicas.iter().zip(&build.regions).collect();
    let checked =
        at_once(&pairs, |(replica, settings)| check_replica(clients, build, replica, settings));
    checked.await.into_iter().collect()
}

async fn check_replica(
    clients: &Clients,
    build: &Build,
    replica: &Replica,
    settings: &RegionSettings,
) -> Result<()> {
    let refuse = |reason: String| Error::PublishRefused { build: build.id.clone(), reason };
    let (id, place) = (&replica.snapshot_id, format!("in {}", replica.region));
    let ec2 = clients.own_ec2(&replica.region);
    let snapshot = find_snapshot(&ec2, id).await?;
    check_publishable(build, snapshot.as_ref())
        .map_err(|reason| refuse(format!("{reason} {place}")))?;
    if !build.consumers.is_empty() {
        let shared = shared_with(&ec2, id).await?;
        let lacks = |account: &AccountId| !shared.iter().any(|known| known == account.as_str());
        if let Some(consumer) = build.consumers.iter().find(|c| lacks(&c.account)) {
            return Err(refuse(format!("{id} {place} is not shared with {}", consumer.account)));
        }
    }
    if !settings.fsr_zones.is_empty() {
        let fast = fast_restores(&ec2, Some(id)).await?;
        let is_fast = |zone: &str| fast.iter().any(|f| f.enabled && f.zone == zone);
        if let Some(zone) = settings.fsr_zones.iter().find(|zone| !is_fast(zone.as_str())) {
            return Err(refuse(format!("{id} has no fast restore in {zone}")));
        }
    }
    Ok(())
}

/// S1 for one snapshot: it exists, is completed, and belongs to this build.
fn check_publishable(
    build: &Build,
    snapshot: Option<&Snapshot>,
) -> std::result::Result<(), String> {
    let Some(snapshot) = snapshot else { return Err("its snapshot is gone".to_owned()) };
    if snapshot.tag(tags::BUILD) != Some(build.id.as_str()) {
        return Err(format!("snapshot {} carries the tags of another build", snapshot.id));
    }
    match &snapshot.state {
        State::Completed => Ok(()),
        State::Pending(progress) => Err(format!("snapshot {} is only at {progress}", snapshot.id)),
        State::Error(reason) => Err(format!("snapshot {} is in error: {reason}", snapshot.id)),
    }
}

#[cfg(test)]
mod tests {
    use frontload_aws::testing::FakeCloud;
    use frontload_domain::lease::{Acquire, Contender};

    use super::*;
    use crate::testing::{build, settings};

    fn snapshot(state: State, build: &str) -> Snapshot {
        Snapshot {
            full_bytes: None,
            id: "snap-1".parse().unwrap(),
            state,
            started: 0,
            encrypted: false,
            kms_key_id: None,
            tags: [(tags::BUILD.to_owned(), build.to_owned())].into(),
        }
    }

    async fn checked(cloud: &FakeCloud, token: u64) -> String {
        let result = check_lease(&cloud.clients(), &settings(), &build(), token).await;
        result.err().map_or_else(String::new, |error| error.chain())
    }

    #[tokio::test]
    async fn only_the_holder_of_the_lease_publishes_and_only_under_its_token() {
        let cloud = FakeCloud::default();
        assert!(checked(&cloud, 0).await.contains("is now held by nobody"));
        let leases = cloud.clients().leases(&settings().home.region, "leases");
        let key = LeaseKey::new(&build().cache, build().architecture);
        let take = async |id: &str, over| {
            let owner = Contender { build: id.parse().unwrap(), execution: format!("arn:{id}") };
            leases.take(&key, &owner, Acquire::AsAnybody, over, 0).await.unwrap().unwrap();
        };
        take(build().id.as_str(), None).await;
        assert_eq!(checked(&cloud, 1).await, "");
        take("other", Some(1)).await;
        let refusal = checked(&cloud, 1).await;
        assert!(refusal.contains("token 1 is now held by arn:other"), "{refusal}");
        take(build().id.as_str(), Some(2)).await;
        assert!(checked(&cloud, 1).await.contains("token 1"), "its own later lease");
    }

    #[test]
    fn only_a_completed_snapshot_of_the_build_is_published() {
        let own = build().id.to_string();
        assert_eq!(check_publishable(&build(), Some(&snapshot(State::Completed, &own))), Ok(()));
        for (snapshot, reason) in [
            (None, "its snapshot is gone"),
            (Some(snapshot(State::Completed, "other")), "tags of another build"),
            (Some(snapshot(State::Pending("99%".to_owned()), &own)), "only at 99%"),
            (Some(snapshot(State::Error("x".to_owned()), &own)), "in error: x"),
        ] {
            let refusal = check_publishable(&build(), snapshot.as_ref()).unwrap_err();
            assert!(refusal.contains(reason), "{refusal}");
        }
    }
}
