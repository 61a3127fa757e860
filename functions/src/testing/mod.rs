//! What the steps' tests and the simulation share: the recorded build, settings, and a cache.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "only tests use it"
)]

use std::sync::Arc;

use frontload_aws::testing::{FakeCloud, OWN};
use frontload_domain::{Build, Home};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::context::Context;
use crate::planning::documents::Documents;
use crate::settings::Settings;

#[cfg(test)]
mod ec2;
#[cfg(test)]
pub use ec2::{ec2_error, instances, instances_whose_volume, interrupted};

/// `tests/events/build.json`.
pub fn build_document() -> Value {
    serde_json::from_str(include_str!("../../../tests/events/build.json")).unwrap()
}

/// The recorded build.
pub fn build() -> Build {
    serde_json::from_value(build_document()).unwrap()
}

/// The payload of a step: the recorded build with `more` beside it.
pub fn input<I: DeserializeOwned>(more: &Value) -> I {
    let mut payload = json!({"build": build_document(), "waitedSeconds": 0});
    let more = more.as_object().cloned().unwrap_or_default();
    payload.as_object_mut().unwrap().extend(more);
    serde_json::from_value(payload).unwrap()
}

/// The request that the recorded build serves.
pub fn request() -> Value {
    json!({
        "id": build_document()["id"],
        "cache": "default",
        "architecture": "x86_64",
        "force": false,
        "debounce": {"quietSeconds": 60, "limitSeconds": 600},
        "claimSeconds": 14400
    })
}

/// What the builder's script prints for the recorded build.
pub fn printed() -> Value {
    let mut report = pulled();
    let digest = report["images"][0]["digest"].take();
    let fields = report.as_object_mut().unwrap();
    fields.remove("images");
    fields.insert("digests".to_owned(), json!([digest]));
    fields.insert("outcome".to_owned(), json!("pulled"));
    report
}

/// What the pull step reports for the recorded build.
pub fn pulled() -> Value {
    let image = &build_document()["images"][0];
    json!({
        "containerd": "2.1.9",
        "kernel": "6.12.40",
        "images": [{"reference": image["reference"], "digest": image["digest"]}],
        "usedBytes": 1,
        "flushed": true,
        "ancestor": "none",
        "listing": DIGEST_A
    })
}

/// Settings of a stack named `frontload`.
pub fn settings() -> Settings {
    Settings {
        handler: String::new(),
        stack: "frontload".to_owned(),
        prefix: "/frontload".parse().unwrap(),
        lease_table: "leases".to_owned(),
        event_bus: "default".to_owned(),
        builder_profile: "builder".to_owned(),
        home: Home {
            account: "123456789012".parse().unwrap(),
            region: "us-east-1".parse().unwrap(),
        },
    }
}

/// A call at `now` epoch seconds of a function of the stack `frontload`, against this cloud.
pub fn context(cloud: &FakeCloud, now: i64) -> Context {
    let (clients, documents) = (cloud.clients(), Arc::new(Documents::default()));
    Context { clients, settings: settings(), documents, now }
}

/// A step's report as the state machine sees it.
pub fn shown<T: serde::Serialize>(report: &T) -> Value {
    serde_json::to_value(report).unwrap()
}

/// Digests of two images.
pub const DIGEST_A: &str =
    "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// See [`DIGEST_A`].
pub const DIGEST_B: &str =
    "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// The registry of our own account at home.
pub const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

/// Puts a cache document with image `team/app:v1`, changed by `more`, and everything that planning
/// looks up.
pub fn put_cache(cloud: &FakeCloud, name: &str, more: &Value) {
    let mut document = json!({
        "images": [format!("{HOST}/team/app:v1")],
        "architectures": ["x86_64"],
        "variant": "aws-k8s-1.35",
    });
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut world = cloud.world();
    world.put(&format!("/frontload/caches/{name}"), &document.to_string());
    for architecture in ["x86_64", "arm64"] {
        let latest = format!("/aws/service/bottlerocket/aws-k8s-1.35/{architecture}/latest");
        if world.read(OWN, "us-east-1", &format!("{latest}/image_id")).is_none() {
            world.put(&format!("{latest}/image_id"), "ami-0abc");
            world.put(&format!("{latest}/image_version"), "1.57.0-abcdef01");
        }
    }
    if world.registry.digest("team/app", "v1").is_none() {
        world.registry.push("team/app", "v1", DIGEST_A);
    }
}
