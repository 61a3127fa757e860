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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use aws_sdk_ssm::operation::delete_parameter::DeleteParameterOutput;
    use aws_sdk_ssm::operation::get_parameter::GetParameterOutput;
    use aws_sdk_ssm::operation::label_parameter_version::LabelParameterVersionOutput;
    use aws_sdk_ssm::operation::put_parameter::PutParameterOutput;
    use aws_smithy_mocks::{MockResponse, RuleMode, mock, mock_client};
    use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

    use super::*;
    use crate::builder::report::read_report;
    use crate::domain::Architecture;
    use crate::domain::build::tests::sample;

    /// Parameter Store as far as a publication needs it. Write number
    /// `fail_write` is refused.
    #[derive(Default)]
    struct Store {
        versions: BTreeMap<String, Vec<String>>,
        labels: BTreeMap<(String, String), i64>,
        writes: usize,
        fail_write: Option<usize>,
    }

    type Shared = Arc<Mutex<Store>>;

    impl Store {
        fn read(&self, name: &str) -> Option<(String, i64)> {
            let (plain, version) = match name.split_once(':') {
                Some((plain, label)) => {
                    (plain, *self.labels.get(&(plain.to_owned(), label.to_owned()))?)
                }
                None => (name, i64::try_from(self.versions.get(name)?.len()).unwrap()),
            };
            let index = usize::try_from(version - 1).unwrap();
            Some((self.versions.get(plain)?.get(index)?.clone(), version))
        }

        fn shown(&self) -> String {
            let newest = |(name, versions): (&String, &Vec<String>)| {
                let value = versions.last().unwrap();
                let cut = value.find("snap-").map_or(0, |at| at);
                format!("{}={}", name.rsplit('/').next().unwrap(), &value[cut..cut + 6])
            };
            self.versions.iter().map(newest).collect::<Vec<_>>().join(" ")
        }
    }

    fn refusal<O, E>(code: &str) -> MockResponse<O, E> {
        let body = format!(r#"{{"__type":"{code}","message":"planted"}}"#);
        MockResponse::Http(HttpResponse::new(400.try_into().unwrap(), body.into()))
    }

    fn client(store: &Shared) -> Client {
        let (get, put, del, mark) = (store.clone(), store.clone(), store.clone(), store.clone());
        let get = mock!(Client::get_parameter).then_compute_response(move |input| {
            let Some((value, version)) = get.lock().unwrap().read(input.name().unwrap()) else {
                return refusal("ParameterNotFound");
            };
            let parameter = aws_sdk_ssm::types::Parameter::builder().value(value).version(version);
            MockResponse::Output(GetParameterOutput::builder().parameter(parameter.build()).build())
        });
        let put = mock!(Client::put_parameter).then_compute_response(move |input| {
            let mut store = put.lock().unwrap();
            store.writes += 1;
            if store.fail_write == Some(store.writes) {
                return refusal("ParameterLimitExceeded");
            }
            let versions = store.versions.entry(input.name().unwrap().to_owned()).or_default();
            versions.push(input.value().unwrap().to_owned());
            MockResponse::Output(PutParameterOutput::builder().build())
        });
        let del = mock!(Client::delete_parameter).then_compute_response(move |input| {
            del.lock().unwrap().versions.remove(input.name().unwrap());
            MockResponse::Output(DeleteParameterOutput::builder().build())
        });
        let mark = mock!(Client::label_parameter_version).then_compute_response(move |input| {
            let key = (input.name().unwrap().to_owned(), input.labels()[0].clone());
            mark.lock().unwrap().labels.insert(key, input.parameter_version().unwrap());
            MockResponse::Output(LabelParameterVersionOutput::builder().build())
        });
        mock_client!(aws_sdk_ssm, RuleMode::MatchAny, [&get, &put, &del, &mark])
    }

    fn names() -> ParameterNames {
        let prefix = "/frontload".parse().unwrap();
        ParameterNames::new(&prefix, &"default".parse().unwrap(), Architecture::X86_64)
    }

    fn manifest(snapshot: &str) -> Manifest {
        let build = sample();
        let image = &build.images[0];
        let report = serde_json::json!({
            "outcome": "pulled", "containerd": "2.1.9", "flushed": true, "usedBytes": 1,
            "images": [{"reference": image.reference, "digest": image.digest}],
        });
        let pulled = read_report(&build, &report.to_string()).unwrap();
        Manifest::new(&build, &pulled, snapshot.parse().unwrap())
    }

    #[tokio::test]
    async fn publishing_writes_both_parameters_and_labels_them_current() {
        let store = Shared::default();
        publish(&client(&store), &names(), &manifest("snap-1")).await.unwrap();
        let store = store.lock().unwrap();
        assert_eq!(store.shown(), "manifest=snap-1 snapshot-id=snap-1");
        assert_eq!(store.read(&format!("{}:current", names().snapshot_id)).unwrap().0, "snap-1");
        assert!(store.read(&format!("{}:previous", names().snapshot_id)).is_none());
    }

    #[tokio::test]
    async fn publishing_the_next_keeps_the_last_as_previous() {
        let store = Shared::default();
        let ssm = client(&store);
        publish(&ssm, &names(), &manifest("snap-1")).await.unwrap();
        publish(&ssm, &names(), &manifest("snap-2")).await.unwrap();
        let store = store.lock().unwrap();
        assert_eq!(store.read(&format!("{}:current", names().snapshot_id)).unwrap().0, "snap-2");
        assert_eq!(store.read(&format!("{}:previous", names().snapshot_id)).unwrap().0, "snap-1");
    }

    #[tokio::test]
    async fn publishing_twice_writes_once() {
        let store = Shared::default();
        let ssm = client(&store);
        publish(&ssm, &names(), &manifest("snap-1")).await.unwrap();
        publish(&ssm, &names(), &manifest("snap-1")).await.unwrap();
        assert_eq!(store.lock().unwrap().writes, 2);
    }

    #[tokio::test]
    async fn a_write_that_fails_leaves_all_parameters_as_they_were() {
        for fail in [3, 4] {
            let store = Shared::default();
            let ssm = client(&store);
            publish(&ssm, &names(), &manifest("snap-1")).await.unwrap();
            store.lock().unwrap().fail_write = Some(fail);
            let error = publish(&ssm, &names(), &manifest("snap-2")).await.unwrap_err();
            assert_eq!(error.name(), "PublishFailed");
            assert!(
                error.to_string().ends_with("the parameters are as they were before"),
                "{error}"
            );
            assert_eq!(store.lock().unwrap().shown(), "manifest=snap-1 snapshot-id=snap-1");
        }
    }

    #[tokio::test]
    async fn a_first_publication_that_fails_leaves_no_parameter() {
        let store = Shared::default();
        store.lock().unwrap().fail_write = Some(2);
        publish(&client(&store), &names(), &manifest("snap-1")).await.unwrap_err();
        assert_eq!(store.lock().unwrap().shown(), "");
    }

    #[tokio::test]
    async fn half_a_publication_is_undone_and_a_whole_one_is_not() {
        let store = Shared::default();
        let ssm = client(&store);
        let build = sample().id;
        publish(&ssm, &names(), &manifest("snap-1")).await.unwrap();
        assert!(!undo_half(&ssm, &names(), &build).await.unwrap());
        let half = manifest_text(&manifest("snap-2"));
        parameters::put(&ssm, &names().manifest, &half).await.unwrap();
        assert!(undo_half(&ssm, &names(), &build).await.unwrap());
        assert_eq!(store.lock().unwrap().shown(), "manifest=snap-1 snapshot-id=snap-1");
    }
}
