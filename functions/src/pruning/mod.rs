//! What `prune` and `reap` share: a cache's places, and what names its snapshots there.

pub mod inventory;

use frontload_aws::clients::Clients;
use frontload_aws::parameters;
use frontload_domain::{
    Architecture, Cache, CacheName, Error, Manifest, ParameterNames, Place, RegionName, Result,
};

use crate::planning::read_cache;
use crate::publication::{Published, places};
use crate::settings::Settings;

/// Both, even if the cache document has only one now. An architecture that was removed from it
/// still has snapshots and parameters.
pub const ARCHITECTURES: [Architecture; 2] = [Architecture::X86_64, Architecture::Arm64];

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
