//! `rollback`: moves a publication back to its previous manifest in every region
//! and account. Running it twice goes forward again. It deletes nothing.

use frontload_shared::aws::clients::{Clients, Place};
use frontload_shared::aws::parameters::{self, CURRENT, PREVIOUS};
use frontload_shared::aws::replicas::shared_with;
use frontload_shared::aws::snapshots::{State, find_snapshot};
use frontload_shared::domain::{Architecture, BuildId, CacheName, Manifest, ParameterNames};
use frontload_shared::publication::{self, Published, Target, places};
use frontload_shared::step::{Report, Waited};
use frontload_shared::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::claim::{Lease, take};
use crate::publish::{Publications, announce, list};
use crate::settings::Settings;

/// Payload of the function.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    rollback: Request,
    execution_id: String,
    waited_seconds: Waited,
}

/// What a person asks for.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Request {
    cache: CacheName,
    architecture: Architecture,
}

/// How long a running build is waited for.
const LIMIT_SECONDS: u32 = 3600;

/// Takes the lease, so that no build publishes meanwhile, and goes back.
pub async fn handle(
    clients: &Clients,
    sfn: &aws_sdk_sfn::Client,
    settings: &Settings,
    input: Input,
) -> Result<Report<Publications>> {
    let Request { cache, architecture } = &input.rollback;
    let names = ParameterNames::new(&settings.prefix, cache, *architecture);
    let build = BuildId::derive(cache, *architecture, &input.execution_id);
    let ssm = clients.own_ssm(&settings.home.region);
    let lease = Lease { build: build.clone(), execution_id: input.execution_id };
    if let Some(holder) = take(&ssm, sfn, &names.lease, &lease).await? {
        if input.waited_seconds.is_past(LIMIT_SECONDS) {
            let seconds = input.waited_seconds.0;
            return Err(Error::BuildInProgress { build, holder, seconds });
        }
        return Ok(Report::wait(10, format!("waiting for {holder}")));
    }
    let result = roll_back(clients, settings, &input.rollback, &names, &build).await;
    // A call that is to be repeated keeps the lease.
    if !result.as_ref().is_err_and(Error::retryable) {
        parameters::delete(&ssm, &names.lease).await?;
    }
    result.map(Report::Ready)
}

async fn roll_back(
    clients: &Clients,
    settings: &Settings,
    request: &Request,
    names: &ParameterNames,
    id: &BuildId,
) -> Result<Publications> {
    let refuse = |reason: String| Error::NothingToRollBack {
        cache: request.cache.to_string(),
        architecture: request.architecture.to_string(),
        reason,
    };
    let home = clients.own_ssm(&settings.home.region);
    let current = Published::read_labelled(&home, names, CURRENT).await?.manifest();
    let Some(current) = current else { return Err(refuse("nothing is published".to_owned())) };
    let regions: Vec<_> = current.replicas.iter().map(|replica| replica.region.clone()).collect();
    let mut targets = Vec::new();
    let mut manifests: Vec<Manifest> = Vec::new();
    for place in places(&regions, &current.consumers) {
        let ssm = clients.ssm(&place).await?;
        let previous = Published::read_labelled(&ssm, names, PREVIOUS).await?;
        let Some(manifest) = previous.manifest() else {
            let account = place.consumer.as_ref().map_or("the own account", |c| c.account.as_str());
            return Err(refuse(format!("{account} has no previous value in {}", place.region)));
        };
        targets.push(Target {
            place,
            manifest: previous.manifest.unwrap_or_default(),
            snapshot_id: manifest.snapshot_id.to_string(),
        });
        manifests.push(manifest);
    }
    for (target, manifest) in targets.iter().zip(&manifests) {
        check_usable(clients, &target.place, manifest).await?.map_or(Ok(()), |r| Err(refuse(r)))?;
    }
    publication::publish(clients, names, id, &targets).await?;
    let own = targets.iter().zip(manifests).filter(|(target, _)| target.place.consumer.is_none());
    let own: Vec<Manifest> = own
        .map(|(_, manifest)| Manifest { consumers: current.consumers.clone(), ..manifest })
        .collect();
    announce(clients, settings, names, &own).await?;
    Ok(Publications { publications: list(settings, names, &own) })
}

/// S1 for what is gone back to: completed, and shared with the place's account.
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
