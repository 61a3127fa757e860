//! What follows any publication: its report, the events, and the end of superseded fast restores.

use frontload_aws::clients::{Clients, at_once};
use frontload_aws::events::put_published;
use frontload_aws::replicas::{disable_fast_restore, fast_restores};
use frontload_aws::snapshots::find_cache_snapshots;
use frontload_domain::snapshot::SnapshotId;
use frontload_domain::step::{Report, Waited};
use frontload_domain::tags;
use frontload_domain::{
    AccountId, Architecture, CacheName, Error, Manifest, ParameterNames, Place, RegionName, Result,
};
use serde::Serialize;

use crate::settings::Settings;
use crate::warnings::sentences;

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
            Report::wait(AGAIN_SECONDS, format!("the build is published, but {}", error.chain()))
        }
        _ => Report::Ready(Publications {
            publications,
            warnings: sentences(&failed.iter().map(Error::chain).collect::<Vec<_>>()),
        }),
    }
}

/// The actions after any publication: sends the events and disables superseded fast restores.
/// Returns the errors; no error stops the other actions.
pub async fn follow_up(
    clients: &Clients,
    settings: &Settings,
    names: &ParameterNames,
    manifests: &[Manifest],
) -> Vec<Error> {
    let announced = announce(clients, settings, names, manifests).await;
    let ended = at_once(manifests, |manifest| end_fast_restore(clients, settings, manifest)).await;
    announced.into_iter().chain(ended).filter_map(Result::err).collect()
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
    use frontload_domain::{AwsAnswer, AwsCall};

    use super::*;

    fn failed(error: fn(AwsCall) -> Error) -> Error {
        let operation = "events:PutEvents";
        let answer = AwsAnswer { code: None, message: "no".to_owned() };
        error(AwsCall { operation, resource: "bus b".into(), region: "r".into(), answer })
    }

    #[test]
    fn failures_after_a_publication_are_retried_and_then_reported() {
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
}
