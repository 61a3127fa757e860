//! Finds what builds left in the home region, by our tags, and the leases that are held. It reads
//! the leases of every cache that has a document or that left something. It does not check whether
//! any of it is still needed.

use std::collections::{BTreeMap, BTreeSet};

use frontload_aws::clients::{Clients, at_once};
use frontload_aws::instances::{Builder, State, find_stack_builders};
use frontload_aws::leases::Leases;
use frontload_aws::parameters;
use frontload_aws::snapshots::{LeftoverVolume, find_stack_leftover_volumes, find_stack_snapshots};
use frontload_domain::Result;
use frontload_domain::lease::{LeaseKey, LeaseState};
use frontload_domain::names::ExecutionArn;
use frontload_domain::snapshot::Snapshot;
use frontload_domain::tags;
use frontload_domain::{BuildId, CacheName};

use crate::pruning::ARCHITECTURES;
use crate::settings::Settings;

/// Resources of one execution of a build that are not marked as published.
#[derive(Debug)]
pub struct Leftovers {
    /// The build.
    pub build: BuildId,
    /// Its cache and architecture.
    pub key: LeaseKey,
    /// The execution that made them.
    pub execution: ExecutionArn,
    /// Its instances that are not terminated.
    pub builders: Vec<Builder>,
    /// Its volumes that are not attached to an instance.
    pub volumes: Vec<LeftoverVolume>,
    /// Its snapshots without the published tag. Replicas in other regions exist only as long as one
    /// of these does.
    pub snapshots: Vec<Snapshot>,
    /// The state of its lease, if it holds one.
    pub lease: Option<LeaseState>,
}

/// Everything that was found.
#[derive(Debug, Default)]
pub struct Found {
    /// By build, ordered by id.
    pub of_builds: Vec<Leftovers>,
    /// One message per resource that has our tags but no execution tag.
    pub unknown: Vec<String>,
}

/// Finds the instances, volumes, snapshots and leases of a stack.
///
/// # Errors
/// Those of the calls.
pub async fn find_leftovers(
    clients: &Clients,
    settings: &Settings,
    leases: &Leases,
) -> Result<Found> {
    let home = &settings.home.region;
    let mut found = Gathered::default();
    found.gather_resources(&clients.own_ec2(home), &settings.stack).await?;
    found.gather_leases(leases, list_caches(&clients.own_ssm(home), settings).await?).await?;
    Ok(Found {
        of_builds: found.by_maker.into_values().collect(),
        unknown: found.unknown.into_iter().collect(),
    })
}

/// The caches that have a document, valid or not.
async fn list_caches(ssm: &aws_sdk_ssm::Client, settings: &Settings) -> Result<Vec<CacheName>> {
    let documents = parameters::list(ssm, &settings.prefix.caches()).await?;
    let name = |(name, _): &(String, String)| name.rsplit('/').next()?.parse().ok();
    Ok(documents.iter().filter_map(name).collect())
}

/// The maker of a resource, according to its tags.
struct Maker {
    build: BuildId,
    key: LeaseKey,
    execution: ExecutionArn,
}

impl Maker {
    /// Returns `None` if a tag is missing, or has a value that our tags cannot have.
    fn read(tags: &BTreeMap<String, String>) -> Option<Self> {
        let tag = |key: &str| tags.get(key).map(String::as_str);
        let cache = tag(tags::CACHE)?.parse().ok()?;
        let architecture = tag(tags::ARCHITECTURE)?.parse().ok()?;
        Some(Self {
            build: tag(tags::BUILD)?.parse().ok()?,
            key: LeaseKey { cache, architecture },
            execution: tag(tags::EXECUTION)?.parse().ok()?,
        })
    }
}

/// Grouped by execution too: the input of a build can be started again by hand. When one execution
/// of a build is over, another one may run.
#[derive(Default)]
struct Gathered {
    by_maker: BTreeMap<(BuildId, ExecutionArn), Leftovers>,
    unknown: BTreeSet<String>,
}

impl Gathered {
    async fn gather_resources(&mut self, ec2: &aws_sdk_ec2::Client, stack: &str) -> Result<()> {
        for snapshot in find_stack_snapshots(ec2, stack).await? {
            if snapshot.tag(tags::PUBLISHED).is_none()
                && let Some(leftovers) = self.of(&snapshot.tags)
            {
                leftovers.snapshots.push(snapshot);
            }
        }
        for builder in find_stack_builders(ec2, stack).await? {
            if builder.state == State::Terminated {
                continue;
            }
            match self.of(&builder.tags) {
                Some(leftovers) => leftovers.builders.push(builder),
                None => self.note(&format!("instance {}", builder.id)),
            }
        }
        for volume in find_stack_leftover_volumes(ec2, stack).await? {
            match self.of(&volume.tags) {
                Some(leftovers) => leftovers.volumes.push(volume),
                None => self.note(&format!("volume {}", volume.id)),
            }
        }
        Ok(())
    }

    /// Reads the leases of these caches and of everything gathered so far.
    async fn gather_leases(&mut self, leases: &Leases, caches: Vec<CacheName>) -> Result<()> {
        let of_caches = caches
            .iter()
            .flat_map(|cache| ARCHITECTURES.map(|architecture| LeaseKey::new(cache, architecture)));
        let of_found = self.by_maker.values().map(|leftovers| leftovers.key.clone());
        let keys: BTreeSet<LeaseKey> = of_caches.chain(of_found).collect();
        let keys: Vec<LeaseKey> = keys.into_iter().collect();
        let states = at_once(&keys, |key| leases.read(key)).await;
        for (key, state) in keys.iter().zip(states) {
            let state = state?;
            let Some(holder) = &state.holder else { continue };
            match holder.execution.parse() {
                Ok(execution) => {
                    let (build, key) = (holder.build.clone(), key.clone());
                    self.entry(Maker { build, key, execution }).lease = Some(state);
                }
                Err(_) => self.note(&format!("the lease of {key}")),
            }
        }
        Ok(())
    }

    fn of(&mut self, tags: &BTreeMap<String, String>) -> Option<&mut Leftovers> {
        Maker::read(tags).map(|maker| self.entry(maker))
    }

    fn entry(&mut self, maker: Maker) -> &mut Leftovers {
        let Maker { build, key, execution } = maker;
        self.by_maker.entry((build.clone(), execution.clone())).or_insert_with(|| Leftovers {
            build,
            key,
            execution,
            builders: Vec::new(),
            volumes: Vec::new(),
            snapshots: Vec::new(),
            lease: None,
        })
    }

    fn note(&mut self, what: &str) {
        self.unknown.insert(format!("{what} has Frontload's tags but names no execution"));
    }
}
