//! Sends hostile events, requests, payloads and cache documents to the functions as Lambda does.
//! Each call must return an answer, or a named error whose message is a sentence. A refused input
//! must change nothing.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use frontload_aws::testing::FakeCloud;
use lambda_runtime::Diagnostic;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use frontload_domain::testing::{assert_sentence, nasty};
use frontload_functions::context::Context;
use frontload_functions::planning::request::{PlanRequest, read};
use frontload_functions::runtime::epoch_seconds;
use frontload_functions::settings::Settings;
use frontload_functions::steps::serve;
use frontload_functions::testing::{DIGEST_A, HOST, context, put_cache, settings};

use super::input::{changed, config, torn};

const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests");

/// Names and contents of the JSON files of a folder under `tests`.
fn files(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(TESTS).join(folder);
    let mut found: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect();
    assert!(found.len() > 5, "{}", folder.display());
    found.sort();
    found
}

fn documents(folder: &str) -> Vec<(String, Value)> {
    let parsed = |(name, text): (String, String)| (name, serde_json::from_str(&text).unwrap());
    files(folder).into_iter().map(parsed).collect()
}

/// One of the recorded events and requests, changed.
fn any_request() -> impl Strategy<Value = Value> {
    select(documents("events")).prop_flat_map(|(_, event)| changed(event))
}

/// A step's name and its recorded payload, changed.
fn any_payload() -> impl Strategy<Value = (String, Value)> {
    select(documents("events/steps"))
        .prop_flat_map(|(step, payload)| (Just(step), changed(payload)))
}

/// A cache with every kind of field, changed.
fn any_cache() -> impl Strategy<Value = Value> {
    changed(json!({
        "images": [format!("{HOST}/team/app:v1"), {"repository": format!("{HOST}/team/app"),
            "versions": "*", "newest": 2}],
        "watch": ["team/*:*"],
        "architectures": ["x86_64", "arm64"],
        "variant": "aws-k8s-1.35",
        "osUpdates": {"days": ["monday"], "startHour": 1, "hours": 2},
        "builder": {"volumeGib": "auto"},
        "regions": [{"region": "us-east-1"}],
        "consumers": [{"account": "210987654321"}],
        "retain": {"count": 1, "minimumAgeDays": 1}
    }))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Calls a function as the runtime does.
fn call(cloud: &FakeCloud, step: &str, payload: Value) -> Result<Value, Diagnostic> {
    let settings = Settings { handler: step.to_owned(), ..settings() };
    let result = block_on(serve(&Context { settings, ..context(cloud, epoch_seconds()) }, payload));
    if let Err(error) = &result {
        assert_sentence(&error.error_message);
    }
    result
}

/// A cache that can be planned, and nothing else.
fn cloud() -> FakeCloud {
    let cloud = FakeCloud::default();
    put_cache(&cloud, "default", &json!({}));
    let region = "<item><regionName>us-east-1</regionName></item>";
    let place = ("us-east-1".to_owned(), "DescribeRegions".to_owned());
    cloud.world().ec2.insert(place, format!("<regionInfo>{region}</regionInfo>"));
    cloud
}

/// All changes: how many to parameters and events, how many table items, and the EC2 calls that
/// write.
fn changes(cloud: &FakeCloud) -> (usize, usize, Vec<String>) {
    let world = cloud.world();
    let reads = |call: &str| ["Describe", "Get"].iter().any(|verb| call.starts_with(verb));
    let is_change = |call: &&String| !reads(call.split(' ').nth(1).unwrap());
    let calls = world.ec2_calls.iter().filter(is_change).cloned().collect();
    (world.changes, world.items.len(), calls)
}

const NONE: (usize, usize, Vec<String>) = (0, 0, Vec::new());

fn plan(cloud: &FakeCloud, request: &Value) -> Result<Value, Diagnostic> {
    let answer = call(cloud, "plan", json!({"request": request, "executionId": "execution-1"}));
    if let Ok(plan) = &answer {
        assert_sentence(plan["reason"].as_str().unwrap());
        for refused in plan["refused"].as_array().unwrap() {
            assert_sentence(refused["message"].as_str().unwrap());
        }
    }
    assert_eq!(changes(cloud), NONE);
    answer
}

/// The payload that claims a build of the cache at once.
fn claim() -> Value {
    let payload = documents("events/steps").into_iter().find(|(step, _)| step == "claim");
    payload.unwrap().1
}

/// Plans and claims a cache document. Returns whether it is accepted.
fn check_document(document: &str) -> bool {
    let cloud = cloud();
    cloud.world().put("/frontload/caches/default", document);
    let mut refused = Vec::new();
    for request in [
        json!({"reconcile": true}),
        json!({"cache": "default"}),
        json!({"cache": "default", "dryRun": true}),
    ] {
        let answer = plan(&cloud, &request);
        refused.push(answer.map_or(true, |plan| plan["refused"] != json!([])));
    }
    let is_refused = refused[0];
    assert_eq!(is_refused, refused[1]);
    let claimed = call(&cloud, "claim", claim());
    // The claim may leave the lease's item in the table. `clean_up` releases the lease.
    let (parameters, items, ec2) = changes(&cloud);
    assert_eq!((parameters, ec2), (0, Vec::new()));
    assert!(items <= 1);
    if is_refused {
        assert_eq!(claimed.unwrap_err().error_type, "InvalidCache");
    }
    !is_refused
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn a_changed_request_plans_something_or_is_refused_and_changes_nothing(
        request in any_request(),
    ) {
        let _ = plan(&cloud(), &request);
    }

    #[test]
    fn a_payload_is_refused_before_any_call((step, payload) in any_payload()) {
        let cloud = cloud();
        if let Err(error) = call(&cloud, &step, payload)
            && error.error_type == "InvalidRequest"
        {
            prop_assert_eq!(changes(&cloud), NONE);
            prop_assert_eq!(cloud.world().ec2_calls.len(), 0);
        }
    }

    #[test]
    fn preflight_changes_nothing_whatever_the_build(
        build in changed(frontload_functions::testing::build_document()),
    ) {
        let cloud = cloud();
        let _ = call(&cloud, "preflight", json!({"build": build}));
        let (_, items, ec2) = changes(&cloud);
        prop_assert_eq!((items, ec2), (0, Vec::new()));
    }
}

/// The cache's published manifest, with every field.
fn manifest() -> Value {
    json!({
        "frontload": "0.1.0", "snapshotId": "snap-1", "region": "us-east-1", "encrypted": false,
        "build": "default-x86-64-0123456789ab", "rollback": "rollback-1", "token": 1,
        "cache": "default", "architecture": "x86_64",
        "images": [{"reference": format!("{HOST}/team/app:v0"), "digest": DIGEST_A}],
        "os": {"variant": "aws-k8s-1.35", "imageId": "ami-0abc", "version": "1.57.0-abcdef01"},
        "containerd": "2.1.9", "snapshotter": "overlayfs", "volumeGib": 3, "usedBytes": 1000,
        "downloadBytes": 1000, "kernel": "6.12.40", "listing": DIGEST_A, "ancestor": "snap-0", "links": 1,
        "fingerprint": DIGEST_A, "replicas": [{"region": "us-east-1", "snapshotId": "snap-1"}],
        "consumers": [], "fsrZones": [],
        "initialization": {"seconds100MiBs": 1, "seconds300MiBs": 1, "fsrDollarsPerMonth": 0},
        "durations": {"claim": 1, "preflight": 1, "launch": 1, "pull": 1, "snapshot": 1,
            "replicate": 1, "total": 6}
    })
}

/// Returns the build that is claimed while `manifest` is published.
fn claim_over(manifest: &str) -> Value {
    let cloud = cloud();
    put_cache(&cloud, "default", &json!({"builder": {"volumeGib": "auto"}}));
    let snapshot = "<item><snapshotId>snap-1</snapshotId><status>completed</status></item>";
    let place = ("us-east-1".to_owned(), "DescribeSnapshots".to_owned());
    {
        let mut world = cloud.world();
        world.ec2.insert(place, format!("<snapshotSet>{snapshot}</snapshotSet>"));
        world.put("/frontload/default/x86_64/snapshot-id", "snap-1");
        world.put("/frontload/default/x86_64/manifest", manifest);
    }
    let claimed = call(&cloud, "claim", claim()).unwrap();
    assert_sentence(claimed["reason"].as_str().unwrap());
    let build = claimed["build"].clone();
    assert_eq!(call(&cloud, "preflight", json!({"build": build})).unwrap()["ready"], true);
    assert!((1..=16_384).contains(&build["volumeGib"].as_u64().unwrap()), "{build}");
    build
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn any_published_manifest_allows_a_claim_and_preflight(manifest in changed(manifest())) {
        claim_over(&manifest.to_string());
    }

    #[test]
    fn a_changed_cache_is_planned_or_refused_and_changes_nothing(document in any_cache()) {
        check_document(&document.to_string());
    }

    #[test]
    fn truncated_bytes_reach_no_step(
        (step, text) in select(files("events/steps"))
            .prop_flat_map(|(step, text)| (Just(step), torn(text))),
    ) {
        // Parse the text as the runtime parses what Lambda sends.
        if let Ok(payload) = serde_json::from_slice::<Value>(text.as_bytes()) {
            let _ = call(&cloud(), &step, payload);
        }
    }
}

#[test]
fn a_manifest_with_impossibly_many_bytes_is_followed_by_a_full_build() {
    for (field, value) in [("usedBytes", json!(u64::MAX)), ("volumeGib", json!(u16::MAX))] {
        let mut published = manifest();
        published[field] = value;
        let build = claim_over(&published.to_string());
        assert_eq!(build["ancestor"], Value::Null, "{field}");
    }
    assert_eq!(claim_over(&manifest().to_string())["ancestor"]["links"], 2);
}

#[test]
fn each_written_manifest_is_followed_by_a_build() {
    for (_, text) in files("hostile/manifests") {
        claim_over(&text);
    }
}

#[test]
fn unchanged_input_is_accepted() {
    for (name, event) in documents("events") {
        let is_request = !["build", "snapshot-published"].contains(&name.as_str());
        assert_eq!(read(&event).is_ok(), is_request, "{name}");
    }
    for (step, payload) in documents("events/steps") {
        let refused =
            call(&cloud(), &step, payload).is_err_and(|e| e.error_type == "InvalidRequest");
        assert!(!refused, "{step}");
    }
}

#[test]
fn a_payload_with_a_hostile_field_is_refused_in_one_line() {
    for text in nasty() {
        for step in ["claim", "preflight", "launch", "rollback", "prune"] {
            let (_, mut payload) =
                documents("events/steps").into_iter().find(|(name, _)| name == step).unwrap();
            for inner in ["request", "build", "rollback", "prune"] {
                if let Some(fields) = payload[inner].as_object_mut() {
                    fields.insert(text.clone(), json!(1));
                }
            }
            let cloud = cloud();
            let error = call(&cloud, step, payload).unwrap_err();
            assert_eq!((error.error_type.as_str(), changes(&cloud)), ("InvalidRequest", NONE));
        }
    }
}

#[test]
fn an_envelope_with_hostile_text_for_a_list_is_refused_in_one_line() {
    for text in nasty() {
        let (_, mut event) =
            documents("events").into_iter().find(|(n, _)| n == "ecr-push").unwrap();
        event["resources"] = json!(text);
        assert_eq!(plan(&cloud(), &event).unwrap_err().error_type, "InvalidRequest");
    }
}

#[test]
fn each_written_request_is_refused_or_accepted_as_its_file_says() {
    for (name, text) in files("hostile/requests") {
        let request: Result<Value, _> = serde_json::from_str(&text);
        let understood = request.is_ok_and(|request| {
            let _ = plan(&cloud(), &request);
            !matches!(read(&request), Err(_) | Ok(PlanRequest::Nothing(_)))
        });
        assert_eq!(understood, name.starts_with("accepted-"), "{name}");
    }
}

#[test]
fn each_written_cache_document_is_planned_or_refused_as_its_file_says() {
    let folder = Path::new(TESTS).join("hostile/caches");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let accepted = path.file_name().unwrap().to_str().unwrap().starts_with("accepted-");
        let document = fs::read(&path).unwrap();
        assert_eq!(check_document(&String::from_utf8_lossy(&document)), accepted, "{path:?}");
    }
}

/// What a call writes to the log group.
fn logged(step: &str, payload: Value) -> String {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || drop(call(&cloud(), step, payload)));
    let bytes = log.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_call_with_hostile_text_logs_one_line_of_json_with_its_level() {
    for text in nasty() {
        let payload = json!({"request": {"cache": text}, "executionId": "execution-1"});
        let log = logged("plan", payload);
        assert_eq!(log.lines().count(), 1, "{log}");
        let line: Value = serde_json::from_str(&log).unwrap();
        let name = line["error"].as_str().unwrap();
        assert!(["InvalidRequest", "InvalidCache"].contains(&name), "{log}");
        assert_sentence(line["cause"].as_str().unwrap());
    }
}
