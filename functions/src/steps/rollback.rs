//! `rollback`: returns a publication to its previous manifest in every region and account. A second
//! rollback goes forward again. It deletes nothing.

use crate::publication::{self, Target, places};
use frontload_aws::clients::{Clients, at_once};
use frontload_aws::parameters::{self, CURRENT, PREVIOUS, Parameter};
use frontload_aws::replicas::{ensure_fast_restore, shared_with};
use frontload_aws::snapshots::find_snapshot;
use frontload_domain::Place;
use frontload_domain::lease::{Acquire, Contender, LeaseKey};
use frontload_domain::snapshot::State;
use frontload_domain::step::{Report, Waited};
use frontload_domain::{Architecture, BuildId, CacheName, Manifest, ParameterNames};
use frontload_domain::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::lease::{Attempt, LeaseReport, try_acquire};
use crate::publication::after::{Publications, end_fast_restore, finished, follow_up, list};
use crate::settings::Settings;
use frontload_domain::lease::RetryLater;

/// Payload of the function.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    rollback: RollbackRequest,
    execution_id: String,
    waited_seconds: Waited,
    /// The `seenToken` that the last call returned.
    #[serde(default)]
    seen_token: Option<u64>,
}

/// What a person asks for.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RollbackRequest {
    cache: CacheName,
    architecture: Architecture,
}

/// Seconds to wait for a running build, and then for fast restore. EBS needs an hour for a TiB (EBS
/// user guide, "Fast snapshot restore").
const LIMIT_SECONDS: u32 = 7200;

/// Seconds until the next call continues a publication that failed with a retryable error.
const AGAIN_SECONDS: u32 = 30;

/// Takes the lease, so that no build publishes meanwhile, and rolls back. `now` is in epoch
/// seconds.
pub async fn handle(context: &Context, input: Input) -> Result<LeaseReport<Publications>> {
    let &Context { ref clients, ref settings, now, .. } = context;
    let RollbackRequest { cache, architecture } = &input.rollback;
    let home = &settings.home.region;
    let names = ParameterNames::new(&settings.prefix, cache, *architecture);
    let id = BuildId::derive(cache, *architecture, &input.execution_id);
    let leases = clients.leases(home, &settings.lease_table);
    let key = LeaseKey::new(cache, *architecture);
    let me = Contender { build: id.clone(), execution: input.execution_id };
    let is_past = input.waited_seconds.is_past(LIMIT_SECONDS);
    let seconds = input.waited_seconds.0;
    let state = leases.read(&key).await?;
    let (sfn, ours) = (clients.own_sfn(home), (&key, &me));
    let acquire = Acquire::AsAnybody;
    let turn = try_acquire(&leases, &sfn, ours, acquire, state, input.seen_token, now).await?;
    let token = match turn {
        Attempt::Acquired(state) => state.token,
        Attempt::RetryLater(RetryLater { holder, .. }) if is_past => {
            return Err(Error::BuildInProgress { build: id, holder, seconds });
        }
        Attempt::RetryLater(later) => return Ok(later.into()),
    };
    let request = &input.rollback;
    let waited = input.waited_seconds;
    let rollback = Rollback { clients, settings, request, names: &names, id: &id, token, waited };
    let result = match rollback.go_back().await {
        Ok(Report::Waiting { progress, .. }) if is_past => {
            Err(rollback.give_up(seconds, progress).await)
        }
        other => other,
    };
    // A call that will be repeated keeps the lease. If the release fails, another contender takes
    // the lease over when this execution is over.
    let is_over = match &result {
        Ok(report) => matches!(report, Report::Ready(_)),
        // Under this lease the reaper restores the rest.
        Err(Error::PublishFailed { left, .. }) => left.is_empty(),
        Err(error) => !error.retryable(),
    };
    if is_over && let Err(error) = leases.release(&key, &id, false).await {
        tracing::warn!(build = %id, cause = error.chain(), "the lease was not released");
    }
    result.map(Into::into)
}

struct Rollback<'a> {
    clients: &'a Clients,
    settings: &'a Settings,
    request: &'a RollbackRequest,
    names: &'a ParameterNames,
    /// Marks the manifests that this execution publishes. The mark distinguishes a call repeated
    /// after a lost answer from a second rollback, which would go forward again.
    id: &'a BuildId,
    token: u64,
    waited: Waited,
}

impl Rollback<'_> {
    fn refuse(&self, reason: String) -> Error {
        Error::NothingToRollBack {
            cache: self.request.cache.to_string(),
            architecture: self.request.architecture.to_string(),
            reason,
        }
    }

    async fn go_back(&self) -> Result<Report<Publications>> {
        let goals = self.find_goals().await?;
        for (place, manifest) in &goals {
            let reason = check_usable(self.clients, place, manifest).await?;
            reason.map_or(Ok(()), |reason| Err(self.refuse(reason)))?;
        }
        let own = goals.iter().filter(|(place, _)| place.consumer.is_none());
        let own: Vec<Manifest> = own.map(|(_, manifest)| manifest.clone()).collect();
        for manifest in &own {
            let ec2 = self.clients.own_ec2(&manifest.region);
            let (id, zones) = (&manifest.snapshot_id, &manifest.fsr_zones);
            if let Some(progress) = ensure_fast_restore(&ec2, id, zones).await? {
                return Ok(Report::wait(30, progress));
            }
        }
        let target = |(place, manifest): (Place, Manifest)| Target {
            place,
            manifest: manifest.text(),
            snapshot_id: manifest.snapshot_id.to_string(),
        };
        let targets: Vec<Target> = goals.into_iter().map(target).collect();
        let published =
            publication::publish(self.clients, self.names, self.id, self.token, &targets).await;
        match published {
            // Some places may be rolled back already. Only the next call continues the others.
            Err(error) if error.retryable() && !self.waited.is_past(LIMIT_SECONDS) => {
                return Ok(Report::wait(AGAIN_SECONDS, error.chain()));
            }
            published => published?,
        }
        let failed = follow_up(self.clients, self.settings, self.names, &own).await;
        Ok(finished(list(self.settings, self.names, &own), &failed, self.waited))
    }

    /// The manifest that each place returns to. All belong to one build: the home region's previous
    /// one, or the one that an earlier call of this execution began with.
    async fn find_goals(&self) -> Result<Vec<(Place, Manifest)>> {
        let home = Place::own(&self.settings.home.region);
        let [newest, previous, _] = self.read_manifests(&home).await?;
        let Some(newest) = newest else {
            return Err(self.refuse("nothing is published".to_owned()));
        };
        let goal = if newest.rollback.as_ref() == Some(self.id) {
            newest.build
        } else {
            let region = &home.region;
            let lacks = || format!("Frontload's account has no previous value in {region}");
            previous.ok_or_else(|| self.refuse(lacks()))?.build
        };
        let replicas = &newest.replicas;
        let regions: Vec<_> = replicas.iter().map(|replica| replica.region.clone()).collect();
        let places = places(&regions, &newest.consumers);
        let known = at_once(&places, |place| self.read_manifests(place)).await;
        let mut goals = Vec::new();
        for (place, known) in places.into_iter().zip(known) {
            let found = known?.into_iter().flatten().find(|manifest| manifest.build == goal);
            let Some(mut manifest) = found else {
                let (account, region) = (place.account_shown(), &place.region);
                return Err(self.refuse(format!(
                    "{account} has no parameter version of build {goal} in {region}"
                )));
            };
            // Publish an earlier call's manifest unchanged: a changed one would be a new version.
            if manifest.rollback.as_ref() != Some(self.id) {
                manifest.rollback = Some(self.id.clone());
                manifest.token = self.token;
                manifest.consumers.clone_from(&newest.consumers);
                manifest.replicas.retain(|replica| regions.contains(&replica.region));
            }
            goals.push((place, manifest));
        }
        Ok(goals)
    }

    /// A place's newest, previous and current manifest.
    async fn read_manifests(&self, place: &Place) -> Result<[Option<Manifest>; 3]> {
        let ssm = self.clients.ssm(place).await?;
        let name = &self.names.manifest;
        let read = |of: Option<Parameter>| serde_json::from_str(&of?.value).ok();
        Ok([
            read(parameters::get(&ssm, name).await?),
            read(parameters::get_labelled(&ssm, name, PREVIOUS).await?),
            read(parameters::get_labelled(&ssm, name, CURRENT).await?),
        ])
    }

    /// Disables the fast restores that were begun, because AWS bills them. Returns the timeout
    /// error, or that of a failed call.
    async fn give_up(&self, seconds: u64, progress: String) -> Error {
        let ended = async {
            let home = Place::own(&self.settings.home.region);
            let [newest, ..] = self.read_manifests(&home).await?;
            for replica in newest.iter().flat_map(|manifest| &manifest.replicas) {
                let [now, ..] = self.read_manifests(&Place::own(&replica.region)).await?;
                if let Some(now) = now {
                    end_fast_restore(self.clients, self.settings, &now).await?;
                }
            }
            Ok::<(), Error>(())
        };
        if let Err(error) = ended.await {
            return error;
        }
        let (cache, architecture) = (&self.request.cache, self.request.architecture);
        Error::RollbackTimedOut { cache: format!("{cache} for {architecture}"), seconds, progress }
    }
}

/// S1 for the snapshot to return to: completed, and shared with the place's account. `Some` says
/// why not.
async fn check_usable(
    clients: &Clients,
    place: &Place,
    manifest: &Manifest,
) -> Result<Option<String>> {
    let id = &manifest.snapshot_id;
    let region = &place.region;
    let ec2 = clients.own_ec2(region);
    match find_snapshot(&ec2, id).await?.map(|snapshot| snapshot.state) {
        Some(State::Completed) => {}
        Some(_) => return Ok(Some(format!("snapshot {id} in {region} is not completed"))),
        None => return Ok(Some(format!("snapshot {id} in {region} was deleted"))),
    }
    let Some(consumer) = &place.consumer else { return Ok(None) };
    let shared = shared_with(&ec2, id).await?;
    let is_shared = shared.iter().any(|account| account == consumer.account.as_str());
    Ok((!is_shared)
        .then(|| format!("snapshot {id} in {region} is not shared with {}", consumer.account)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::publication::targets;
    use frontload_aws::testing::FakeCloud;
    use frontload_domain::manifest::Replica;
    use serde_json::{Value, json};

    use super::*;
    use crate::steps::reap;
    use crate::testing::{build_document, context, pulled, put_cache, settings, shown};

    const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];

    /// The manifests of a build whose snapshots are `snap-<mark>0` and `snap-<mark>1`,
    /// published in two regions and to one consumer.
    fn manifests(mark: &str) -> Vec<Manifest> {
        let mut build = build_document();
        build["id"] = json!(format!("build-{mark}"));
        build["regions"] = REGIONS.map(|region| json!({"region": region})).into();
        build["consumers"] = json!([{"account": "210987654321"}]);
        let replica = |(index, region): (usize, &&str)| Replica {
            region: region.parse().unwrap(),
            snapshot_id: format!("snap-{mark}{index}").parse().unwrap(),
            encrypted: false,
            kms_key_id: None,
        };
        let replicas: Vec<Replica> = REGIONS.iter().enumerate().map(replica).collect();
        let pulled = serde_json::from_value(pulled()).unwrap();
        Manifest::of_replicas(&serde_json::from_value(build).unwrap(), 0, &pulled, &replicas)
    }

    fn names() -> ParameterNames {
        let prefix = &settings().prefix;
        ParameterNames::new(prefix, &"default".parse().unwrap(), Architecture::X86_64)
    }

    async fn publish(cloud: &FakeCloud, targets: &[Target]) {
        let by = "anybody".parse().unwrap();
        publication::publish(&cloud.clients(), &names(), &by, 0, targets).await.unwrap();
    }

    /// Builds a and b are published one after the other; all snapshots are usable.
    async fn cloud() -> FakeCloud {
        let cloud = FakeCloud::default();
        for mark in ["a", "b"] {
            publish(&cloud, &targets(&manifests(mark))).await;
        }
        for (index, region) in REGIONS.iter().enumerate() {
            let mut world = cloud.world();
            let mut answer = |action: &str, inside: String| {
                world.ec2.insert(((*region).to_owned(), action.to_owned()), inside);
            };
            let item = format!(
                "<item><snapshotId>snap-a{index}</snapshotId><status>completed</status></item>"
            );
            answer("DescribeSnapshots", format!("<snapshotSet>{item}</snapshotSet>"));
            let permission = "<item><userId>210987654321</userId></item>";
            answer(
                "DescribeSnapshotAttribute",
                format!("<createVolumePermission>{permission}</createVolumePermission>"),
            );
        }
        cloud
    }

    async fn answer(cloud: &FakeCloud, execution: &str, waited: u32) -> Result<Value> {
        let input = json!({
            "rollback": {"cache": "default", "architecture": "x86_64"},
            "executionId": execution,
            "waitedSeconds": waited,
        });
        let input = serde_json::from_value(input).unwrap();
        handle(&context(cloud, 0), input).await.map(|report| shown(&report))
    }

    async fn roll_back(cloud: &FakeCloud, execution: &str, waited: u32) -> String {
        match answer(cloud, execution, waited).await {
            Ok(ready) if ready["ready"] == true => {
                ready["publications"].as_array().unwrap().len().to_string()
            }
            Ok(waiting) => waiting["progress"].as_str().unwrap().to_owned(),
            Err(error) => error.name().to_owned(),
        }
    }

    /// The builds whose snapshots are published in any place.
    fn read(cloud: &FakeCloud) -> BTreeSet<char> {
        let newest = cloud.world().newest();
        let ids = newest.iter().filter(|(name, _)| name.ends_with("snapshot-id"));
        ids.map(|(_, id)| id.chars().nth(5).unwrap()).collect()
    }

    async fn is_held(cloud: &FakeCloud) -> bool {
        let leases = cloud.clients().leases(&"us-east-1".parse().unwrap(), "leases");
        let key = LeaseKey::new(&"default".parse().unwrap(), Architecture::X86_64);
        leases.read(&key).await.unwrap().holder.is_some()
    }

    #[tokio::test]
    async fn a_repeated_call_after_a_lost_answer_does_not_roll_forward() {
        let cloud = cloud().await;
        for execution in ["first", "first"] {
            assert_eq!(roll_back(&cloud, execution, 0).await, "4");
            assert_eq!(read(&cloud), ['a'].into());
        }
        assert_eq!(roll_back(&cloud, "second", 0).await, "4");
        assert_eq!(read(&cloud), ['b'].into());
        assert!(!is_held(&cloud).await);
    }

    /// A rollback dies after each possible number of places. The same or another one repairs it.
    #[tokio::test]
    async fn an_unfinished_rollback_ends_at_one_build() {
        for execution in ["same", "other"] {
            for at in 1..4 {
                let cloud = cloud().await;
                let begun_by =
                    BuildId::derive(&"default".parse().unwrap(), Architecture::X86_64, "same");
                let mut begun = manifests("a");
                for manifest in &mut begun {
                    manifest.rollback = Some(begun_by.clone());
                }
                publish(&cloud, &targets(&begun)[..at]).await;
                assert_eq!(read(&cloud), ['a', 'b'].into());
                assert_eq!(roll_back(&cloud, execution, 0).await, "4");
                assert_eq!(read(&cloud).len(), 1, "{execution} rollback, dead at {at}");
            }
        }
    }

    #[tokio::test]
    async fn a_rollback_marks_the_previous_manifest_and_keeps_the_consumers() {
        let cloud = cloud().await;
        roll_back(&cloud, "first", 0).await;
        let manifest = &cloud.world().newest()["210987654321 eu-west-1 manifest"];
        let manifest: Manifest = serde_json::from_str(manifest).unwrap();
        assert_eq!(manifest.build.as_str(), "build-a");
        assert!(manifest.rollback.is_some());
        assert_eq!(manifest.consumers, manifests("b")[0].consumers);
    }

    #[tokio::test]
    async fn a_rollback_waits_for_fast_restore_until_the_limit() {
        let cloud = FakeCloud::default();
        for mark in ["a", "b"] {
            let mut of = manifests(mark);
            of[0].fsr_zones = vec!["us-east-1a".parse().unwrap()];
            publish(&cloud, &targets(&of)).await;
        }
        cloud.world().ec2 = self::cloud().await.world().ec2.clone();
        let progress = roll_back(&cloud, "first", 0).await;
        assert_eq!(progress, "snap-a0 has fast restore in 0 of 1 zones");
        assert!(is_held(&cloud).await);
        assert_eq!(roll_back(&cloud, "first", LIMIT_SECONDS).await, "RollbackTimedOut");
        assert_eq!((read(&cloud), is_held(&cloud).await), (['b'].into(), false));
    }

    #[tokio::test]
    async fn a_throttled_rollback_continues_in_its_next_call() {
        let cloud = cloud().await;
        let start = cloud.world().changes;
        let whole = cloud.copy();
        assert_eq!(roll_back(&whole, "first", 0).await, "4");
        let changes = whole.world().changes - start;
        assert_eq!(changes, 8 + 24 + 4, "values, labels, events");
        for throttled in 1..=8 + 24 {
            let cloud = cloud.copy();
            cloud.world().fail_change = Some(start + throttled);
            cloud.world().throttled = 1;
            let progress = roll_back(&cloud, "first", 0).await;
            assert!(progress.contains("ThrottlingException"), "change {throttled}: {progress}");
            assert!(is_held(&cloud).await);
            assert_eq!(roll_back(&cloud, "first", 30).await, "4");
            assert_eq!((read(&cloud), is_held(&cloud).await), (['a'].into(), false));
        }
    }

    /// From each change on, AWS refuses everything, so that the rollback restores nothing itself.
    #[tokio::test]
    async fn after_any_failed_rollback_the_reaper_leaves_one_build() {
        let cloud = cloud().await;
        let regions = REGIONS.map(|region| json!({"region": region}));
        let document = json!({"regions": regions, "consumers": [{"account": "210987654321"}]});
        put_cache(&cloud, "default", &document);
        let start = cloud.world().changes;
        let mut ends = BTreeSet::new();
        for change in 2..=8 + 24 {
            let cloud = cloud.copy();
            cloud.world().refuse_from = Some(start + change);
            assert_eq!(roll_back(&cloud, "arn:first", 0).await, "PublishFailed");
            assert!(is_held(&cloud).await, "change {change}");
            cloud.world().refuse_from = None;
            cloud.world().over.insert("arn:first".to_owned(), 0);
            let input = serde_json::from_value(json!({})).unwrap();
            reap::handle(&context(&cloud, 1_000), input).await.unwrap();
            assert!(!is_held(&cloud).await, "change {change}");
            let of_newest = read(&cloud);
            assert_eq!(of_newest.len(), 1, "change {change}");
            let world = cloud.world();
            let newest = world.newest();
            for (name, current) in world.labelled(CURRENT) {
                assert_eq!(newest[&name], current, "change {change}");
            }
            ends.extend(of_newest);
        }
        assert_eq!(ends, ['a', 'b'].into());
    }

    #[tokio::test]
    async fn a_refused_event_undoes_nothing_and_is_reported() {
        let cloud = cloud().await;
        cloud.world().refuse_alike = Some(("PutEvents", "us-east-1", 0));
        let ready = answer(&cloud, "first", 0).await.unwrap();
        let warnings = ready["warnings"].as_array().unwrap();
        assert_eq!((read(&cloud), is_held(&cloud).await), (['a'].into(), false));
        // Our one bus gets the events of both regions' publications.
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].as_str().unwrap().contains("AccessDeniedException"), "{warnings:?}");
    }

    #[tokio::test]
    async fn a_failed_lease_release_does_not_hide_the_result() {
        let cloud = cloud().await;
        cloud.world().refuse_table_from = Some(2);
        assert_eq!(roll_back(&cloud, "first", 0).await, "4");
        assert!(is_held(&cloud).await, "the second change would give the lease back");
    }
}
