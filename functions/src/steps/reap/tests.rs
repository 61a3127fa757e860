//! Tests every kind of leftover with an execution that is over and with one that runs.

use std::collections::BTreeMap;

use crate::publication::targets;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use frontload_aws::testing::{FakeCloud, OWN};
use frontload_domain::lease::Contender;
use frontload_domain::manifest::Replica;
use frontload_domain::{Architecture, Build};
use serde_json::json;

use super::*;
use crate::testing::{build_document, context, pulled, put_cache, settings};

const HOME: &str = "us-east-1";
const AWAY: &str = "eu-west-1";
const BUILD: &str = "default-x86-64-0123456789ab";
const EXECUTION: &str = "arn:dead";
/// Executions that are over ended at time 0.
const LONG_AFTER: i64 = 1_000;

fn tags(build: &str, execution: &str) -> BTreeMap<String, String> {
    let pairs = [
        ("frontload:stack", "frontload"),
        ("frontload:cache", "default"),
        ("frontload:architecture", "x86_64"),
        ("frontload:build", build),
        ("frontload:execution", execution),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn tag_set(tags: &BTreeMap<String, String>) -> String {
    let item = |(key, value): (&String, &String)| {
        format!("<item><key>{key}</key><value>{value}</value></item>")
    };
    format!("<tagSet>{}</tagSet>", tags.iter().map(item).collect::<String>())
}

fn answer(cloud: &FakeCloud, region: &str, action: &str, inside: String) {
    cloud.world().ec2.insert((region.to_owned(), action.to_owned()), inside);
}

/// A builder i-1 and a volume vol-1 with these tags.
fn put_builder(cloud: &FakeCloud, tags: &BTreeMap<String, String>) {
    let tags = tag_set(tags);
    let instance = format!(
        "<instanceId>i-1</instanceId><instanceState><name>running</name></instanceState>{tags}"
    );
    let instances = format!("<instancesSet><item>{instance}</item></instancesSet>");
    let reservations = format!("<reservationSet><item>{instances}</item></reservationSet>");
    answer(cloud, HOME, "DescribeInstances", reservations);
    let volume = format!("<volumeId>vol-1</volumeId>{tags}");
    let volumes = format!("<volumeSet><item>{volume}</item></volumeSet>");
    answer(cloud, HOME, "DescribeVolumes", volumes);
}

/// The build's snapshots: snap-1 at home, its replica snap-2 away.
fn put_snapshots(cloud: &FakeCloud, tags: &BTreeMap<String, String>) {
    put_cache(cloud, "default", &json!({"regions": [{"region": HOME}, {"region": AWAY}]}));
    cloud.world().snapshots.complete("snap-1", tags.clone());
    let replica = format!("<snapshotId>snap-2</snapshotId>{}", tag_set(tags));
    let replicas = format!("<snapshotSet><item>{replica}</item></snapshotSet>");
    answer(cloud, AWAY, "DescribeSnapshots", replicas);
}

fn key() -> LeaseKey {
    LeaseKey::new(&"default".parse().unwrap(), Architecture::X86_64)
}

fn leases(cloud: &FakeCloud) -> Leases {
    cloud.clients().leases(&HOME.parse().unwrap(), "leases")
}

async fn take_lease(cloud: &FakeCloud, build: &str, execution: &str) -> u64 {
    let me = Contender { build: build.parse().unwrap(), execution: execution.to_owned() };
    let taken = leases(cloud).take(&key(), &me, Acquire::AsAnybody, None, 0).await.unwrap();
    taken.unwrap().token
}

fn end(cloud: &FakeCloud) {
    cloud.world().over.insert(EXECUTION.to_owned(), 0);
}

async fn reap_at(cloud: &FakeCloud, now: i64) -> Result<Reaped> {
    handle(&context(cloud, now), Input {}).await
}

/// Returns what was removed.
async fn reap(cloud: &FakeCloud) -> Vec<String> {
    reap_at(cloud, LONG_AFTER).await.unwrap().removed
}

/// The EC2 calls that destroy or change something, in order.
fn changes(cloud: &FakeCloud) -> Vec<String> {
    let calls = cloud.world().ec2_calls.clone();
    calls.into_iter().filter(|call| !call.contains(" Describe")).collect()
}

#[tokio::test]
async fn a_builder_is_terminated_at_once_and_the_rest_deleted_after_the_last_calls() {
    let cloud = FakeCloud::default();
    put_builder(&cloud, &tags(BUILD, EXECUTION));
    end(&cloud);
    let early = reap_at(&cloud, 30).await.unwrap();
    assert_eq!(early.removed, [format!("builder i-1 of {BUILD}")]);
    assert_eq!(early.later, [format!("{BUILD}: its last calls may run for 60 s")]);
    assert_eq!(changes(&cloud), ["us-east-1 TerminateInstances i-1"]);
    assert!(reap(&cloud).await.contains(&format!("volume vol-1 of {BUILD}")));
}

#[tokio::test]
async fn while_another_reaper_runs_ec2_is_not_called() {
    let cloud = FakeCloud::default();
    put_builder(&cloud, &tags(BUILD, EXECUTION));
    end(&cloud);
    let turns = cloud.clients().turns(&HOME.parse().unwrap(), "leases");
    turns.take(LONG_AFTER - 1).await.unwrap().unwrap();
    let reaped = reap_at(&cloud, LONG_AFTER).await.unwrap();
    assert_eq!(reaped.later, ["everything: another reaper is running and will check once more"]);
    assert_eq!((reaped.removed, cloud.world().ec2_calls.len()), (Vec::new(), 0));
    // The other reaper never ended its turn.
    assert!(!reap_at(&cloud, LONG_AFTER + 60).await.unwrap().removed.is_empty());
}

/// After the first query for builders is answered, a builder whose execution is over appears and
/// another reaper starts.
#[derive(Clone, Debug)]
struct Meanwhile(FakeCloud);

impl HttpConnector for Meanwhile {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self(cloud) = self.clone();
        let header = |name| request.headers().get(name).unwrap_or_default();
        let body = request.body().bytes().unwrap_or_default();
        let (status, answer) = cloud.answer(header("authorization"), header("x-amz-target"), body);
        HttpConnectorFuture::new(async move {
            let listed = cloud.world().ec2_calls.iter().any(|call| call.contains("Instances"));
            if listed && cloud.world().over.is_empty() {
                end(&cloud);
                let reaped = reap_at(&cloud, LONG_AFTER).await.unwrap();
                assert_eq!((reaped.removed.len(), reaped.later.len()), (0, 1));
                put_builder(&cloud, &tags(BUILD, EXECUTION));
            }
            Ok(HttpResponse::new(status.try_into().unwrap(), answer.into()))
        })
    }
}

#[tokio::test]
async fn a_reaper_checks_again_when_another_call_came_meanwhile() {
    let cloud = FakeCloud::default();
    let way = Meanwhile(cloud.clone());
    let http = http_client_fn(move |_, _| SharedHttpConnector::new(way.clone()));
    let clients = FakeCloud::clients_by_way_of(http);
    let reaped =
        handle(&Context { clients, ..context(&cloud, LONG_AFTER) }, Input {}).await.unwrap();
    assert!(reaped.removed.contains(&format!("builder i-1 of {BUILD}")), "{reaped:?}");
    assert!(reap_at(&cloud, LONG_AFTER).await.unwrap().later.is_empty(), "its turn is over");
}

#[tokio::test]
async fn resources_of_a_running_execution_are_not_touched() {
    let cloud = FakeCloud::default();
    put_builder(&cloud, &tags(BUILD, EXECUTION));
    put_snapshots(&cloud, &tags(BUILD, EXECUTION));
    let token = take_lease(&cloud, BUILD, EXECUTION).await;
    assert_eq!(reap_at(&cloud, LONG_AFTER).await.unwrap(), Reaped::default());
    assert_eq!(changes(&cloud), [""; 0]);
    assert_eq!(leases(&cloud).read(&key()).await.unwrap().token, token);
}

/// The input of a stopped build was started again by hand.
#[tokio::test]
async fn another_execution_of_the_same_build_keeps_its_resources() {
    let cloud = FakeCloud::default();
    put_snapshots(&cloud, &tags(BUILD, EXECUTION));
    put_builder(&cloud, &tags(BUILD, "arn:alive"));
    cloud.world().snapshots.complete("snap-9", tags(BUILD, "arn:alive"));
    end(&cloud);
    assert_eq!(reap(&cloud).await.len(), 2);
    assert_eq!(
        changes(&cloud),
        ["eu-west-1 DeleteSnapshot snap-2", "us-east-1 DeleteSnapshot snap-1"]
    );
}

#[tokio::test]
async fn without_the_cache_document_no_snapshot_is_deleted() {
    let cloud = FakeCloud::default();
    cloud.world().snapshots.complete("snap-1", tags(BUILD, EXECUTION));
    end(&cloud);
    let error = reap_at(&cloud, LONG_AFTER).await.unwrap_err().to_string();
    assert!(error.contains("/frontload/caches/default does not exist"), "{error}");
    put_cache(&cloud, "default", &json!({"images": []}));
    assert_eq!(reap_at(&cloud, LONG_AFTER).await.unwrap_err().name(), "InvalidCache");
    assert_eq!(changes(&cloud), [""; 0]);
}

#[tokio::test]
async fn resources_without_an_execution_are_reported_and_kept() {
    let cloud = FakeCloud::default();
    let mut forged = tags(BUILD, EXECUTION);
    forged.remove("frontload:execution");
    put_builder(&cloud, &forged);
    put_snapshots(&cloud, &forged);
    end(&cloud);
    let reaped = reap_at(&cloud, LONG_AFTER).await.unwrap();
    let named = ["instance i-1", "volume vol-1"];
    assert_eq!(
        reaped.kept,
        named.map(|what| format!("{what} has Frontload's tags but names no execution"))
    );
    assert_eq!(changes(&cloud), [""; 0]);
}

#[tokio::test]
async fn unpublished_replicas_are_deleted_first_then_the_snapshot_then_the_lease() {
    let cloud = FakeCloud::default();
    put_snapshots(&cloud, &tags(BUILD, EXECUTION));
    take_lease(&cloud, BUILD, EXECUTION).await;
    end(&cloud);
    let removed = ["snap-2 in eu-west-1", "snap-1 in us-east-1", "the lease of default/x86_64"];
    assert_eq!(reap(&cloud).await, removed.map(|what| format!("{what} of {BUILD}")));
    assert_eq!(
        changes(&cloud),
        ["eu-west-1 DeleteSnapshot snap-2", "us-east-1 DeleteSnapshot snap-1"]
    );
    assert_eq!(leases(&cloud).read(&key()).await.unwrap().holder, None);
    assert_eq!(reap(&cloud).await, [""; 0], "a second call finds nothing");
}

#[tokio::test]
async fn an_unmarked_published_snapshot_is_marked_and_not_checked_again() {
    let cloud = FakeCloud::default();
    put_snapshots(&cloud, &tags(BUILD, EXECUTION));
    cloud.world().put("/frontload/default/x86_64/snapshot-id", "snap-1");
    end(&cloud);
    let reaped = reap_at(&cloud, LONG_AFTER).await.unwrap();
    let name = "/frontload/default/x86_64/snapshot-id";
    let why = format!(
        "is the newest value of {name}, which has no label yet, in account {OWN} in {HOME}"
    );
    assert_eq!(reaped.kept, [format!("{BUILD}: snap-1 {why}")]);
    assert_eq!(changes(&cloud), ["us-east-1 CreateTags "].map(str::trim_end));
    let mark = cloud.world().snapshots.tags("snap-1").unwrap()["frontload:published"].clone();
    assert_eq!(mark, "true");
    cloud.world().put("/frontload/default/x86_64/snapshot-id", "snap-9");
    assert_eq!(reap_at(&cloud, LONG_AFTER).await.unwrap(), Reaped::default());
}

#[tokio::test]
async fn a_snapshot_in_a_launch_template_is_kept_with_its_replicas() {
    let cloud = FakeCloud::default();
    put_snapshots(&cloud, &tags(BUILD, EXECUTION));
    end(&cloud);
    let image = "<imageId>ami-1</imageId><blockDeviceMapping><item><deviceName>/dev/xvdb</deviceName>\
                 <ebs><snapshotId>snap-2</snapshotId></ebs></item></blockDeviceMapping>";
    answer(&cloud, AWAY, "DescribeImages", format!("<imagesSet><item>{image}</item></imagesSet>"));
    let reaped = reap_at(&cloud, LONG_AFTER).await.unwrap();
    let why = format!("snap-2 is named by AMI ami-1 in account {OWN} in {AWAY}");
    assert_eq!(reaped.kept, [format!("{BUILD}: {why}")]);
    assert_eq!(changes(&cloud), [""; 0]);
}

#[tokio::test]
async fn a_snapshot_shared_with_an_unknown_account_is_kept() {
    let cloud = FakeCloud::default();
    put_snapshots(&cloud, &tags(BUILD, EXECUTION));
    end(&cloud);
    let shared = "<createVolumePermission><item><userId>345678901234</userId></item></createVolumePermission>";
    answer(&cloud, HOME, "DescribeSnapshotAttribute", shared.to_owned());
    let reaped = reap_at(&cloud, LONG_AFTER).await.unwrap();
    assert!(reaped.kept[0].contains("snap-1 is shared with 345678901234"), "{:?}", reaped.kept);
    assert_eq!(changes(&cloud), [""; 0]);
}

/// The recorded build in two regions, its snapshots as [`put_snapshots`] makes them.
fn build() -> Build {
    let mut document = build_document();
    document["regions"] = json!([{"region": HOME}, {"region": AWAY}]);
    serde_json::from_value(document).unwrap()
}

async fn publish(cloud: &FakeCloud, ids: [&str; 2], token: u64) -> Result<()> {
    let build = build();
    let replica = |(id, region): (&str, &str)| Replica {
        region: region.parse().unwrap(),
        snapshot_id: id.parse().unwrap(),
        encrypted: false,
        kms_key_id: None,
    };
    let replicas: Vec<Replica> = ids.into_iter().zip([HOME, AWAY]).map(replica).collect();
    let pulled = serde_json::from_value(pulled()).unwrap();
    let targets = targets(&Manifest::of_replicas(&build, token, &pulled, &replicas));
    let names = ParameterNames::new(&settings().prefix, &build.cache, build.architecture);
    publication::publish(&cloud.clients(), &names, &build.id, token, &targets).await
}

#[tokio::test]
async fn a_partial_publication_is_restored_before_its_snapshots_are_deleted() {
    let cloud = FakeCloud::default();
    put_snapshots(&cloud, &tags(BUILD, EXECUTION));
    take_lease(&cloud, BUILD, EXECUTION).await;
    // Both manifests and one snapshot id are written. Every later write is refused.
    cloud.world().refuse_from = Some(4);
    publish(&cloud, ["snap-1", "snap-2"], 1).await.unwrap_err();
    assert_eq!(cloud.world().newest().len(), 6, "half of it, and what planning reads");
    cloud.world().refuse_from = None;
    end(&cloud);
    assert_eq!(reap(&cloud).await.len(), 3);
    let left = cloud.world().newest();
    assert!(!left.keys().any(|name| name.ends_with("snapshot-id")), "{left:?}");
    assert_eq!(leases(&cloud).read(&key()).await.unwrap().holder, None);
}

#[tokio::test]
async fn a_late_call_of_a_dead_build_may_not_publish() {
    let cloud = FakeCloud::default();
    put_builder(&cloud, &tags(BUILD, EXECUTION));
    put_cache(&cloud, "default", &json!({}));
    let token = take_lease(&cloud, BUILD, EXECUTION).await;
    end(&cloud);
    // Releasing the lease fails. Its token must be raised before.
    cloud.world().refuse_table_from = Some(4);
    assert_eq!(reap_at(&cloud, LONG_AFTER).await.unwrap_err().name(), "AwsDenied");
    assert_eq!(leases(&cloud).read(&key()).await.unwrap().token, token + 1);
}

#[tokio::test]
async fn a_build_that_cannot_be_cleaned_up_does_not_block_others() {
    let cloud = FakeCloud::default();
    put_cache(&cloud, "default", &json!({}));
    put_builder(&cloud, &tags(BUILD, EXECUTION));
    take_lease(&cloud, "a", EXECUTION).await;
    end(&cloud);
    cloud.world().refuse_table_from = Some(3);
    assert_eq!(reap_at(&cloud, LONG_AFTER).await.unwrap_err().name(), "AwsDenied");
    assert_eq!(
        changes(&cloud),
        ["us-east-1 TerminateInstances i-1", "us-east-1 DeleteVolume vol-1"]
    );
}

#[tokio::test]
async fn a_lease_that_another_execution_took_over_is_kept() {
    let cloud = FakeCloud::default();
    put_snapshots(&cloud, &tags(BUILD, EXECUTION));
    take_lease(&cloud, "next", "arn:alive").await;
    end(&cloud);
    assert_eq!(reap(&cloud).await.len(), 2, "the snapshots");
    let holder = leases(&cloud).read(&key()).await.unwrap().holder.unwrap();
    assert_eq!(holder.build.as_str(), "next");
}
