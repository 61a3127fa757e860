//! Tests of cache documents, builders' reports and manifests that are read back.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json, to_value};

use super::corpus;
use frontload_builder::report::read_report;
use frontload_domain::cache::InvalidCache;
use frontload_domain::pull_order::{Layer, distinct_bytes, total_bytes};
use frontload_domain::pulled::{ContainerdVersion, PulledImages};
use frontload_domain::snapshot::{Snapshot, State};
use frontload_domain::testing::{assert_harmless_document, assert_sentence, nasty};
use frontload_domain::testing::{sample, sample_manifest};
use frontload_domain::{
    Architecture, Build, BuildId, Cache, Home, Incremental, Manifest, PlannedImage, Selection,
    ancestor, volume,
};
use frontload_functions::publication::Published;

use super::input::{changed, config, torn};

const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// A cache document with every field.
fn document() -> Value {
    json!({
        "images": [
            format!("{HOST}/team/app:v1"),
            {"repository": format!("{HOST}/team/tool"), "versions": ">=1.2, <2", "newest": 3,
             "by": "version", "required": true},
            {"repository": format!("{HOST}/team/tool"), "tags": "v*"},
            "ghcr.io/team/app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        ],
        "watch": ["team/*:v*"],
        "sourceAccounts": ["210987654321"],
        "debounce": {"quietSeconds": 60, "limitSeconds": 600},
        "osUpdates": {"days": ["saturday"], "startHour": 2, "hours": 4},
        "architectures": ["x86_64", "arm64"],
        "variant": "aws-k8s-1.35",
        "builder": {"instanceTypes": ["m6i.large"], "subnetIds": ["subnet-0abc"],
            "securityGroupIds": ["sg-0abc"], "volumeGib": "auto", "snapshotter": "overlayfs",
            "publicIp": false},
        "incremental": {"maxLinks": 20, "maxWastePercent": 50},
        "timeLimits": {"pullSeconds": 3600},
        "regions": [{"region": "us-east-1", "kmsKeyId": KEY, "fsrZones": ["us-east-1a"]},
            {"region": "eu-west-1"}],
        "consumers": [{"account": "210987654321", "role": "consumer", "eventBus": "default"}],
        "retain": {"count": 3, "minimumAgeDays": 7},
        "copyMinutes": 15
    })
}

fn read_cache(text: &str) -> Result<Cache, InvalidCache> {
    let Home { account, region } = home();
    Cache::parse("default".parse().unwrap(), text)
        .and_then(|cache| cache.for_home(&account, &region))
}

fn home() -> Home {
    Home { account: "123456789012".parse().unwrap(), region: "us-east-1".parse().unwrap() }
}

/// Checks that the debug output of a cache has no punctuation but our own.
fn assert_harmless_cache(cache: &Cache) {
    let shown = format!("{cache:?}");
    let is_harmless = |c: char| c.is_ascii_alphanumeric() || " ._-/:@+=,~^*?<>{}[]()\"".contains(c);
    assert!(shown.chars().all(is_harmless), "{shown}");
}

/// A build of the cache, as if each rule had found a tag of the maximum length.
fn build_of(cache: &Cache) -> Build {
    let tag = "T".repeat(128).parse().unwrap();
    let reference = |selection: &Selection| match selection {
        Selection::Fixed(reference) => reference.clone(),
        Selection::Rule(rule) => rule.repository().at_tag(&tag),
    };
    let planned = |selection| PlannedImage {
        reference: reference(selection),
        digest: None,
        compressed_bytes: None,
        manifest: None,
        waits_for: None,
        shared_layer: None,
    };
    let images = cache.images.iter().map(planned).collect();
    let id = BuildId::derive(&cache.name, Architecture::Arm64, "execution");
    Build::new(id, cache, Architecture::Arm64, &home(), sample().os, images, None)
}

/// Checks the result of parsing a document. Returns whether it was accepted.
fn check_cache(text: &str) -> bool {
    match read_cache(text) {
        Ok(cache) => {
            assert_harmless_cache(&cache);
            let build = build_of(&cache);
            let document = to_value(&build).unwrap();
            assert_harmless_document(&document);
            assert_eq!(serde_json::from_value::<Build>(document).unwrap(), build);
            true
        }
        Err(problem) => {
            assert_sentence(&problem.to_string());
            false
        }
    }
}

fn pulled() -> Value {
    let digest = to_value(&sample().images[0].digest).unwrap();
    json!({"outcome": "pulled", "containerd": "2.1.9+bottlerocket", "usedBytes": 1000,
        "kernel": "6.12.40", "digests": [digest], "flushed": true, "ancestor": "none", "listing": digest})
}

fn failed() -> Value {
    json!({"outcome": "failed", "step": "pull", "image": "r",
        "reason": "failed to resolve reference: 401 Unauthorized"})
}

/// Checks the result of parsing a report. Returns whether it reports success.
fn check_report(text: &str) -> bool {
    match read_report(&sample(), text) {
        Ok(pulled) => {
            let document = to_value(&pulled).unwrap();
            assert_harmless_document(&document);
            assert_eq!(serde_json::from_value::<PulledImages>(document).unwrap(), pulled);
            true
        }
        Err(error) => {
            assert_sentence(&error.to_string());
            false
        }
    }
}

fn manifest() -> Value {
    let mut manifest: Value = serde_json::from_str(&sample_manifest().text()).unwrap();
    for (field, value) in [
        ("kmsKeyId", json!(KEY)),
        ("rollback", json!("rollback-1")),
        ("downloadBytes", json!(1000)),
        ("ancestor", json!("snap-0")),
        ("consumers", json!([{"account": "210987654321"}])),
        ("fsrZones", json!(["us-east-1a"])),
        (
            "durations",
            json!({"claim": 1, "preflight": 2, "launch": 3, "pull": 4, "snapshot": 5,
            "replicate": 6, "total": 21}),
        ),
    ] {
        manifest[field] = value;
    }
    manifest
}

/// Checks a manifest, also as the ancestor of the next build. Returns whether it was accepted.
fn check_manifest(text: &str) -> bool {
    let published =
        Published { snapshot_id: Some("snap-1".to_owned()), manifest: Some(text.to_owned()) };
    let Some(manifest) = published.manifest() else { return false };
    let document = to_value(&manifest).unwrap();
    assert_harmless_document(&document);
    assert_eq!(serde_json::from_value::<Manifest>(document).unwrap(), manifest);
    assert_eq!(serde_json::from_str::<Manifest>(&manifest.text()).unwrap(), manifest);
    let stored = [None, Some(0), Some(u64::MAX)];
    for full_bytes in stored {
        let snapshot = Snapshot {
            id: manifest.snapshot_id.clone(),
            state: State::Completed,
            started: 0,
            encrypted: manifest.encrypted,
            kms_key_id: manifest.kms_key_id.clone(),
            full_bytes,
            tags: std::collections::BTreeMap::new(),
        };
        let mut build = sample();
        build.regions[0].kms_key_id.clone_from(&manifest.kms_key_id);
        build.volume_gib = u16::MAX;
        match ancestor::choose(&build, &manifest, Some(&snapshot), Incremental::default()) {
            Ok(ancestor) => assert!((1..=20).contains(&ancestor.links)),
            Err(why) => assert_sentence(&why),
        }
    }
    for bytes in [0, 1 << 40, u64::MAX] {
        assert!(volume::size_after(&manifest, bytes) >= manifest.volume_gib);
        assert!(volume::size_for(bytes, Some(&manifest)) > 0);
    }
    true
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn a_changed_cache_document_is_refused_with_a_message_or_harmless(
        document in changed(document()),
    ) {
        check_cache(&document.to_string());
    }

    #[test]
    fn a_changed_report_is_refused_with_a_message_or_harmless(
        report in select(vec![pulled(), failed()]).prop_flat_map(changed),
    ) {
        check_report(&report.to_string());
    }

    #[test]
    fn a_changed_manifest_is_ignored_or_harmless(manifest in changed(manifest())) {
        check_manifest(&manifest.to_string());
    }

    #[test]
    fn truncated_or_invalid_text_makes_no_parser_panic(
        cache in torn(document().to_string()),
        report in torn(pulled().to_string()),
        failure in torn(failed().to_string()),
        manifest in torn(manifest().to_string()),
    ) {
        check_cache(&cache);
        check_report(&report);
        check_report(&failure);
        check_manifest(&manifest);
    }
}

#[test]
fn unchanged_input_is_accepted() {
    assert!(check_cache(&document().to_string()));
    assert!(check_report(&pulled().to_string()));
    assert!(!check_report(&failed().to_string()));
    assert!(check_manifest(&manifest().to_string()));
}

/// `document` with `field` written twice.
fn with_doubled(document: &Value, field: &str) -> String {
    let value = &document[field];
    format!("{{{}: {value}, {}", json!(field), &document.to_string()[1..])
}

#[test]
fn a_duplicate_field_is_refused() {
    let (cache, report) = (document(), pulled());
    for field in cache.as_object().unwrap().keys() {
        let problem = read_cache(&with_doubled(&cache, field)).unwrap_err().to_string();
        assert!(problem.contains(&format!("duplicate field `{field}`")), "{problem}");
    }
    let inner = document().to_string().replace("\"maxLinks\"", "\"maxLinks\": 1, \"maxLinks\"");
    assert!(read_cache(&inner).unwrap_err().to_string().contains("duplicate field `maxLinks`"));
    for field in report.as_object().unwrap().keys() {
        assert!(!check_report(&with_doubled(&report, field)), "{field}");
    }
    for field in manifest().as_object().unwrap().keys() {
        assert!(!check_manifest(&with_doubled(&manifest(), field)), "{field}");
    }
}

#[test]
fn a_refusal_of_any_field_name_forges_no_line_and_fills_no_log() {
    for text in nasty() {
        let mut cache = document();
        cache[&text] = json!(1);
        assert!(!check_cache(&cache.to_string()), "{text:?}");
        for place in ["osUpdates", "variant"] {
            let mut cache = document();
            cache[place] = json!(text);
            assert!(!check_cache(&cache.to_string()), "{text:?}");
        }
        let mut report = pulled();
        report[&text] = json!(1);
        assert!(!check_report(&report.to_string()), "{text:?}");
        for place in ["outcome", "ancestor", "containerd"] {
            let mut report = pulled();
            report[place] = json!(text);
            let accepted = place == "containerd" && text.parse::<ContainerdVersion>().is_ok();
            assert_eq!(check_report(&report.to_string()), accepted, "{text:?}");
        }
    }
}

#[test]
fn a_failure_is_shown_without_direction_marks() {
    for text in nasty() {
        for place in ["step", "image", "reason"] {
            let mut report = failed();
            report[place] = json!(text);
            assert!(!check_report(&report.to_string()), "{text:?}");
        }
    }
}

#[test]
fn a_manifest_with_the_longest_chain_is_followed_by_a_full_build() {
    let mut published = sample_manifest();
    published.links = u16::MAX;
    assert!(check_manifest(&published.text()));
}

#[test]
fn layer_sizes_that_overflow_count_as_the_maximum() {
    let layer = |character: char| Layer {
        digest: format!("sha256:{}", character.to_string().repeat(64)).parse().unwrap(),
        bytes: u64::MAX,
    };
    let layers = ['a', 'b'].map(layer);
    assert_eq!(total_bytes(&layers), u64::MAX);
    assert_eq!(distinct_bytes([&layers[..]].into_iter()), u64::MAX);
}

#[test]
fn each_written_document_is_refused_or_accepted_as_its_file_says() {
    for (folder, check) in [
        ("caches", check_cache as fn(&str) -> bool),
        ("reports", check_report),
        ("manifests", check_manifest),
    ] {
        for (name, text, accepted) in corpus(folder) {
            assert_eq!(check(&text), accepted, "{folder}/{name}");
        }
    }
}
