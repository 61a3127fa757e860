//! `prune`: deletes the snapshots of a cache that nobody needs any more (S3).
//! `frontload_shared::prune` decides what to delete. This module reads the world and carries out
//! the decision.

pub(crate) mod read;

use frontload_shared::aws::clients::{Clients, Place};
use frontload_shared::aws::parameters;
use frontload_shared::aws::snapshots::{Deletion, try_delete_snapshot};
use frontload_shared::domain::{
    Architecture, Cache, CacheName, Manifest, ParameterNames, RegionName,
};
use frontload_shared::prune::{Decision, Mode, Request, decide};
use frontload_shared::publication::{Published, places};
use frontload_shared::step::Report;
use frontload_shared::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::plan::read_cache;
use crate::settings::{Settings, epoch_seconds};
use crate::warnings::sentences;

/// Payload of the function.
#[derive(Debug, Deserialize)]
pub struct Input {
    prune: Order,
}

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Order {
    cache: CacheName,
    #[serde(default)]
    dry_run: bool,
    /// Retires the cache: deletes its parameters and all its snapshots.
    #[serde(default)]
    retire: bool,
    /// The cache's name again. Without it, a retirement only shows what it would do.
    confirm: Option<CacheName>,
}

impl Order {
    /// Whether anything is deleted.
    fn is_earnest(&self) -> bool {
        !self.dry_run && (!self.retire || self.confirm.as_ref() == Some(&self.cache))
    }
}

/// The outcome for each snapshot.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pruned {
    dry_run: bool,
    /// How many snapshots were judged.
    total: usize,
    decisions: Vec<Decision>,
    /// Snapshots that EC2 would not delete, and why.
    refused: Vec<String>,
    /// What could not be read, one sentence per item. Each keeps every snapshot.
    warnings: Vec<String>,
}

/// Both, even if the cache document has only one now. An architecture that was removed from it
/// still has snapshots and parameters.
pub const ARCHITECTURES: [Architecture; 2] = [Architecture::X86_64, Architecture::Arm64];

/// Reads the world, decides, and deletes.
pub async fn handle(
    clients: &Clients,
    settings: &Settings,
    input: Input,
) -> Result<Report<Pruned>> {
    let order = input.prune;
    let cache = find_cache(clients, settings, &order.cache).await?;
    let places = all_places(clients, settings, &cache).await?;
    let world = read::world(clients, settings, &cache.name, &places).await?;
    let request = Request {
        stack: settings.stack.clone(),
        cache: cache.name.clone(),
        mode: if order.retire {
            Mode::Retire
        } else {
            Mode::Prune { retain: usize::try_from(cache.retain.count).unwrap_or(usize::MAX) }
        },
        minimum_age_seconds: u64::try_from(cache.retain.minimum_age_days).unwrap_or(u64::MAX)
            * 86_400,
    };
    let decisions = decide(&world, &request, epoch_seconds());
    let mut refused = Vec::new();
    if order.is_earnest() {
        if order.retire && world.unread.is_empty() {
            delete_parameters(clients, settings, &cache.name, &places).await?;
        }
        refused = delete(clients, &decisions).await?;
    }
    let dry_run = !order.is_earnest();
    let total = decisions.len();
    let unread = world.unread.iter().map(|unread| {
        format!("no snapshot is pruned, as one may be named by what cannot be read: {unread}")
    });
    let warnings = sentences(&unread.collect::<Vec<_>>());
    let decisions = shorten(decisions);
    Ok(Report::Ready(Pruned { dry_run, total, decisions, refused, warnings }))
}

/// A report must fit into a state's 256 KiB (Step Functions quotas). Deletions come first. The log
/// has all decisions.
const MAX_DECISIONS: usize = 300;

fn shorten(mut decisions: Vec<Decision>) -> Vec<Decision> {
    if decisions.len() > MAX_DECISIONS {
        for decision in &decisions {
            let text = serde_json::to_string(decision).unwrap_or_default();
            tracing::info!(decision = text, "prune decides");
        }
        decisions.sort_by_key(|decision| !decision.deletes());
        decisions.truncate(MAX_DECISIONS);
    }
    decisions
}

/// Reads the cache's document.
///
/// # Errors
/// [`Error::PruneRefused`] if there is no document, [`Error::InvalidCache`], those of the calls.
pub async fn find_cache(clients: &Clients, settings: &Settings, name: &CacheName) -> Result<Cache> {
    let ssm = clients.own_ssm(&settings.home.region);
    let parameter = settings.prefix.cache(name);
    match parameters::get(&ssm, &parameter).await? {
        Some(document) => read_cache(settings, name.clone(), &document.value),
        None => Err(Error::PruneRefused {
            cache: name.to_string(),
            reason: format!("{parameter} does not exist, so its regions and consumers are unknown"),
        }),
    }
}

/// Returns the places that may have snapshots or references to them: those in the cache document,
/// and those in the published manifests, which record earlier documents.
///
/// # Errors
/// Those of the calls.
pub async fn all_places(
    clients: &Clients,
    settings: &Settings,
    cache: &Cache,
) -> Result<Vec<Place>> {
    let mut regions: Vec<RegionName> = cache.regions.iter().map(|r| r.region.clone()).collect();
    let mut consumers = cache.consumers.clone();
    let ssm = clients.own_ssm(&settings.home.region);
    for architecture in ARCHITECTURES {
        let names = ParameterNames::new(&settings.prefix, &cache.name, architecture);
        for label in [parameters::CURRENT, parameters::PREVIOUS] {
            let published = Published::read_labelled(&ssm, &names, label).await?;
            let manifest = published.manifest.as_ref().and_then(|m| serde_json::from_str(m).ok());
            let Some(manifest): Option<Manifest> = manifest else { continue };
            regions.extend(manifest.replicas.into_iter().map(|replica| replica.region));
            consumers.extend(manifest.consumers);
        }
    }
    regions.sort();
    regions.dedup();
    consumers.sort();
    consumers.dedup_by(|a, b| a.account == b.account);
    Ok(places(&regions, &consumers))
}

/// Carries out the deletions. EC2 may refuse one because something uses the snapshot after all.
/// That is reported and is not a failure.
async fn delete(clients: &Clients, decisions: &[Decision]) -> Result<Vec<String>> {
    let mut refused = Vec::new();
    for decision in decisions.iter().filter(|decision| decision.deletes()) {
        let region = decision.region.parse().map_err(Error::InvalidRequest)?;
        let ec2 = clients.own_ec2(&region);
        if let Deletion::InUse(reason) = try_delete_snapshot(&ec2, &decision.snapshot).await? {
            refused.push(format!("{} in {region}: {reason}", decision.snapshot));
        }
    }
    Ok(refused)
}

async fn delete_parameters(
    clients: &Clients,
    settings: &Settings,
    cache: &CacheName,
    places: &[Place],
) -> Result<()> {
    for place in places {
        let ssm = clients.ssm(place).await?;
        for architecture in ARCHITECTURES {
            let names = ParameterNames::new(&settings.prefix, cache, architecture);
            parameters::delete(&ssm, &names.snapshot_id).await?;
            parameters::delete(&ssm, &names.manifest).await?;
        }
    }
    Ok(())
}
