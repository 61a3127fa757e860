//! `claim`: gathers a burst of pushes into one build, takes the lease of the cache and
//! architecture, and then decides what to build from what the tags resolve to now. `clean_up`
//! undoes it.

use frontload_aws::leases::Leases;
use frontload_domain::lease::{Acquire, BuildOptions, Contender, LeaseKey, LeaseState};
use frontload_domain::names::ExecutionArn;
use frontload_domain::step::{Report, Waited};
use frontload_domain::{Build, BuildRequest};
use frontload_domain::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::lease::{Attempt, LeaseReport, try_acquire};
use crate::planning::resolve::{Decision, Resolved};
use frontload_domain::lease::{Burst, LeaseView, NextAction, next};

/// Payload of the function.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    request: BuildRequest,
    execution_id: ExecutionArn,
    waited_seconds: Waited,
    /// The `seenToken` that the last call returned.
    #[serde(default)]
    seen_token: Option<u64>,
}

/// What happens next.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    outcome: Outcome,
    reason: String,
    /// The build. It does not change after this step.
    #[serde(skip_serializing_if = "Option::is_none")]
    build: Option<Build>,
    /// One sentence per item that the build leaves out.
    warnings: Vec<String>,
    /// The lease's fencing token.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<u64>,
    /// ARN of the execution that serves this request instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    successor: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Claimed,
    Unchanged,
    Superseded,
}

impl Claim {
    fn of(outcome: Outcome, reason: String) -> Self {
        let (build, warnings, token, successor) = (None, Vec::new(), None, None);
        Self { outcome, reason, build, warnings, token, successor }
    }
}

/// Waits for quiet and for the lease, then decides. `now` is in epoch seconds.
pub async fn handle(context: &Context, input: Input) -> Result<LeaseReport<Claim>> {
    let &Context { ref clients, ref settings, now, .. } = context;
    let request = &input.request;
    let home = &settings.home.region;
    let leases = clients.leases(home, &settings.lease_table);
    let key = LeaseKey::new(&request.cache, request.architecture);
    let execution = input.execution_id;
    let me = Contender { build: request.id.clone(), execution: execution.to_string() };
    let mut state = leases.read(&key).await?;
    if input.waited_seconds.0 == 0 || state.newest.is_none() {
        state = leases.register(&key, &me, now, BuildOptions::of(request)).await?;
    }
    let (build, seen_token) = (&request.id, input.seen_token);
    let view = LeaseView { state: &state, build, seen_token, holder_is_over: None };
    let burst = Burst { debounce: &request.debounce, waited: input.waited_seconds, now };
    match next(&view, Some(&burst)) {
        NextAction::Superseded(by) => return Ok(Report::Ready(superseded(by)).into()),
        NextAction::Quiet(seconds) => {
            let progress = format!("waiting {seconds} s for more pushes");
            return Ok(Report::wait(seconds, progress).into());
        }
        NextAction::Acquisition(_) => {}
    }
    let sfn = clients.own_sfn(home);
    let (ours, acquire) = ((&key, &me), Acquire::AsNewest);
    match try_acquire(&leases, &sfn, ours, acquire, state, seen_token, now).await? {
        Attempt::Acquired(state) => {
            decide(&leases, &key, context, (request, execution), &state).await.map(Into::into)
        }
        Attempt::RetryLater(later) => {
            let seconds = input.waited_seconds.0;
            if input.waited_seconds.is_past(request.claim_seconds) {
                let (build, holder) = (request.id.clone(), later.holder);
                return Err(Error::BuildInProgress { build, holder, seconds });
            }
            Ok(later.into())
        }
    }
}

fn superseded(by: Contender) -> Claim {
    let reason = format!("a newer request has arrived; {} serves it", by.execution);
    Claim { successor: Some(by.execution), ..Claim::of(Outcome::Superseded, reason) }
}

/// Decides what to build, if anything, while this build holds the lease. Releases the lease if
/// nothing changed; keeps it for a build and after an error.
async fn decide(
    leases: &Leases,
    key: &LeaseKey,
    context: &Context,
    (request, execution): (&BuildRequest, ExecutionArn),
    state: &LeaseState,
) -> Result<Report<Claim>> {
    let options = state.options.and(BuildOptions::of(request));
    let resolved = context.resolve(request, options).await;
    match resolved {
        Ok(Resolved { mut build, decision: Decision::Build(reason), warnings }) => {
            build.execution = Some(execution);
            let (build, token) = (Some(build), Some(state.token));
            let claim = Claim { build, warnings, token, ..Claim::of(Outcome::Claimed, reason) };
            Ok(Report::Ready(claim))
        }
        Ok(Resolved { decision: Decision::Unchanged(reason), warnings, .. }) => {
            leases.release(key, &request.id, false).await?;
            let claim = Claim { warnings, ..Claim::of(Outcome::Unchanged, reason) };
            Ok(Report::Ready(claim))
        }
        // `clean_up` releases the lease.
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use crate::publication::{self, targets};
    use frontload_aws::testing::FakeCloud;
    use frontload_domain::manifest::Replica;
    use frontload_domain::pulled::PulledImages;
    use frontload_domain::{Ancestor, Architecture, Durations, Manifest, ParameterNames};
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{
        DIGEST_A, DIGEST_B, HOST, context, pulled, put_cache, request, settings, shown,
    };

    const NOW: i64 = 1_000_000;

    /// A cache whose tag resolves to image A. Every published snapshot is usable.
    fn cloud() -> FakeCloud {
        let cloud = FakeCloud::default();
        put_cache(&cloud, "default", &json!({}));
        let snapshot = "<item><snapshotId>snap-1</snapshotId><status>completed</status></item>";
        let answer = format!("<snapshotSet>{snapshot}</snapshotSet>");
        let place = ("us-east-1".to_owned(), "DescribeSnapshots".to_owned());
        cloud.world().ec2.insert(place, answer);
        cloud
    }

    fn input(build: &str, more: &Value) -> Input {
        let mut request = request();
        request["id"] = json!(build);
        let mut payload = json!({
            "request": request, "executionId": format!("arn:{build}"), "waitedSeconds": 60,
        });
        for (name, value) in more.as_object().unwrap() {
            match name.as_str() {
                "force" | "full" => payload["request"][name] = value.clone(),
                "quiet" => payload["request"]["debounce"]["quietSeconds"] = value.clone(),
                _ => payload[name] = value.clone(),
            }
        }
        serde_json::from_value(payload).unwrap()
    }

    async fn claim_at(cloud: &FakeCloud, now: i64, build: &str, more: Value) -> Value {
        match handle(&context(cloud, now), input(build, &more)).await {
            Ok(claim) => shown(&claim),
            Err(error) => json!(error.name()),
        }
    }

    /// The progress of a claim that waits, or the outcome of one that is ready.
    async fn claim(cloud: &FakeCloud, build: &str, more: Value) -> String {
        let answer = claim_at(cloud, NOW, build, more).await;
        let text = ["progress", "outcome"].iter().find_map(|name| answer[name].as_str());
        text.or(answer.as_str()).unwrap().to_owned()
    }

    /// Claims at once, as for a person's request.
    async fn ask(cloud: &FakeCloud, build: &str) -> String {
        claim(cloud, build, json!({"waitedSeconds": 0, "quiet": 0})).await
    }

    async fn release(cloud: &FakeCloud, build: &str) {
        let leases = cloud.clients().leases(&settings().home.region, "leases");
        assert!(leases.release(&key(), &build.parse().unwrap(), false).await.unwrap());
    }

    fn key() -> LeaseKey {
        LeaseKey::new(&"default".parse().unwrap(), Architecture::X86_64)
    }

    #[tokio::test]
    async fn a_push_waits_for_quiet_and_is_built_then() {
        let cloud = cloud();
        let first = claim(&cloud, "a", json!({"waitedSeconds": 0})).await;
        assert_eq!(first, "waiting 60 s for more pushes");
        assert_eq!(claim(&cloud, "a", json!({})).await, "claimed");
    }

    #[tokio::test]
    async fn a_newer_push_supersedes_and_is_named() {
        let cloud = cloud();
        claim(&cloud, "a", json!({"waitedSeconds": 0})).await;
        claim(&cloud, "b", json!({"waitedSeconds": 0})).await;
        let answer = claim_at(&cloud, NOW, "a", json!({})).await;
        assert_eq!(
            (&answer["outcome"], &answer["successor"]),
            (&json!("superseded"), &json!("arn:b"))
        );
        assert_eq!(claim(&cloud, "b", json!({})).await, "claimed");
    }

    #[tokio::test]
    async fn a_rule_without_matches_is_skipped_with_a_warning() {
        let cloud = cloud();
        let rule = json!({"repository": format!("{HOST}/team/app"), "tags": "release-*"});
        put_cache(&cloud, "default", &json!({"images": [format!("{HOST}/team/app:v1"), rule]}));
        let now = json!({"waitedSeconds": 0, "quiet": 0});
        let answer = claim_at(&cloud, NOW, "a", now).await;
        assert_eq!(answer["build"]["images"].as_array().unwrap().len(), 1);
        let warning = answer["warnings"][0].as_str().unwrap();
        assert!(warning.contains("release-*"), "{warning}");
    }

    #[tokio::test]
    async fn an_endless_burst_is_built_when_its_first_push_reaches_the_limit() {
        let cloud = cloud();
        let push =
            async |now, build| claim_at(&cloud, now, build, json!({"waitedSeconds": 0})).await;
        push(NOW, "a").await;
        assert_eq!(push(NOW + 570, "b").await["waitSeconds"], 30);
        assert_eq!(push(NOW + 600, "c").await["outcome"], "claimed");
        assert_eq!(push(NOW + 601, "d").await["waitSeconds"], 60, "a burst of its own");
    }

    #[tokio::test]
    async fn pushes_during_a_build_cause_one_more_build_of_the_newest_digests() {
        let cloud = cloud();
        assert_eq!(ask(&cloud, "a").await, "claimed");
        for build in ["b", "c"] {
            claim(&cloud, build, json!({"waitedSeconds": 0})).await;
        }
        assert_eq!(claim(&cloud, "b", json!({})).await, "superseded");
        assert_eq!(claim(&cloud, "c", json!({})).await, "waiting for arn:a");
        cloud.world().registry.push("team/app", "v1", DIGEST_B);
        release(&cloud, "a").await;
        let answer = claim_at(&cloud, NOW, "c", json!({})).await;
        assert_eq!(answer["build"]["images"][0]["digest"], DIGEST_B);
        assert_eq!(answer["token"], NOW + 2);
    }

    #[tokio::test]
    async fn a_build_waits_for_a_held_lease_until_the_limit() {
        let cloud = cloud();
        ask(&cloud, "a").await;
        claim(&cloud, "b", json!({"waitedSeconds": 0})).await;
        assert_eq!(claim(&cloud, "b", json!({"waitedSeconds": 14400})).await, "BuildInProgress");
    }

    #[tokio::test]
    async fn the_lease_of_an_ended_execution_is_taken_after_its_last_calls() {
        let cloud = cloud();
        ask(&cloud, "a").await;
        claim(&cloud, "b", json!({"waitedSeconds": 0})).await;
        cloud.world().over.insert("arn:a".to_owned(), 0);
        let answer = claim_at(&cloud, NOW, "b", json!({})).await;
        assert_eq!((&answer["waitSeconds"], &answer["seenToken"]), (&json!(90), &json!(NOW + 1)));
        assert_eq!(
            claim(&cloud, "b", json!({"seenToken": 0})).await,
            "waiting for the last calls of arn:a, which has ended"
        );
        assert_eq!(claim(&cloud, "b", json!({"seenToken": NOW + 1})).await, "claimed");
    }

    #[tokio::test]
    async fn a_claim_with_a_lost_answer_finds_its_own_lease() {
        let cloud = cloud();
        for _ in 0..2 {
            assert_eq!(ask(&cloud, "a").await, "claimed");
        }
        assert_eq!(
            cloud.world().items["default/x86_64"]["leaseToken"],
            json!({"N": (NOW + 1).to_string()})
        );
    }

    #[tokio::test]
    async fn a_final_error_keeps_the_lease_for_clean_up_only() {
        let cloud = cloud();
        cloud.world().registry.lacks.push("amd64".to_owned());
        assert_eq!(ask(&cloud, "a").await, "PlatformMissing");
        release(&cloud, "a").await;
    }

    /// Claims build `id` and publishes it with image A or B, by a rollback if `rollback`.
    async fn publish(cloud: &FakeCloud, id: &str, rollback: bool) {
        let answer = claim_at(cloud, NOW, id, json!({"waitedSeconds": 0, "quiet": 0})).await;
        let build: Build = serde_json::from_value(answer["build"].clone()).unwrap();
        let mut pulled: PulledImages = serde_json::from_value(pulled()).unwrap();
        pulled.images[0].digest = build.images[0].digest.clone().unwrap();
        let replica = Replica {
            region: "us-east-1".parse().unwrap(),
            snapshot_id: format!("snap-{id}").parse().unwrap(),
            encrypted: false,
            kms_key_id: None,
        };
        let mut manifest = Manifest::of_replicas(&build, 1, &pulled, &[replica]);
        manifest[0].rollback = rollback.then(|| "rollback".parse().unwrap());
        manifest[0].durations = Some(Durations { pull: 120, ..Durations::LONGEST });
        let names = ParameterNames::new(&settings().prefix, &build.cache, build.architecture);
        let published = targets(&manifest);
        publication::publish(&cloud.clients(), &names, &build.id, 1, &published).await.unwrap();
        release(cloud, id).await;
    }

    #[tokio::test]
    async fn a_published_build_is_built_again_only_when_forced() {
        let cloud = cloud();
        publish(&cloud, "a", false).await;
        assert_eq!(ask(&cloud, "b").await, "unchanged");
        let forced = json!({"waitedSeconds": 0, "quiet": 0, "force": true});
        assert_eq!(claim(&cloud, "c", forced).await, "claimed");
    }

    #[tokio::test]
    async fn a_build_knows_how_long_the_published_one_took() {
        let cloud = cloud();
        let usual = async |build, full| {
            let now = json!({"waitedSeconds": 0, "quiet": 0, "force": true, "full": full});
            let claim = claim_at(&cloud, NOW, build, now).await;
            release(&cloud, build).await;
            claim["build"]["usualSeconds"]["pull"].clone()
        };
        assert_eq!(usual("a", true).await, json!(null));
        publish(&cloud, "b", false).await;
        assert_eq!(usual("c", true).await, json!(120));
        assert_eq!(usual("d", false).await, json!(null), "the published one was in full");
    }

    /// The text of the longest manifest that the claimed build can have.
    fn longest_manifest(claim: &Value) -> String {
        let mut build: Build = serde_json::from_value(claim["build"].clone()).unwrap();
        build.volume_gib = u16::MAX;
        build.ancestor = Some(Ancestor {
            snapshot_id: format!("snap-{}", "0".repeat(17)).parse().unwrap(),
            listing: DIGEST_A.parse().unwrap(),
            links: u16::MAX,
        });
        let images = build.images.iter();
        let images = images.map(|image| json!({"reference": image.reference, "digest": DIGEST_A}));
        let pulled = json!({
            "containerd": "0".repeat(32),
            "kernel": "0".repeat(32),
            "images": images.collect::<Vec<_>>(),
            "usedBytes": u64::MAX,
            "flushed": true,
            "ancestor": "kept",
            "listing": DIGEST_A,
        });
        let pulled = serde_json::from_value(pulled).unwrap();
        let replica = Replica {
            region: "us-east-1".parse().unwrap(),
            snapshot_id: format!("snap-{}", "0".repeat(17)).parse().unwrap(),
            encrypted: true,
            kms_key_id: None,
        };
        let mut manifests = Manifest::of_replicas(&build, u64::MAX, &pulled, &[replica]);
        manifests[0].durations = Some(Durations::LONGEST);
        manifests[0].text()
    }

    #[tokio::test]
    async fn a_build_with_an_oversized_manifest_is_not_claimed() {
        let cloud = cloud();
        let long = "a".repeat(103);
        let mut longest = 0;
        for length in 1..=128 {
            let mut images: Vec<_> = (10..42).map(|n| format!("ghcr.io/{long}/app:v{n}")).collect();
            images.push(format!("ghcr.io/app:{}", "b".repeat(length)));
            put_cache(&cloud, "default", &json!({"images": images}));
            let claim = claim_at(&cloud, NOW, "a", json!({"waitedSeconds": 0, "quiet": 0})).await;
            if claim == "InvalidCache" {
                break;
            }
            release(&cloud, "a").await;
            longest = longest_manifest(&claim).len();
        }
        assert_eq!(longest, 8192);
    }

    fn release_bottlerocket(cloud: &FakeCloud) {
        let latest = "/aws/service/bottlerocket/aws-k8s-1.35/x86_64/latest";
        cloud.world().put(&format!("{latest}/image_id"), "ami-0def");
        cloud.world().put(&format!("{latest}/image_version"), "2.0.0");
    }

    #[tokio::test]
    async fn a_change_is_described_in_one_line() {
        let cloud = cloud();
        publish(&cloud, "a", false).await;
        let why = async |build: &str| {
            let now = json!({"waitedSeconds": 0, "quiet": 0});
            let answer = claim_at(&cloud, NOW, build, now).await;
            assert_eq!(answer["outcome"], "claimed", "{answer}");
            release(&cloud, build).await;
            answer["reason"].as_str().unwrap().to_owned()
        };
        cloud.world().registry.push("team/app", "v1", DIGEST_B);
        let basis = |snapshot| format!("built on snapshot {snapshot}");
        assert!(why("b").await.ends_with(&format!("/team/app:v1 is new; {}", basis("snap-a"))));
        cloud.world().registry.push("team/app", "v1", DIGEST_A);
        put_cache(&cloud, "default", &json!({"builder": {"volumeGib": 50}}));
        let full = "built in full, because the published volume has 100 GiB";
        let differs = format!("the configuration differs from the published one; {full}");
        assert_eq!(why("c").await, differs);
        put_cache(&cloud, "default", &json!({}));
        release_bottlerocket(&cloud);
        let follows = "Bottlerocket 2.0.0 follows 1.57.0-abcdef01";
        assert_eq!(why("d").await, format!("{follows}; {}", basis("snap-a")));
    }

    /// Pushes image B and returns the build that is claimed for it.
    async fn changed_build(cloud: &FakeCloud, id: &str, full: bool) -> Value {
        cloud.world().registry.push("team/app", "v1", DIGEST_B);
        let more = json!({"waitedSeconds": 0, "quiet": 0, "full": full});
        claim_at(cloud, NOW, id, more).await["build"].clone()
    }

    #[tokio::test]
    async fn a_build_starts_from_the_published_snapshot_unless_a_full_one_is_requested() {
        let cloud = cloud();
        publish(&cloud, "a", false).await;
        let full = changed_build(&cloud, "b", true).await;
        assert_eq!((&full["ancestor"], &full["volumeGib"]), (&Value::Null, &json!(100)));
        release(&cloud, "b").await;
        let next = changed_build(&cloud, "c", false).await;
        let ancestor = json!({"snapshotId": "snap-a", "listing": DIGEST_A, "links": 1});
        assert_eq!(next["ancestor"], ancestor);
    }

    #[tokio::test]
    async fn after_a_failed_incremental_build_the_next_is_a_full_build() {
        let cloud = cloud();
        publish(&cloud, "a", false).await;
        assert!(changed_build(&cloud, "b", false).await["ancestor"].is_object());
        let leases = cloud.clients().leases(&settings().home.region, "leases");
        assert!(leases.release(&key(), &"b".parse().unwrap(), true).await.unwrap());
        assert!(changed_build(&cloud, "c", false).await["ancestor"].is_null());
    }

    #[tokio::test]
    async fn an_automatic_volume_fits_the_images_and_grows_from_the_published_size() {
        let cloud = cloud();
        put_cache(&cloud, "default", &json!({"builder": {"volumeGib": "auto"}}));
        publish(&cloud, "a", false).await;
        assert_eq!(ask(&cloud, "b").await, "unchanged", "its own size is no change");
        assert_eq!(changed_build(&cloud, "c", false).await["volumeGib"], 20);
        release(&cloud, "c").await;
        let foreign = json!({"builder": {"volumeGib": "auto"}, "images": ["ghcr.io/team/app:v1"]});
        put_cache(&cloud, "default", &foreign);
        assert_eq!(ask(&cloud, "d").await, "InvalidCache");
    }

    #[tokio::test]
    async fn an_incomplete_publication_is_built_again() {
        let cloud = cloud();
        publish(&cloud, "a", false).await;
        let place = ("us-east-1".to_owned(), "DescribeSnapshots".to_owned());
        cloud.world().ec2.remove(&place);
        assert_eq!(ask(&cloud, "b").await, "claimed");
    }

    #[tokio::test]
    async fn a_cache_without_os_updates_keeps_its_bottlerocket() {
        let cloud = cloud();
        publish(&cloud, "a", false).await;
        release_bottlerocket(&cloud);
        put_cache(&cloud, "default", &json!({"osUpdates": "never"}));
        assert_eq!(ask(&cloud, "b").await, "unchanged");
        cloud.world().registry.push("team/app", "v1", DIGEST_B);
        let answer = claim_at(&cloud, NOW, "c", json!({"waitedSeconds": 0, "quiet": 0})).await;
        assert_eq!(answer["build"]["os"]["version"], "1.57.0-abcdef01");
    }

    #[tokio::test]
    async fn a_rolled_back_build_is_not_repeated_until_something_changes() {
        let cloud = cloud();
        for (build, digest, rollback) in
            [("a", DIGEST_A, false), ("b", DIGEST_B, false), ("c", DIGEST_A, true)]
        {
            cloud.world().registry.push("team/app", "v1", digest);
            publish(&cloud, build, rollback).await;
        }
        cloud.world().registry.push("team/app", "v1", DIGEST_B);
        assert_eq!(ask(&cloud, "d").await, "unchanged");
        let digest = format!("sha256:{}", "d".repeat(64));
        cloud.world().registry.push("team/app", "v1", &digest);
        assert_eq!(ask(&cloud, "e").await, "claimed");
    }
}
