//! Parameter Store: cache documents, publications, leases, public parameters.

use aws_sdk_ssm::Client;
use aws_sdk_ssm::error::ProvideErrorMetadata;
use aws_sdk_ssm::types::{ParameterTier, ParameterType};

use super::{call_error, incomplete_answer};
use crate::error::Result;

/// A version of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its text.
    pub value: String,
    /// Counts up from 1 with each write.
    pub version: i64,
}

/// The label on the version that is published.
pub const CURRENT: &str = "current";
/// The label on the version published before it.
pub const PREVIOUS: &str = "previous";
/// The label on the version that was [`PREVIOUS`] before the current one was published:
/// what the undo of a publication gives that label back to.
pub const SUPERSEDED: &str = "superseded";

const ABSENT: [&str; 2] = ["ParameterNotFound", "ParameterVersionNotFound"];

/// The newest version, or `None`.
///
/// # Errors
/// Those of [`super::call_error`].
pub async fn get(ssm: &Client, name: &str) -> Result<Option<Parameter>> {
    let operation = "ssm:GetParameter";
    let region = ssm.config().region();
    let resource = || format!("parameter {name}");
    match ssm.get_parameter().name(name).send().await {
        Ok(output) => {
            let parameter = output.parameter();
            let value = parameter.and_then(|p| p.value());
            let Some((parameter, value)) = parameter.zip(value) else {
                return Err(incomplete_answer(operation, resource(), region, "it has no value"));
            };
            Ok(Some(Parameter { value: value.to_owned(), version: parameter.version() }))
        }
        Err(error) if error.code().is_some_and(|code| ABSENT.contains(&code)) => Ok(None),
        Err(error) => Err(call_error(operation, resource(), region, &error)),
    }
}

/// The version that carries `label`, or `None`.
///
/// # Errors
/// Those of [`super::call_error`].
pub async fn get_labelled(ssm: &Client, name: &str, label: &str) -> Result<Option<Parameter>> {
    get(ssm, &format!("{name}:{label}")).await
}

/// Every parameter directly under `path`: pairs of full name and value.
///
/// # Errors
/// Those of [`super::call_error`].
pub async fn list(ssm: &Client, path: &str) -> Result<Vec<(String, String)>> {
    let region = ssm.config().region();
    let mut pages = ssm.get_parameters_by_path().path(path).into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| {
            call_error("ssm:GetParametersByPath", format!("path {path}"), region, &error)
        })?;
        for parameter in page.parameters() {
            if let (Some(name), Some(value)) = (parameter.name(), parameter.value()) {
                found.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    Ok(found)
}

/// Writes a new version and returns its number. Intelligent tiering: a manifest
/// above 4 KB becomes an advanced parameter, at most 8 KB (Parameter Store,
/// "Parameter tiers").
///
/// # Errors
/// Those of [`super::call_error`].
pub async fn put(ssm: &Client, name: &str, value: &str) -> Result<i64> {
    let output = ssm
        .put_parameter()
        .name(name)
        .value(value)
        .r#type(ParameterType::String)
        .tier(ParameterTier::IntelligentTiering)
        .overwrite(true)
        .send()
        .await
        .map_err(|error| {
            call_error(
                "ssm:PutParameter",
                format!("parameter {name}"),
                ssm.config().region(),
                &error,
            )
        })?;
    Ok(output.version())
}

/// Deletes a parameter; one that is gone already is no error.
///
/// # Errors
/// Those of [`super::call_error`].
pub async fn delete(ssm: &Client, name: &str) -> Result<()> {
    match ssm.delete_parameter().name(name).send().await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some("ParameterNotFound") => Ok(()),
        Err(error) => Err(call_error(
            "ssm:DeleteParameter",
            format!("parameter {name}"),
            ssm.config().region(),
            &error,
        )),
    }
}

/// Moves `label` to one version of a parameter.
///
/// # Errors
/// Those of [`super::call_error`].
pub async fn label(ssm: &Client, name: &str, version: i64, label: &str) -> Result<()> {
    ssm.label_parameter_version()
        .name(name)
        .parameter_version(version)
        .labels(label)
        .send()
        .await
        .map(drop)
        .map_err(|error| {
            call_error(
                "ssm:LabelParameterVersion",
                format!("parameter {name} version {version}"),
                ssm.config().region(),
                &error,
            )
        })
}
