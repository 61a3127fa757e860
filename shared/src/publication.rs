//! A publication: the two parameters of one cache and architecture, changed
//! together or not at all.
//!
//! The manifest is written first and the snapshot id last: what nodes read
//! changes when everything else is in place. A write that fails puts back what
//! was written before it.

use aws_sdk_ssm::Client;

use crate::aws::parameters::{self, CURRENT, PREVIOUS};
use crate::domain::{BuildId, Manifest, ParameterNames};
use crate::error::{Error, Result};

/// A parameter that is to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its full name.
    pub parameter: String,
    /// Its newest value now; `None` when it does not exist.
    pub from: Option<String>,
    /// What it is to be.
    pub to: String,
}

impl Change {
    /// The change of one parameter, or `None` when it has the value already.
    #[must_use]
    pub fn plan(parameter: &str, from: Option<String>, to: String) -> Option<Self> {
        let change = Self { parameter: parameter.to_owned(), from, to };
        (change.from.as_ref() != Some(&change.to)).then_some(change)
    }
}

/// What is published now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Value of the snapshot-id parameter.
    pub snapshot_id: Option<String>,
    /// Value of the manifest parameter.
    pub manifest: Option<String>,
}

impl Published {
    /// Reads both parameters.
    ///
    /// # Errors
    /// Those of the calls.
    pub async fn read(ssm: &Client, names: &ParameterNames) -> Result<Self> {
        let snapshot_id = parameters::get(ssm, &names.snapshot_id).await?;
        let manifest = parameters::get(ssm, &names.manifest).await?;
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
}

/// Publishes a manifest and its snapshot id: writes what differs, labels, reads
/// back. Doing it again changes nothing.
///
/// # Errors
/// [`Error::PublishFailed`] when a write fails, with the parameters put back;
/// [`Error::AwsUnavailable`] when the same call may succeed later.
pub async fn publish(ssm: &Client, names: &ParameterNames, manifest: &Manifest) -> Result<()> {
    let text = manifest_text(manifest);
    let now = Published::read(ssm, names).await?;
    let changes: Vec<Change> = [
        Change::plan(&names.manifest, now.manifest, text.clone()),
        Change::plan(&names.snapshot_id, now.snapshot_id, manifest.snapshot_id.to_string()),
    ]
    .into_iter()
    .flatten()
    .collect();
    write_all(ssm, &manifest.build, &changes).await?;
    for parameter in [&names.manifest, &names.snapshot_id] {
        move_labels(ssm, parameter).await?;
    }
    let wanted = [(&names.manifest, text), (&names.snapshot_id, manifest.snapshot_id.to_string())];
    for (parameter, value) in wanted {
        let current = parameters::get_labelled(ssm, parameter, CURRENT).await?;
        if current.as_ref().map(|current| &current.value) != Some(&value) {
            return Err(Error::PublishRefused {
                build: manifest.build.clone(),
                reason: format!("{parameter} reads back otherwise than written"),
            });
        }
    }
    Ok(())
}

/// The manifest as it is stored.
#[must_use]
pub fn manifest_text(manifest: &Manifest) -> String {
    // A struct of strings and numbers cannot fail to serialize.
    serde_json::to_string(manifest).unwrap_or_default()
}

async fn write_all(ssm: &Client, build: &BuildId, changes: &[Change]) -> Result<()> {
    for (done, change) in changes.iter().enumerate() {
        let Err(error) = parameters::put(ssm, &change.parameter, &change.to).await else {
            continue;
        };
        // The failed write may have had its effect: it is put back as well.
        let mut left = Vec::new();
        for written in changes[..=done].iter().rev() {
            if let Err(error) = put_back(ssm, &written.parameter, written.from.as_deref()).await {
                left.push(error.to_string());
            }
        }
        if error.retryable() {
            return Err(error);
        }
        let state = if left.is_empty() {
            "as they were before".to_owned()
        } else {
            format!("not put back: {}", left.join("; "))
        };
        return Err(Error::PublishFailed {
            build: build.clone(),
            parameter: change.parameter.clone(),
            reason: error.to_string(),
            state,
        });
    }
    Ok(())
}

async fn put_back(ssm: &Client, parameter: &str, value: Option<&str>) -> Result<()> {
    match value {
        Some(value) => parameters::put(ssm, parameter, value).await.map(drop),
        None => parameters::delete(ssm, parameter).await,
    }
}

/// Labels the newest version `current` and the version that was current before
/// it `previous`.
async fn move_labels(ssm: &Client, name: &str) -> Result<()> {
    let Some(newest) = parameters::get(ssm, name).await? else { return Ok(()) };
    let current = parameters::get_labelled(ssm, name, CURRENT).await?;
    match current {
        Some(current) if current.version == newest.version => return Ok(()),
        Some(current) => parameters::label(ssm, name, current.version, PREVIOUS).await?,
        None => {}
    }
    parameters::label(ssm, name, newest.version, CURRENT).await
}

/// Puts the manifest back when `build` wrote it but never published its
/// snapshot: the undo of a publication that died half-way. Returns whether there
/// was anything to undo.
///
/// # Errors
/// Those of the calls.
pub async fn undo_half(ssm: &Client, names: &ParameterNames, build: &BuildId) -> Result<bool> {
    let now = Published::read(ssm, names).await?;
    let written: Option<Manifest> =
        now.manifest.as_ref().and_then(|text| serde_json::from_str(text).ok());
    let half = written.is_some_and(|manifest| {
        manifest.build == *build
            && now.snapshot_id.as_deref() != Some(manifest.snapshot_id.as_str())
    });
    if half {
        let current = parameters::get_labelled(ssm, &names.manifest, CURRENT).await?;
        put_back(ssm, &names.manifest, current.as_ref().map(|c| c.value.as_str())).await?;
    }
    Ok(half)
}
