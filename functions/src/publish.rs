//! `publish`: writes the replica of each region to the parameters of every account there, after
//! checking that it may be published (S1). A failed write is undone at once, or by `clean_up` if
//! this function dies half-way.

use frontload_shared::aws::clients::{Clients, Place, at_once};
use frontload_shared::aws::events::put_published;
use frontload_shared::aws::leases::LeaseKey;
use frontload_shared::aws::replicas::{disable_fast_restore, fast_restores, shared_with};
use frontload_shared::aws::snapshots::{
    Snapshot, SnapshotId, State, find_cache_snapshots, find_snapshot, mark_published,
};
use frontload_shared::aws::tags;
use frontload_shared::builder::report::{PulledImages, check_pulled};
use frontload_shared::domain::manifest::Replica;
use frontload_shared::domain::{
    AccountId, Architecture, Build, CacheName, Manifest, ParameterNames, PhaseEnds, RegionName,
    RegionSettings,
};
use frontload_shared::publication::{self, targets};
use frontload_shared::step::{Report, Waited};
use frontload_shared::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::settings::Settings;
use crate::warnings::sentences;

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

/// Facts for a person who reads the execution.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Publications {
    /// One for each region and account.
    pub publications: Vec<Publication>,
    /// One sentence per failure after the publication.
    pub warnings: Vec<String>,
}

/// What one account reads in one region.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Publication {
    account: AccountId,
    region: RegionName,
    parameter: String,
    snapshot_id: SnapshotId,
    encrypted: bool,
}

/// Publishes. A repeated call changes nothing but may send the events again.
pub async fn handle(
    clients: &Clients,
    settings: &Settings,
    input: Input,
) -> Result<Report<Publications>> {
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
    let told = tell(clients, settings, &names, &manifests).await;
    let failed: Vec<Error> = marked.err().into_iter().chain(told).collect();
    Ok(finished(list(settings, &names, &manifests), &failed, input.waited_seconds))
}

/// Seconds between retries of what failed after a publication, and the limit of the retries.
const AGAIN_SECONDS: u32 = 60;
const AGAIN_LIMIT_SECONDS: u32 = 300;

/// The report after a publication. Nodes already read it, so the errors in `failed` undo nothing. A
/// retryable error is retried up to the limit, then reported as a warning like the others.
pub fn finished(
    publications: Vec<Publication>,
    failed: &[Error],
    waited: Waited,
) -> Report<Publications> {
    match failed.iter().find(|error| error.retryable()) {
        Some(error) if !waited.is_past(AGAIN_LIMIT_SECONDS) => {
            Report::wait(AGAIN_SECONDS, format!("it is published, but {error}"))
        }
        _ => Report::Ready(Publications { publications, warnings: sentences(failed) }),
    }
}

/// The actions after any publication: sends the events and disables superseded fast restores.
/// Returns the errors; no error stops the other actions.
pub async fn tell(
    clients: &Clients,
    settings: &Settings,
    names: &ParameterNames,
    manifests: &[Manifest],
) -> Vec<Error> {
    let told = announce(clients, settings, names, manifests).await;
    let ended = at_once(manifests, |manifest| end_fast_restore(clients, settings, manifest)).await;
    told.into_iter().chain(ended).filter_map(Result::err).collect()
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
    let standing = leases.read(&LeaseKey::new(&build.cache, build.architecture)).await?;
    if standing.is_held_by(&build.id) && standing.token == token {
        return Ok(());
    }
    let holder = standing.holder.map_or("nobody".to_owned(), |holder| holder.execution);
    let reason = format!("its lease with token {token} is held by {holder} now");
    Err(Error::LeaseLost { build: build.id.clone(), reason })
}

/// Every region and account of a publication.
pub fn list(
    settings: &Settings,
    names: &ParameterNames,
    manifests: &[Manifest],
) -> Vec<Publication> {
    let one = |manifest: &Manifest, account: &AccountId| Publication {
        account: account.clone(),
        region: manifest.region.clone(),
        parameter: names.snapshot_id.clone(),
        snapshot_id: manifest.snapshot_id.clone(),
        encrypted: manifest.encrypted,
    };
    let of_region = |manifest: &Manifest| {
        let consumers = manifest.consumers.iter().map(|consumer| &consumer.account);
        let accounts = std::iter::once(&settings.home.account).chain(consumers);
        accounts.map(|account| one(manifest, account)).collect::<Vec<_>>()
    };
    manifests.iter().flat_map(of_region).collect()
}

/// A bus that gets the event for one region's publication.
struct Listener<'a> {
    manifest: &'a Manifest,
    place: Place,
    bus: &'a str,
    /// The account whose parameters changed.
    account: &'a AccountId,
}

/// Sends each region's publication event to our bus and to the consumers' buses there.
async fn announce(
    clients: &Clients,
    settings: &Settings,
    names: &ParameterNames,
    manifests: &[Manifest],
) -> Vec<Result<()>> {
    let listeners: Vec<_> =
        manifests.iter().flat_map(|manifest| listeners(settings, manifest)).collect();
    at_once(&listeners, async |listener| {
        let Listener { manifest, place, bus, account } = listener;
        put_published(&clients.events(place).await?, bus, account, names, manifest).await
    })
    .await
}

fn listeners<'a>(settings: &'a Settings, manifest: &'a Manifest) -> Vec<Listener<'a>> {
    let own = Listener {
        manifest,
        place: Place::own(&settings.home.region),
        bus: &settings.event_bus,
        account: &settings.home.account,
    };
    let consumers = manifest.consumers.iter().map(|consumer| Listener {
        manifest,
        place: Place::of(consumer, &manifest.region),
        bus: consumer.event_bus.as_str(),
        account: &consumer.account,
    });
    std::iter::once(own).chain(consumers).collect()
}

/// S1: every region of the build has a replica that is completed, belongs to the build, is shared
/// with every consumer, and has fast restore where requested.
async fn check_replicas(clients: &Clients, build: &Build, replicas: &[Replica]) -> Result<()> {
    let regions = |of: Vec<&RegionName>| of.iter().map(ToString::to_string).collect::<Vec<_>>();
    let asked = regions(build.regions.iter().map(|settings| &settings.region).collect());
    let got = regions(replicas.iter().map(|replica| &replica.region).collect());
    if asked != got {
        let reason = format!("replicas are in {}, asked were {}", got.join(", "), asked.join(", "));
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
            return Err(refuse(format!("{id} is not fast in {zone}")));
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

/// Disables fast restore of all but the published snapshot: AWS bills it by the hour.
pub async fn end_fast_restore(
    clients: &Clients,
    settings: &Settings,
    manifest: &Manifest,
) -> Result<()> {
    let ec2 = clients.own_ec2(&manifest.region);
    let mut restores = fast_restores(&ec2, None).await?;
    if restores.is_empty() {
        return Ok(());
    }
    let superseded =
        superseded(&ec2, settings, &manifest.cache, manifest.architecture, &manifest.snapshot_id)
            .await?;
    restores.retain(|restore| superseded.contains(&restore.snapshot));
    disable_fast_restore(&ec2, &restores).await
}

async fn superseded(
    ec2: &aws_sdk_ec2::Client,
    settings: &Settings,
    cache: &CacheName,
    architecture: Architecture,
    published: &SnapshotId,
) -> Result<Vec<SnapshotId>> {
    let all = find_cache_snapshots(ec2, &settings.stack, cache).await?;
    let ours = all.into_iter().filter(|snapshot| {
        snapshot.tag(tags::ARCHITECTURE) == Some(architecture.as_str()) && snapshot.id != *published
    });
    Ok(ours.map(|snapshot| snapshot.id).collect())
}

#[cfg(test)]
mod tests {
    use frontload_shared::aws::leases::{Applicant, Taking};
    use frontload_shared::error::AwsCall;
    use frontload_shared::testing::FakeCloud;

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
        result.err().map_or_else(String::new, |error| error.to_string())
    }

    #[tokio::test]
    async fn only_the_holder_of_the_lease_publishes_and_only_under_its_token() {
        let cloud = FakeCloud::default();
        assert!(checked(&cloud, 0).await.contains("is held by nobody now"));
        let leases = cloud.clients().leases(&settings().home.region, "leases");
        let key = LeaseKey::new(&build().cache, build().architecture);
        let take = async |id: &str, over| {
            let owner = Applicant { build: id.parse().unwrap(), execution: format!("arn:{id}") };
            leases.take(&key, &owner, Taking::AsAnybody, over, 0).await.unwrap().unwrap();
        };
        take(build().id.as_str(), None).await;
        assert_eq!(checked(&cloud, 1).await, "");
        take("other", Some(1)).await;
        let refusal = checked(&cloud, 1).await;
        assert!(refusal.contains("token 1 is held by arn:other now"), "{refusal}");
        take(build().id.as_str(), Some(2)).await;
        assert!(checked(&cloud, 1).await.contains("token 1"), "its own later lease");
    }

    fn failed(error: fn(AwsCall) -> Error) -> Error {
        let (operation, reason) = ("events:PutEvents", "no".to_owned());
        error(AwsCall { operation, resource: "bus b".into(), region: "r".into(), reason })
    }

    #[test]
    fn what_fails_after_a_publication_is_tried_again_for_a_while_and_then_told() {
        let waits = |failed: Vec<Error>, waited| match finished(Vec::new(), &failed, Waited(waited))
        {
            Report::Waiting { wait_seconds, .. } => Err(wait_seconds),
            Report::Ready(done) => Ok(done.warnings.len()),
        };
        let limit = u64::from(AGAIN_LIMIT_SECONDS);
        assert_eq!(waits(Vec::new(), 0), Ok(0));
        assert_eq!(waits(vec![failed(Error::AwsDenied)], 0), Ok(1));
        let both = || vec![failed(Error::AwsDenied), failed(Error::AwsUnavailable)];
        assert_eq!(waits(both(), limit - 1), Err(AGAIN_SECONDS));
        assert_eq!(waits(both(), limit), Ok(2));
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
