//! A publication changes the parameters of one cache and architecture in every region and account,
//! all or none.
//!
//! It writes the manifests first and the snapshot ids last: the value that nodes read changes when
//! everything else is in place. After a failure it restores the old values and labels. A throttled
//! call restores nothing; the next call continues.

pub mod after;

use std::collections::BTreeSet;

use frontload_aws::clients::{Clients, at_once};
use frontload_aws::incomplete_answer;
use frontload_aws::parameters::{self, CURRENT, PREVIOUS, SUPERSEDED};
use frontload_domain::Place;
use frontload_domain::{BuildId, Consumer, Manifest, ParameterNames, RegionName};
use frontload_domain::{Error, Result};

/// The values to publish at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The account and region.
    pub place: Place,
    /// Value of the manifest parameter.
    pub manifest: String,
    /// Value of the snapshot-id parameter.
    pub snapshot_id: String,
}

/// Every place of a publication: each region in our own account and in each consumer account.
#[must_use]
pub fn places(regions: &[RegionName], consumers: &[Consumer]) -> Vec<Place> {
    regions
        .iter()
        .flat_map(|region| {
            let consumers = consumers.iter().map(|consumer| Place::of(consumer, region));
            std::iter::once(Place::own(region)).chain(consumers)
        })
        .collect()
}

/// The targets of a build's manifests: the manifest of a region is the same in
/// all accounts.
#[must_use]
pub fn targets(manifests: &[Manifest]) -> Vec<Target> {
    manifests
        .iter()
        .flat_map(|manifest| {
            let here = places(std::slice::from_ref(&manifest.region), &manifest.consumers);
            here.into_iter().map(|place| Target {
                place,
                manifest: manifest.text(),
                snapshot_id: manifest.snapshot_id.to_string(),
            })
        })
        .collect()
}

/// A parameter to change, and its state before the change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    place: Place,
    name: String,
    to: String,
    newest: Option<String>,
    /// Whether the newest version carries [`CURRENT`].
    is_current: bool,
    /// The version that carries [`PREVIOUS`].
    previous: Option<i64>,
}

impl Change {
    fn is_done(&self) -> bool {
        self.is_current && self.newest.as_ref() == Some(&self.to)
    }
}

/// Publishes at all targets: writes the values that differ, moves the labels and reads back. It is
/// idempotent. If any place has a manifest with a later fencing token than `token`, nothing is
/// published.
///
/// # Errors
/// [`Error::LeaseLost`] with nothing published; [`Error::PublishFailed`] when any write fails, with
/// everything restored; [`Error::AwsUnavailable`], restored too, when the same call may succeed
/// later. A throttle restores nothing: the same call continues, and [`finish_or_undo`] ends what no
/// call finishes.
pub async fn publish(
    clients: &Clients,
    names: &ParameterNames,
    build: &BuildId,
    token: u64,
    targets: &[Target],
) -> Result<()> {
    finish_earlier(clients, names, targets).await?;
    let manifests = plan(clients, targets, &names.manifest, |target| &target.manifest).await?;
    if let Some(later) = manifests.iter().find_map(|change| find_later(change, token)) {
        return Err(Error::LeaseLost { build: build.clone(), reason: later });
    }
    let ids = plan(clients, targets, &names.snapshot_id, |target| &target.snapshot_id).await?;
    if ids.iter().chain(&manifests).all(Change::is_done) {
        return Ok(());
    }
    let result = apply(clients, &manifests, &ids).await;
    let Err((parameter, error)) = result else { return Ok(()) };
    if parameters::is_throttled(&error) {
        return Err(error);
    }
    let written: Vec<&Change> = ids.iter().chain(&manifests).collect();
    let left = put_back(clients, &written).await;
    if error.retryable() && left.is_empty() {
        return Err(error);
    }
    Err(Error::PublishFailed { build: build.clone(), parameter, source: Box::new(error), left })
}

/// Moves the labels of an earlier publication that died after it wrote its last value. Otherwise
/// the publication that it superseded would be treated as the published one, and the previous
/// publication would become a mixture. A publication that died before has moved no label; its
/// values are superseded without a label.
async fn finish_earlier(
    clients: &Clients,
    names: &ParameterNames,
    targets: &[Target],
) -> Result<()> {
    let places: Vec<Place> = targets.iter().map(|target| target.place.clone()).collect();
    let newest = read_newest(clients, names, &places).await?;
    // This call continues or restores what an earlier call of this publication wrote.
    if targets.iter().zip(&newest).all(|(target, (newest, _))| newest.is_of(target)) {
        return Ok(());
    }
    let mut manifests = newest.iter().map(|(newest, _)| newest.manifest());
    let build = manifests.next().flatten().map(|manifest| manifest.build);
    let is_whole = build.is_some()
        && manifests.all(|manifest| manifest.map(|manifest| manifest.build) == build);
    if is_whole { label_newest(clients, names, &places, newest).await } else { Ok(()) }
}

/// The newest values of each place, and whether they carry [`CURRENT`].
async fn read_newest(
    clients: &Clients,
    names: &ParameterNames,
    places: &[Place],
) -> Result<Vec<(Published, bool)>> {
    let newest = at_once(places, async |place| {
        let ssm = clients.ssm(place).await?;
        let newest = Published::read(&ssm, names).await?;
        let labelled = Published::read_labelled(&ssm, names, CURRENT).await?;
        let is_labelled = newest == labelled;
        Ok((newest, is_labelled))
    });
    newest.await.into_iter().collect()
}

/// Moves the labels of a publication whose values are written everywhere, if any is missing.
async fn label_newest(
    clients: &Clients,
    names: &ParameterNames,
    places: &[Place],
    newest: Vec<(Published, bool)>,
) -> Result<()> {
    if newest.iter().all(|(_, is_labelled)| *is_labelled) {
        return Ok(());
    }
    let mut unlabelled = Vec::new();
    for (place, (newest, _)) in places.iter().zip(newest) {
        let values = [(&names.snapshot_id, newest.snapshot_id), (&names.manifest, newest.manifest)];
        for (name, value) in values {
            unlabelled.push(read(clients, place, name, value.unwrap_or_default()).await?);
        }
    }
    each(&unlabelled, |change| move_labels(clients, change)).await.map_err(|(_, error)| error)
}

/// Which build was published under a later token than `token` in this parameter, if any.
fn find_later(change: &Change, token: u64) -> Option<String> {
    let published: Manifest = serde_json::from_str(change.newest.as_ref()?).ok()?;
    (published.token > token).then(|| {
        format!("{} was published later, under token {}", published.build, published.token)
    })
}

/// The parameter that failed, and its error.
type Failed = (String, Error);

async fn apply(
    clients: &Clients,
    manifests: &[Change],
    ids: &[Change],
) -> std::result::Result<(), Failed> {
    for changes in [manifests, ids] {
        each(changes, |change| write(clients, change)).await?;
    }
    for changes in [manifests, ids] {
        each(changes, |change| move_labels(clients, change)).await?;
    }
    Ok(())
}

/// Runs `act` for every change and returns the first failure. Parameter Store's limits (3 writes a
/// second) are per account and region; each place is one account and region.
async fn each<'a, F: Future<Output = Result<()>>>(
    changes: &'a [Change],
    act: impl Fn(&'a Change) -> F,
) -> std::result::Result<(), Failed> {
    let failed = |change: &Change, error| (shown(change), error);
    let act = |change| {
        let acting = act(change);
        async move { acting.await.map_err(|error| failed(change, error)) }
    };
    at_once(changes, act).await.into_iter().collect()
}

fn shown(change: &Change) -> String {
    let place = &change.place;
    format!("{} of {} in {}", change.name, place.account_shown(), place.region)
}

/// The parameters to change, with old and new value. A parameter that already has its new value
/// stays in the plan, since its labels may be missing.
async fn plan<'a>(
    clients: &Clients,
    targets: &'a [Target],
    name: &str,
    value: impl Fn(&'a Target) -> &'a String,
) -> Result<Vec<Change>> {
    at_once(targets, |target| read(clients, &target.place, name, value(target).clone()))
        .await
        .into_iter()
        .collect()
}

async fn read(clients: &Clients, place: &Place, name: &str, to: String) -> Result<Change> {
    let ssm = clients.ssm(place).await?;
    let newest = parameters::get(&ssm, name).await?;
    let (current, previous) = match &newest {
        None => (None, None),
        Some(_) => (
            parameters::get_labelled(&ssm, name, CURRENT).await?,
            parameters::get_labelled(&ssm, name, PREVIOUS).await?,
        ),
    };
    Ok(Change {
        place: place.clone(),
        name: name.to_owned(),
        to,
        is_current: newest.is_some() && newest == current,
        newest: newest.map(|newest| newest.value),
        previous: previous.map(|previous| previous.version),
    })
}

async fn write(clients: &Clients, change: &Change) -> Result<()> {
    if change.newest.as_ref() == Some(&change.to) {
        return Ok(());
    }
    let ssm = clients.ssm(&change.place).await?;
    parameters::put(&ssm, &change.name, &change.to).await.map(drop)
}

/// Moves the labels: the newest version becomes `current`, the one that was current becomes
/// `previous`, the one that was previous becomes `superseded`. Then reads back the value that nodes
/// will read. If a concurrent publisher wrote the current value once more, that version supersedes
/// nothing.
async fn move_labels(clients: &Clients, change: &Change) -> Result<()> {
    let Change { place, name, .. } = change;
    let ssm = clients.ssm(place).await?;
    let newest = parameters::get(&ssm, name).await?;
    let (version, value) =
        newest.map_or((0, String::new()), |newest| (newest.version, newest.value));
    let current = parameters::get_labelled(&ssm, name, CURRENT).await?;
    if current.as_ref().map(|current| current.version) != Some(version) {
        if let Some(current) = current.filter(|current| current.value != value) {
            if let Some(previous) = change.previous.filter(|&p| p != current.version) {
                parameters::label(&ssm, name, previous, SUPERSEDED).await?;
            }
            parameters::label(&ssm, name, current.version, PREVIOUS).await?;
        }
        parameters::label(&ssm, name, version, CURRENT).await?;
    }
    let back = parameters::get_labelled(&ssm, name, CURRENT).await?;
    if back.as_ref().map(|back| &back.value) == Some(&change.to) {
        return Ok(());
    }
    let reason = "the value read differs from the value written";
    let region = ssm.config().region();
    Err(incomplete_answer("ssm:GetParameter", shown(change), region, reason))
}

/// Restores values and labels. Returns one message per parameter that could not be restored. An
/// earlier call may have written values, so it reads the parameters and not the plan.
async fn put_back(clients: &Clients, all: &[&Change]) -> Vec<String> {
    let put_back = async |change: &Change| {
        let undone = async {
            let ssm = clients.ssm(&change.place).await?;
            undo_write(&ssm, &change.name, |value| value == change.to).await
        };
        undone.await.err().map(|error| format!("{}: {}", shown(change), error.chain()))
    };
    at_once(all, |change| put_back(change)).await.into_iter().flatten().collect()
}

/// The values published at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Value of the snapshot-id parameter.
    pub snapshot_id: Option<String>,
    /// Value of the manifest parameter.
    pub manifest: Option<String>,
}

impl Published {
    /// Reads the newest versions of both parameters.
    ///
    /// # Errors
    /// Those of the calls.
    pub async fn read(ssm: &aws_sdk_ssm::Client, names: &ParameterNames) -> Result<Self> {
        Self::read_names(ssm, &names.snapshot_id, &names.manifest).await
    }

    /// Reads the versions of both parameters that carry `label`.
    ///
    /// # Errors
    /// Those of the calls.
    pub async fn read_labelled(
        ssm: &aws_sdk_ssm::Client,
        names: &ParameterNames,
        label: &str,
    ) -> Result<Self> {
        let (id, manifest) = (&names.snapshot_id, &names.manifest);
        Self::read_names(ssm, &format!("{id}:{label}"), &format!("{manifest}:{label}")).await
    }

    async fn read_names(ssm: &aws_sdk_ssm::Client, id: &str, manifest: &str) -> Result<Self> {
        let snapshot_id = parameters::get(ssm, id).await?;
        let manifest = parameters::get(ssm, manifest).await?;
        Ok(Self {
            snapshot_id: snapshot_id.map(|parameter| parameter.value),
            manifest: manifest.map(|parameter| parameter.value),
        })
    }

    /// The manifest, if it is readable and describes the published snapshot.
    #[must_use]
    pub fn manifest(&self) -> Option<Manifest> {
        let manifest: Manifest = serde_json::from_str(self.manifest.as_ref()?).ok()?;
        let published = self.snapshot_id.as_deref() == Some(manifest.snapshot_id.as_str());
        published.then_some(manifest)
    }

    fn is_of(&self, target: &Target) -> bool {
        self.snapshot_id.as_ref() == Some(&target.snapshot_id)
            && self.manifest.as_ref() == Some(&target.manifest)
    }

    /// Whether `build` wrote either parameter. `snapshots` contains the build's snapshots.
    fn is_by(&self, build: &BuildId, snapshots: &[String]) -> bool {
        let manifest: Option<Manifest> =
            self.manifest.as_ref().and_then(|text| serde_json::from_str(text).ok());
        manifest.is_some_and(|manifest| manifest.is_published_by(build))
            || self.snapshot_id.as_ref().is_some_and(|id| snapshots.contains(id))
    }
}

/// The snapshots in every place's parameters: the newest, current and previous versions.
///
/// # Errors
/// Those of the calls.
pub async fn named_snapshots(
    clients: &Clients,
    names: &ParameterNames,
    places: &[Place],
) -> Result<BTreeSet<String>> {
    let found = at_once(places, async |place| {
        let ssm = clients.ssm(place).await?;
        let id = &names.snapshot_id;
        Ok([
            parameters::get(&ssm, id).await?,
            parameters::get_labelled(&ssm, id, CURRENT).await?,
            parameters::get_labelled(&ssm, id, PREVIOUS).await?,
        ])
    });
    let found: Vec<_> = found.await.into_iter().collect::<Result<_>>()?;
    Ok(found.into_iter().flatten().flatten().map(|parameter| parameter.value).collect())
}

/// Ends a publication that died. If `build`, which may be the id of a rollback, did not write every
/// place, restores the old values; otherwise moves the missing labels. `snapshots` are those that it
/// published, in all regions. Only the holder of the lease may call it: anyone else could treat a
/// running publication as dead.
///
/// # Errors
/// Those of the calls.
pub async fn finish_or_undo(
    clients: &Clients,
    names: &ParameterNames,
    build: &BuildId,
    places: &[Place],
    snapshots: &[String],
) -> Result<()> {
    let newest = read_newest(clients, names, places).await?;
    let is_whole =
        |now: &Published| now.manifest().is_some_and(|found| found.is_published_by(build));
    if newest.iter().all(|(newest, _)| is_whole(newest)) {
        return label_newest(clients, names, places, newest).await;
    }
    let ours = |value: &str| {
        let manifest: Option<Manifest> = serde_json::from_str(value).ok();
        snapshots.iter().any(|id| id == value)
            || manifest.is_some_and(|manifest| manifest.is_published_by(build))
    };
    for (place, (newest, _)) in places.iter().zip(newest) {
        if !newest.is_by(build, snapshots) {
            continue;
        }
        let ssm = clients.ssm(place).await?;
        for name in [&names.snapshot_id, &names.manifest] {
            undo_write(&ssm, name, ours).await?;
        }
    }
    Ok(())
}

/// Restores the versions that were current and previous before a value of `ours` was written. It
/// can be interrupted after each change and called again. It writes the value last: by it the next
/// call detects unfinished work.
async fn undo_write(
    ssm: &aws_sdk_ssm::Client,
    name: &str,
    ours: impl Fn(&str) -> bool,
) -> Result<()> {
    if !parameters::get(ssm, name).await?.is_some_and(|newest| ours(&newest.value)) {
        return Ok(());
    }
    let current = parameters::get_labelled(ssm, name, CURRENT).await?;
    let previous = parameters::get_labelled(ssm, name, PREVIOUS).await?;
    let is_current = current.as_ref().is_some_and(|current| ours(&current.value));
    let was_current = if is_current { previous.clone() } else { current };
    let Some(was_current) = was_current else { return parameters::delete(ssm, name).await };
    if is_current {
        parameters::label(ssm, name, was_current.version, CURRENT).await?;
    }
    if previous.is_some_and(|previous| previous.version == was_current.version)
        && let Some(superseded) = parameters::get_labelled(ssm, name, SUPERSEDED).await?
    {
        parameters::label(ssm, name, superseded.version, PREVIOUS).await?;
    }
    parameters::put(ssm, name, &was_current.value).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use frontload_aws::testing::{FakeCloud, OWN};
    use frontload_domain::manifest::Replica;
    use frontload_domain::{Architecture, Build};

    /// Three regions and two consumers: nine places, eighteen parameters.
    fn build(execution: &str) -> Build {
        build_in(execution, &["eu-west-1", "ap-southeast-2"], &["210987654321", "345678901234"])
    }

    fn build_in(execution: &str, regions: &[&str], consumers: &[&str]) -> Build {
        let mut build = frontload_domain::testing::sample();
        build.id = BuildId::derive(&build.cache, build.architecture, execution);
        for region in regions {
            let mut settings = build.regions[0].clone();
            settings.region = region.parse().unwrap();
            build.regions.push(settings);
        }
        for account in consumers {
            let consumer = serde_json::json!({ "account": account });
            build.consumers.push(serde_json::from_value(consumer).unwrap());
        }
        build
    }

    fn names() -> ParameterNames {
        let prefix = "/frontload".parse().unwrap();
        ParameterNames::new(&prefix, &"default".parse().unwrap(), Architecture::X86_64)
    }

    /// The targets of a build whose snapshots are `snap-<mark>0` and so on.
    fn targets_of(build: &Build, mark: &str) -> Vec<Target> {
        let image = &build.images[0];
        let pulled = serde_json::from_value(serde_json::json!({
            "containerd": "2.1.9", "kernel": "6.12.40", "flushed": true, "usedBytes": 1, "ancestor": "none",
            "listing": format!("sha256:{:064}", 0),
            "images": [{"reference": image.reference, "digest": image.digest}],
        }))
        .unwrap();
        let replica = |(index, settings): (usize, &frontload_domain::RegionSettings)| Replica {
            region: settings.region.clone(),
            snapshot_id: format!("snap-{mark}{index}").parse().unwrap(),
            encrypted: false,
            kms_key_id: None,
        };
        let replicas: Vec<Replica> = build.regions.iter().enumerate().map(replica).collect();
        targets(&Manifest::of_replicas(build, 0, &pulled, &replicas))
    }

    async fn publish_marked(cloud: &FakeCloud, mark: &str) -> Result<()> {
        let build = build(mark);
        let targets = targets_of(&build, mark);
        publish(&cloud.clients(), &names(), &build.id, 0, &targets).await
    }

    fn ids(values: &std::collections::BTreeMap<String, String>) -> Vec<&str> {
        let ids = values.iter().filter(|(name, _)| name.ends_with("snapshot-id"));
        ids.map(|(_, value)| value.as_str()).collect()
    }

    #[tokio::test]
    async fn every_account_reads_its_regions_snapshot() {
        let cloud = FakeCloud::default();
        publish_marked(&cloud, "a").await.unwrap();
        let world = cloud.world();
        assert_eq!(world.newest().len(), 18);
        for account in [OWN, "210987654321", "345678901234"] {
            for (index, region) in ["us-east-1", "eu-west-1", "ap-southeast-2"].iter().enumerate() {
                let name = format!("{}:current", names().snapshot_id);
                let value = world.read(account, region, &name).unwrap().0;
                assert_eq!(value, format!("snap-a{index}"), "{account} {region}");
            }
        }
    }

    #[tokio::test]
    async fn the_next_publication_labels_the_last_as_previous_everywhere() {
        let cloud = FakeCloud::default();
        publish_marked(&cloud, "a").await.unwrap();
        publish_marked(&cloud, "b").await.unwrap();
        let world = cloud.world();
        assert!(ids(&world.labelled(CURRENT)).iter().all(|id| id.starts_with("snap-b")));
        assert!(ids(&world.labelled(PREVIOUS)).iter().all(|id| id.starts_with("snap-a")));
        assert_eq!(world.labelled(PREVIOUS).len(), 18);
    }

    #[tokio::test]
    async fn publishing_twice_changes_nothing_more() {
        let cloud = FakeCloud::default();
        publish_marked(&cloud, "a").await.unwrap();
        let changes = cloud.world().changes;
        publish_marked(&cloud, "a").await.unwrap();
        assert_eq!(cloud.world().changes, changes);
    }

    /// Refuses each change of a publication in turn, before it takes effect and after.
    #[tokio::test]
    async fn after_any_failed_change_all_parameters_are_old_or_all_are_new() {
        let publish_wide = async |cloud: &FakeCloud, mark: &str| {
            let build = build_in(mark, &["eu-west-1"], &["210987654321"]);
            publish(&cloud.clients(), &names(), &build.id, 0, &targets_of(&build, mark)).await
        };
        let old = FakeCloud::default();
        for mark in ["n", "o", "a"] {
            publish_wide(&old, mark).await.unwrap();
        }
        let start = old.world().changes;
        let new = old.copy();
        publish_wide(&new, "b").await.unwrap();
        let changes = new.world().changes - start;
        assert_eq!(changes, 32, "8 writes, 24 labels");
        for fail in 1..=changes {
            for after in [false, true] {
                let cloud = old.copy();
                let (newest, current, previous) = all(&cloud);
                cloud.world().fail_change = Some(start + fail);
                cloud.world().fail_after = after;
                let error = publish_wide(&cloud, "b").await.unwrap_err();
                assert_eq!(error.name(), "PublishFailed");
                assert!(error.to_string().ends_with("all parameters were restored"), "{error}");
                assert_eq!(all(&cloud), (newest, current, previous), "change {fail}, {after}");
            }
        }
    }

    /// Two regions of our own account: 4 writes and, from the third publication on, 12 labels.
    async fn publish_small(cloud: &FakeCloud, mark: &str) -> Result<()> {
        let build = build_in(mark, &["eu-west-1"], &[]);
        publish(&cloud.clients(), &names(), &build.id, 0, &targets_of(&build, mark)).await
    }

    /// Throttled at each change in turn. If nothing was published before, restoring deletes the
    /// parameter, which cannot be written again for half a minute.
    #[tokio::test]
    async fn after_any_throttled_change_the_next_call_continues_without_a_restore() {
        for published in [vec![], vec!["n", "o", "a"]] {
            let old = FakeCloud::default();
            for mark in &published {
                publish_small(&old, mark).await.unwrap();
            }
            let start = old.world().changes;
            let new = old.copy();
            publish_small(&new, "b").await.unwrap();
            let changes = new.world().changes - start;
            for throttled in 1..=changes {
                let cloud = old.copy();
                cloud.world().fail_change = Some(start + throttled);
                cloud.world().throttled = 1;
                let error = publish_small(&cloud, "b").await.unwrap_err();
                assert!(error.retryable(), "change {throttled}: {error}");
                publish_small(&cloud, "b").await.unwrap();
                assert_eq!(all(&cloud), all(&new), "change {throttled}");
                let (took, wanted) = (cloud.world().writes, new.world().writes);
                assert_eq!((took, cloud.world().deleted), (wanted, 0), "change {throttled}");
            }
        }
    }

    /// Throttled from each change on, until the last call.
    #[tokio::test]
    async fn an_unfinished_publication_is_restored_or_labelled_and_never_mixed() {
        let old = FakeCloud::default();
        for mark in ["n", "o", "a"] {
            publish_small(&old, mark).await.unwrap();
        }
        let (before, start) = (all(&old), old.world().changes);
        let new = old.copy();
        publish_small(&new, "b").await.unwrap();
        let after = all(&new);
        let build = build_in("b", &["eu-west-1"], &[]);
        let targets = targets_of(&build, "b");
        let places: Vec<Place> = targets.iter().map(|target| target.place.clone()).collect();
        let own = ["snap-b0".to_owned(), "snap-b1".to_owned()];
        let mut ends = BTreeSet::new();
        for throttled in 1..=16 {
            let cloud = old.copy();
            cloud.world().fail_change = Some(start + throttled);
            cloud.world().throttled = 99;
            publish_small(&cloud, "b").await.unwrap_err();
            cloud.world().fail_change = None;
            finish_or_undo(&cloud.clients(), &names(), &build.id, &places, &own).await.unwrap();
            let is_new = all(&cloud) == after;
            assert!(is_new || all(&cloud) == before, "throttled at {throttled}");
            ends.insert(is_new);
        }
        assert_eq!(ends, [false, true].into());
    }

    #[tokio::test]
    async fn a_publication_waits_for_its_turn_within_its_call() {
        let cloud = FakeCloud::default();
        cloud.world().fail_change = Some(1);
        cloud.world().throttled = 8;
        let build = build_in("b", &[], &[]);
        let (clients, targets) = (cloud.retrying_clients(), targets_of(&build, "b"));
        publish(&clients, &names(), &build.id, 0, &targets).await.unwrap();
        let world = cloud.world();
        assert_eq!((world.throttled, world.writes), (0, 2));
    }

    #[tokio::test]
    async fn values_written_before_a_throttle_are_restored_with_the_rest() {
        let old = FakeCloud::default();
        for mark in ["n", "o", "a"] {
            publish_small(&old, mark).await.unwrap();
        }
        let (before, start) = (all(&old), old.world().changes);
        for throttled in 1..=16 {
            for refused in 1..=16 - throttled {
                let cloud = old.copy();
                cloud.world().fail_change = Some(start + throttled);
                cloud.world().throttled = 1;
                publish_small(&cloud, "b").await.unwrap_err();
                let change = cloud.world().changes + refused;
                cloud.world().fail_change = Some(change);
                if let Err(error) = publish_small(&cloud, "b").await {
                    assert_eq!(error.name(), "PublishFailed");
                    assert!(error.to_string().ends_with("all parameters were restored"), "{error}");
                    assert!(all(&cloud) == before, "throttled at {throttled}, then {refused}");
                }
            }
        }
    }

    /// The publisher dies after each of its changes in turn and never returns.
    #[tokio::test]
    async fn after_a_publisher_dies_at_any_change_the_next_keeps_one_previous_build() {
        let old = FakeCloud::default();
        publish_small(&old, "a").await.unwrap();
        let start = old.world().changes;
        let whole = old.copy();
        publish_small(&whole, "b").await.unwrap();
        let changes = whole.world().changes - start;
        for dies_after in 1..changes {
            let cloud = old.copy();
            cloud.world().refuse_from = Some(start + dies_after + 1);
            publish_small(&cloud, "b").await.unwrap_err();
            cloud.world().refuse_from = None;
            publish_small(&cloud, "c").await.unwrap();
            let world = cloud.world();
            let builds = |label: &str| -> BTreeSet<String> {
                let labelled = world.labelled(label);
                let of = |value: &String| match serde_json::from_str::<Manifest>(value) {
                    Ok(manifest) => manifest.snapshot_id.as_str()[..6].to_owned(),
                    Err(_) => value[..6].to_owned(),
                };
                labelled.values().map(of).collect()
            };
            assert_eq!(builds(CURRENT), ["snap-c".to_owned()].into());
            assert_eq!(builds(PREVIOUS).len(), 1, "after {dies_after}: {:?}", builds(PREVIOUS));
        }
    }

    /// Happens when a call is delivered again while the first one still runs.
    #[tokio::test]
    async fn a_concurrent_rewrite_of_a_value_keeps_the_previous_one() {
        let cloud = FakeCloud::default();
        for mark in ["a", "b"] {
            publish_marked(&cloud, mark).await.unwrap();
        }
        let previous = cloud.world().labelled(PREVIOUS);
        let target = &targets_of(&build("b"), "b")[0];
        let clients = cloud.clients();
        let ssm = clients.ssm(&target.place).await.unwrap();
        parameters::put(&ssm, &names().snapshot_id, &target.snapshot_id).await.unwrap();
        publish_marked(&cloud, "b").await.unwrap();
        assert_eq!(cloud.world().labelled(PREVIOUS), previous);
        assert!(ids(&cloud.world().labelled(CURRENT)).iter().all(|id| id.starts_with("snap-b")));
    }

    #[tokio::test]
    async fn a_publication_never_replaces_one_with_a_later_token() {
        let cloud = FakeCloud::default();
        let publish_under = async |mark: &str, token: u64| {
            let build = build_in(mark, &["eu-west-1"], &[]);
            let mut targets = targets_of(&build, mark);
            for target in &mut targets {
                let mut manifest: Manifest = serde_json::from_str(&target.manifest).unwrap();
                manifest.token = token;
                target.manifest = manifest.text();
            }
            publish(&cloud.clients(), &names(), &build.id, token, &targets).await
        };
        publish_under("b", 2).await.unwrap();
        let before = (all(&cloud), cloud.world().changes);
        let error = publish_under("a", 1).await.unwrap_err();
        assert_eq!(error.name(), "LeaseLost");
        assert_eq!((all(&cloud), cloud.world().changes), before);
        publish_under("c", 3).await.unwrap();
    }

    type Values = std::collections::BTreeMap<String, String>;

    fn all(cloud: &FakeCloud) -> (Values, Values, Values) {
        let world = cloud.world();
        (world.newest(), world.labelled(CURRENT), world.labelled(PREVIOUS))
    }

    #[tokio::test]
    async fn a_first_publication_that_fails_leaves_no_parameter() {
        for fail in [1, 9, 18, 19, 36] {
            let cloud = FakeCloud::default();
            cloud.world().fail_change = Some(fail);
            publish_marked(&cloud, "a").await.unwrap_err();
            assert!(cloud.world().newest().is_empty(), "change {fail}");
        }
    }

    /// One kind of call is refused in one region. `publish` restores what it can. The clean-up
    /// restores the rest, although it is itself interrupted at each of its changes.
    #[tokio::test]
    async fn a_partial_restore_is_completed_later() {
        let build = build_in("b", &["eu-west-1"], &[]);
        let targets = targets_of(&build, "b");
        let places: Vec<Place> = targets.iter().map(|target| target.place.clone()).collect();
        let own = ["snap-b0".to_owned(), "snap-b1".to_owned()];
        let old = FakeCloud::default();
        for mark in ["n", "o", "a"] {
            let build = build_in(mark, &["eu-west-1"], &[]);
            let targets = targets_of(&build, mark);
            publish(&old.clients(), &names(), &build.id, 0, &targets).await.unwrap();
        }
        let before = all(&old);
        let kinds = [("PutParameter", 2), ("LabelParameterVersion", 6)];
        for (granted, operation) in kinds.iter().flat_map(|(o, n)| (0..*n).map(move |n| (n, *o))) {
            let half = old.copy();
            half.world().refuse_alike = Some((operation, "eu-west-1", granted));
            publish(&half.clients(), &names(), &build.id, 0, &targets).await.unwrap_err();
            half.world().refuse_alike = None;
            for interrupted in 1..10 {
                let cloud = half.copy();
                let undo = async || {
                    finish_or_undo(&cloud.clients(), &names(), &build.id, &places, &own).await
                };
                let change = cloud.world().changes + interrupted;
                cloud.world().refuse_from = Some(change);
                let _ = undo().await;
                cloud.world().refuse_from = None;
                undo().await.unwrap();
                assert!(all(&cloud) == before, "{operation} {granted}, change {interrupted}");
            }
        }
    }

    #[tokio::test]
    async fn a_partial_publication_is_undone_and_a_complete_one_is_kept() {
        let cloud = FakeCloud::default();
        for mark in ["n", "o", "a"] {
            publish_marked(&cloud, mark).await.unwrap();
        }
        let before = all(&cloud);
        let build = build("b");
        let half: Vec<Target> = targets_of(&build, "b").into_iter().take(4).collect();
        publish(&cloud.clients(), &names(), &build.id, 0, &half).await.unwrap();
        let regions: Vec<RegionName> = build.regions.iter().map(|r| r.region.clone()).collect();
        let places = places(&regions, &build.consumers);
        let own: Vec<String> = (0..3).map(|index| format!("snap-b{index}")).collect();
        let undo = || async {
            finish_or_undo(&cloud.clients(), &names(), &build.id, &places, &own).await.unwrap();
        };
        undo().await;
        assert_eq!(all(&cloud), before);
        publish_marked(&cloud, "b").await.unwrap();
        undo().await;
        assert!(ids(&cloud.world().newest()).iter().all(|id| id.starts_with("snap-b")));
    }
}
