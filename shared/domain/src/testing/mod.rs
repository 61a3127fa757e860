//! Samples and hostile texts for the tests of every crate.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "only tests use it"
)]

mod hostile;

use serde_json::{from_value, json};

use crate::build::{Build, Home, OsImage, PlannedImage};
use crate::manifest::{Manifest, Replica};
use crate::{Architecture, BuildId, Cache};

pub use hostile::{assert_harmless, assert_harmless_document, assert_sentence, nasty};

/// A build of one ECR image, for tests.
pub fn sample() -> Build {
    let document = r#"{"images": ["123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app:v1"],
        "architectures": ["x86_64"], "variant": "aws-k8s-1.35"}"#;
    let home =
        Home { account: "123456789012".parse().unwrap(), region: "us-east-1".parse().unwrap() };
    let cache = Cache::parse("default".parse().unwrap(), document).unwrap();
    let cache = cache.for_home(&home.account, &home.region).unwrap();
    let images = vec![PlannedImage {
        reference: "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app:v1".parse().unwrap(),
        digest: Some(format!("sha256:{}", "a".repeat(64)).parse().unwrap()),
        compressed_bytes: Some(1000),
        manifest: None,
        waits_for: None,
        shared_layer: None,
    }];
    let os = OsImage {
        variant: "aws-k8s-1.35".parse().unwrap(),
        image_id: "ami-0abc".parse().unwrap(),
        version: "1.57.0-abcdef01".parse().unwrap(),
    };
    let id = BuildId::derive(&cache.name, Architecture::X86_64, "execution-1");
    Build::new(id, &cache, Architecture::X86_64, &home, os, images, Some(1000))
}

/// The manifest of the sample in the home region: a full build, snapshot `snap-1`.
pub fn sample_manifest() -> Manifest {
    let build = sample();
    let pulled = from_value(json!({
        "containerd": "2.1.9",
        "kernel": "6.12.40",
        "images": [{"reference": build.images[0].reference, "digest": build.images[0].digest}],
        "usedBytes": 1000,
        "flushed": true,
        "ancestor": "none",
        "listing": build.images[0].digest,
    }));
    let replica = Replica {
        region: build.region.clone(),
        snapshot_id: "snap-1".parse().unwrap(),
        encrypted: false,
        kms_key_id: None,
    };
    Manifest::of_replicas(&build, 1, &pulled.unwrap(), &[replica]).remove(0)
}
