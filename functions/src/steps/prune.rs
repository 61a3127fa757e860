//! `prune`: deletes the snapshots of a cache that nobody needs any more (S3).
//! `frontload_domain::prune` decides what to delete. This module reads the inventory and carries out
//! the decision.

use frontload_aws::clients::Clients;
use frontload_aws::parameters;
use frontload_aws::snapshots::{Deletion, try_delete_snapshot};
use frontload_domain::Place;
use frontload_domain::prune::{Decision, Mode, PruneRequest, decide};
use frontload_domain::step::Report;
use frontload_domain::{CacheName, ParameterNames};
use frontload_domain::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::pruning::inventory::read_inventory;
use crate::pruning::{ARCHITECTURES, all_places, find_cache};
use crate::settings::Settings;
use crate::warnings::sentences;

/// Payload of the function.
#[derive(Debug, Deserialize)]
pub struct Input {
    prune: ManualPrune,
}

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ManualPrune {
    cache: CacheName,
    #[serde(default)]
    dry_run: bool,
    /// Retires the cache: deletes its parameters and all its snapshots.
    #[serde(default)]
    retire: bool,
    /// The cache's name again. Without it, a retirement only shows what it would do.
    confirm: Option<CacheName>,
}

impl ManualPrune {
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

/// Reads the inventory, decides, and deletes.
pub async fn handle(context: &Context, input: Input) -> Result<Report<Pruned>> {
    let &Context { ref clients, ref settings, now, .. } = context;
    let manual = input.prune;
    let cache = find_cache(clients, settings, &manual.cache).await?;
    let places = all_places(clients, settings, &cache).await?;
    let inventory = read_inventory(clients, settings, &cache.name, &places).await?;
    let request = PruneRequest {
        stack: settings.stack.clone(),
        cache: cache.name.clone(),
        mode: if manual.retire {
            Mode::Retire
        } else {
            Mode::Prune { retain: usize::try_from(cache.retain.count).unwrap_or(usize::MAX) }
        },
        minimum_age_seconds: u64::try_from(cache.retain.minimum_age_days).unwrap_or(u64::MAX)
            * 86_400,
    };
    let decisions = decide(&inventory, &request, now);
    let mut refused = Vec::new();
    if manual.is_earnest() {
        if manual.retire && inventory.unread.is_empty() {
            delete_parameters(clients, settings, &cache.name, &places).await?;
        }
        refused = delete(clients, &decisions).await?;
    }
    let dry_run = !manual.is_earnest();
    let total = decisions.len();
    let unread = inventory.unread.iter().map(|unread| {
        format!("no snapshot is pruned, because an unreadable place may name one: {unread}")
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
