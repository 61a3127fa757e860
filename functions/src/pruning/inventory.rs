//! Reads the inventory of a pruning: the cache's snapshots, and everything that may name one. What
//! cannot be read is recorded in the inventory and keeps every snapshot.

use crate::publication::Published;
use frontload_aws::clients::{Clients, at_once};
use frontload_aws::namers;
use frontload_aws::parameters::{CURRENT, PREVIOUS};
use frontload_aws::replicas::fast_restores;
use frontload_aws::snapshots::find_cache_snapshots;
use frontload_domain::Place;
use frontload_domain::prune::{
    FastRestoreState, FoundSnapshot, Inventory, NamedBy, ParameterVersion, Reference, Tags, Unread,
    Unreadable,
};
use frontload_domain::snapshot::{Snapshot, SnapshotId};
use frontload_domain::tags;
use frontload_domain::{CacheName, Manifest, ParameterNames};
use frontload_domain::{Error, Result};

use super::ARCHITECTURES;
use crate::settings::Settings;

/// Snapshots named by one kind of resource at one place.
type Found = Vec<(NamedBy, SnapshotId)>;

/// Reads everything at every place.
///
/// # Errors
/// Only those that a retry heals. Any other becomes part of the inventory.
pub async fn read_inventory(
    clients: &Clients,
    settings: &Settings,
    cache: &CacheName,
    places: &[Place],
) -> Result<Inventory> {
    let read = |place| read_place(clients, settings, cache, place);
    let mut inventory = Inventory::default();
    for part in at_once(places, read).await {
        let part = part?;
        inventory.snapshots.extend(part.snapshots);
        inventory.references.extend(part.references);
        inventory.unread.extend(part.unread);
    }
    Ok(inventory)
}

async fn read_place(
    clients: &Clients,
    settings: &Settings,
    cache: &CacheName,
    place: &Place,
) -> Result<Inventory> {
    let mut inventory = Inventory::default();
    let account = place.consumer.as_ref().map_or(&settings.home.account, |c| &c.account);
    let mut reader = Reader { inventory: &mut inventory, account: account.as_str(), place };
    let ec2 = match clients.ec2(place).await {
        Ok(ec2) => ec2,
        Err(error) => {
            reader.note(Unreadable::Everything, error)?;
            return Ok(inventory);
        }
    };
    if place.consumer.is_none() {
        match find_cache_snapshots(&ec2, &settings.stack, cache).await {
            Ok(found) => {
                let found = found.into_iter().map(|s| describe(place, s));
                reader.inventory.snapshots.extend(found);
            }
            Err(error) => reader.note(Unreadable::Snapshots, error)?,
        }
    }
    let named = parameters(clients, settings, cache, place).await;
    reader.take(Unreadable::Parameters, named)?;
    reader.take(Unreadable::LaunchTemplates, namers::in_launch_templates(&ec2).await)?;
    reader.take(Unreadable::Images, namers::in_images(&ec2).await)?;
    reader.take(Unreadable::FastRestores, restores(&ec2).await)?;
    Ok(inventory)
}

struct Reader<'a> {
    inventory: &'a mut Inventory,
    account: &'a str,
    place: &'a Place,
}

impl Reader<'_> {
    fn take(&mut self, what: Unreadable, found: Result<Found>) -> Result<()> {
        match found {
            Err(error) => self.note(what, error),
            Ok(found) => {
                let reference = |(by, snapshot)| Reference {
                    by,
                    account: self.account.to_owned(),
                    region: self.place.region.to_string(),
                    snapshot,
                };
                self.inventory.references.extend(found.into_iter().map(reference));
                Ok(())
            }
        }
    }

    fn note(&mut self, what: Unreadable, error: Error) -> Result<()> {
        if error.retryable() {
            return Err(error);
        }
        self.inventory.unread.push(Unread {
            account: self.account.to_owned(),
            region: Some(self.place.region.to_string()),
            what,
            why: error.chain(),
        });
        Ok(())
    }
}

fn describe(place: &Place, snapshot: Snapshot) -> FoundSnapshot {
    let tag = |key: &str| snapshot.tag(key).map(ToOwned::to_owned);
    FoundSnapshot {
        region: place.region.to_string(),
        started: (snapshot.started != 0).then_some(snapshot.started),
        tags: Tags {
            stack: tag(tags::STACK),
            cache: tag(tags::CACHE),
            architecture: tag(tags::ARCHITECTURE),
            build: tag(tags::BUILD),
            execution: tag(tags::EXECUTION),
            source: tag(tags::SOURCE),
        },
        id: snapshot.id,
        state: snapshot.state,
    }
}

/// Returns the snapshots that the cache's parameters name in their newest and labelled values.
async fn parameters(
    clients: &Clients,
    settings: &Settings,
    cache: &CacheName,
    place: &Place,
) -> Result<Found> {
    let ssm = clients.ssm(place).await?;
    let mut found = Vec::new();
    for architecture in ARCHITECTURES {
        let names = ParameterNames::new(&settings.prefix, cache, architecture);
        for (version, published) in [
            (ParameterVersion::Newest, Published::read(&ssm, &names).await?),
            (ParameterVersion::Current, Published::read_labelled(&ssm, &names, CURRENT).await?),
            (ParameterVersion::Previous, Published::read_labelled(&ssm, &names, PREVIOUS).await?),
        ] {
            let manifest = published.manifest.as_ref();
            let manifest = manifest.and_then(|text| serde_json::from_str::<Manifest>(text).ok());
            let from_manifest = manifest.map(|manifest| manifest.snapshot_id);
            let from_id = published.snapshot_id.and_then(|id| id.parse().ok());
            for snapshot in from_id.into_iter().chain(from_manifest) {
                let parameter = names.snapshot_id.clone();
                let by = NamedBy::Parameter { version, cache: cache.clone(), parameter };
                found.push((by, snapshot));
            }
        }
    }
    Ok(found)
}

async fn restores(ec2: &aws_sdk_ec2::Client) -> Result<Found> {
    let found = fast_restores(ec2, None).await?.into_iter().map(|restore| {
        let state =
            if restore.enabled { FastRestoreState::Enabled } else { FastRestoreState::Enabling };
        (NamedBy::FastRestore { zone: restore.zone, state }, restore.snapshot)
    });
    Ok(found.collect())
}
