//! `reap`: removes leftovers of executions that are over, however they ended (S4): builders,
//! volumes, partial publications, snapshots that no parameter ever named, and leases. A schedule
//! calls it, and so does every execution that ends badly.
//!
//! It finds leftovers by our tags and in the table of leases, never by the event. One reaper runs
//! at a time, so it handles a hundred executions that end at once together. That saves AWS calls.
//! It would be safe to run twice, and beside any build: it raises the fencing token of a lease
//! before it acts, and it does not touch what belongs to a running execution.

#[cfg(test)]
mod tests;

use crate::publication::{self, Published, places};
use frontload_aws::clients::{Clients, at_once};
use frontload_aws::executions::{Progress, find_progress};
use frontload_aws::instances::{State, terminate_builder};
use frontload_aws::leases::Leases;
use frontload_aws::replicas::shared_with;
use frontload_aws::snapshots::{delete_snapshot, delete_volume, mark_published};
use frontload_domain::Place;
use frontload_domain::lease::{Acquire, LAST_CALL_SECONDS, LeaseKey};
use frontload_domain::prune::{FoundSnapshot, Inventory, NamedBy, Reference, Unread};
use frontload_domain::{BuildId, Manifest, ParameterNames};
use frontload_domain::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::cleanup::leftovers::{Leftovers, find_leftovers};
use crate::context::Context;
use crate::pruning::inventory::read_inventory;
use crate::pruning::{all_places, find_cache};
use crate::settings::Settings;

/// Payload of the function: any event. It says that there is something to do, not what.
#[derive(Debug, Deserialize)]
pub struct Input {}

/// The outcome of each finding, one sentence per item.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reaped {
    /// What was removed.
    removed: Vec<String>,
    /// What the next call checks again.
    later: Vec<String>,
    /// What stays although its execution is over.
    kept: Vec<String>,
}

/// Checks everything, and again if another call came meanwhile. While another reaper
/// runs, it only requests another check. `now` is in epoch seconds.
///
/// # Errors
/// The first error that kept a build's leftovers from being removed. The leftovers of the other
/// builds are removed all the same.
pub async fn handle(context: &Context, _: Input) -> Result<Reaped> {
    let &Context { ref clients, ref settings, now, .. } = context;
    let turns = clients.turns(&settings.home.region, &settings.lease_table);
    let Some(turn) = turns.take(now).await? else {
        let later =
            vec!["everything: another reaper is running and will check once more".to_owned()];
        return Ok(Reaped { later, ..Reaped::default() });
    };
    let first = reap_all(clients, settings, now).await;
    if turns.end(&turn).await.unwrap_or_else(|error| log_open_turn(&error)) {
        return first;
    }
    let second = reap_all(clients, settings, now).await;
    if let Err(error) = turns.give_up(&turn).await {
        log_open_turn(&error);
    }
    let (first, mut second) = (first?, second?);
    second.removed.splice(..0, first.removed);
    Ok(second)
}

/// Logs that a turn was not ended. The turn expires after a minute, and the findings count.
fn log_open_turn(error: &Error) -> bool {
    tracing::warn!(
        cause = error.chain(),
        "the reaper could not end its turn, which expires after a minute"
    );
    true
}

async fn reap_all(clients: &Clients, settings: &Settings, now: i64) -> Result<Reaped> {
    let home = &settings.home.region;
    let leases = clients.leases(home, &settings.lease_table);
    let found = find_leftovers(clients, settings, &leases).await?;
    let mut reaper = Reaper { clients, settings, now, leases, reaped: Reaped::default() };
    reaper.reaped.kept = found.unknown;
    let mut first = None;
    for leftovers in &found.of_builds {
        if let Err(error) = reaper.reap(leftovers).await {
            tracing::warn!(build = %leftovers.build, cause = error.chain(), "left for the next call");
            first.get_or_insert(error);
        }
    }
    first.map_or(Ok(reaper.reaped), Err)
}

struct Reaper<'a> {
    clients: &'a Clients,
    settings: &'a Settings,
    now: i64,
    leases: Leases,
    reaped: Reaped,
}

impl Reaper<'_> {
    /// Removes what one build left, if its execution is over. It terminates the builder at once,
    /// because EC2 bills by the second. It deletes the rest after in-flight calls have ended,
    /// because they could recreate it.
    async fn reap(&mut self, left: &Leftovers) -> Result<()> {
        let home = &self.settings.home.region;
        let sfn = self.clients.own_sfn(home);
        let Progress::Over { ended } = find_progress(&sfn, left.execution.as_str()).await? else {
            return Ok(());
        };
        let ec2 = self.clients.own_ec2(home);
        for builder in &left.builders {
            terminate_builder(&ec2, &builder.id).await?;
            if builder.state != State::Ending {
                self.removed(left, &format!("builder {}", builder.id));
            }
        }
        let calls_end = ended.map_or(self.now, |ended| ended + i64::from(LAST_CALL_SECONDS));
        if self.now < calls_end {
            let wait = calls_end - self.now;
            self.reaped.later.push(format!("{}: its last calls may run for {wait} s", left.build));
            return Ok(());
        }
        for volume in &left.volumes {
            delete_volume(&ec2, &volume.id).await?;
            self.removed(left, &format!("volume {}", volume.id));
        }
        if left.lease.is_none() && left.snapshots.is_empty() {
            return Ok(());
        }
        self.reap_publication(left).await
    }

    /// Removes what was not published. If the build holds the lease, it undoes a partial
    /// publication first. Otherwise the new holder of the lease does that. Without the cache's
    /// document, the regions and accounts to search are unknown.
    async fn reap_publication(&mut self, left: &Leftovers) -> Result<()> {
        let key = &left.key;
        let cache = find_cache(self.clients, self.settings, &key.cache).await?;
        let places = all_places(self.clients, self.settings, &cache).await?;
        if let Some(state) = &left.lease
            && let Some(holder) = &state.holder
        {
            let over = Some(state.token);
            let taken = self.leases.take(key, holder, Acquire::AsAnybody, over, self.now).await?;
            if taken.is_none() {
                self.reaped
                    .later
                    .push(format!("the lease of {key}: another execution took it over"));
                return Ok(());
            }
            self.finish_or_undo(key, &left.build, &places).await?;
        }
        if !left.snapshots.is_empty() {
            self.delete_unpublished(left, &places).await?;
        }
        if left.lease.is_some() && self.leases.release(key, &left.build, false).await? {
            self.removed(left, &format!("the lease of {key}"));
        }
        Ok(())
    }

    /// Undoes what the build wrote, or labels it if the build wrote everywhere. The build's own
    /// manifests list the places to write to, because the cache document may have changed since.
    async fn finish_or_undo(&self, key: &LeaseKey, build: &BuildId, known: &[Place]) -> Result<()> {
        let names = ParameterNames::new(&self.settings.prefix, &key.cache, key.architecture);
        let written = at_once(known, async |place| {
            let ssm = self.clients.ssm(place).await?;
            Ok(Published::read(&ssm, &names).await?.manifest)
        });
        let written: Vec<_> = written.await.into_iter().collect::<Result<_>>()?;
        let mut manifests = written.iter().flatten().filter_map(|text| read_manifest(text));
        let Some(manifest) = manifests.find(|manifest| manifest.is_published_by(build)) else {
            return Ok(());
        };
        let replicas = &manifest.replicas;
        let regions: Vec<_> = replicas.iter().map(|replica| replica.region.clone()).collect();
        let ids: Vec<_> = replicas.iter().map(|replica| replica.snapshot_id.to_string()).collect();
        let places = places(&regions, &manifest.consumers);
        publication::finish_or_undo(self.clients, &names, build, &places, &ids).await
    }

    /// Deletes the execution's snapshots and replicas, unless something keeps them.
    async fn delete_unpublished(&mut self, left: &Leftovers, places: &[Place]) -> Result<()> {
        let inventory =
            read_inventory(self.clients, self.settings, &left.key.cache, places).await?;
        let is_mine =
            |s: &&FoundSnapshot| s.tags.execution.as_deref() == Some(left.execution.as_str());
        let mine: Vec<&FoundSnapshot> = inventory.snapshots.iter().filter(is_mine).collect();
        if let Some(why) = self.why_kept(left, &inventory, &mine, places).await? {
            tracing::info!(build = %left.build, execution = %left.execution, why, "kept");
            self.reaped.kept.push(format!("{}: {why}", left.build));
            return Ok(());
        }
        // Delete the home region's last: the next call looks there if this one dies.
        let home = self.settings.home.region.as_str();
        let (own, away): (Vec<_>, Vec<_>) =
            mine.into_iter().partition(|snapshot| snapshot.region == home);
        for snapshot in away.into_iter().chain(own) {
            let region = snapshot.region.parse().map_err(Error::InvalidRequest)?;
            delete_snapshot(&self.clients.own_ec2(&region), &snapshot.id).await?;
            self.removed(left, &format!("{} in {region}", snapshot.id));
        }
        Ok(())
    }

    /// Returns why the snapshots are kept: something names one of them, or might (S3). If a
    /// parameter names one, it was published. The call then marks it and leaves it to pruning.
    async fn why_kept(
        &self,
        left: &Leftovers,
        inventory: &Inventory,
        mine: &[&FoundSnapshot],
        places: &[Place],
    ) -> Result<Option<String>> {
        let ec2 = self.clients.own_ec2(&self.settings.home.region);
        let is_of_mine = |reference: &&Reference| mine.iter().any(|s| s.id == reference.snapshot);
        if let Some(reference) = inventory.references.iter().filter(is_of_mine).min() {
            if let NamedBy::Parameter { .. } = reference.by {
                for snapshot in &left.snapshots {
                    mark_published(&ec2, &snapshot.id).await?;
                }
            }
            return Ok(Some(format!("{} {reference}", reference.snapshot)));
        }
        if let Some(Unread { account, why, .. }) = inventory.unread.first() {
            return Ok(Some(format!(
                "the snapshots that account {account} names are unknown: {why}"
            )));
        }
        for snapshot in &left.snapshots {
            let shared = shared_with(&ec2, &snapshot.id).await?;
            if let Some(account) = shared.iter().find(|account| !is_known(places, account)) {
                let id = &snapshot.id;
                return Ok(Some(format!(
                    "{id} is shared with {account}, which is not a consumer of the cache"
                )));
            }
        }
        Ok(None)
    }

    fn removed(&mut self, left: &Leftovers, what: &str) {
        tracing::info!(build = %left.build, execution = %left.execution, what, "removed");
        self.reaped.removed.push(format!("{what} of {}", left.build));
    }
}

fn read_manifest(text: &str) -> Option<Manifest> {
    serde_json::from_str(text).ok()
}

fn is_known(places: &[Place], account: &str) -> bool {
    let mut consumers = places.iter().filter_map(|place| place.consumer.as_ref());
    consumers.any(|consumer| consumer.account.as_str() == account)
}
