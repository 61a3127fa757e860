//! At least one test for each rule of pruning, on worlds of a few snapshots.

use super::*;

const DAY: i64 = 86_400;
/// Every test decides on day 100.
const NOW: i64 = 100 * DAY;
const PARAMETER: &str = "/frontload/default/x86_64/snapshot-id";

fn request() -> PruneRequest {
    PruneRequest {
        stack: "frontload".to_owned(),
        cache: "default".parse().unwrap(),
        mode: Mode::Prune { retain: 2 },
        minimum_age_seconds: 7 * 86_400,
    }
}

fn retirement() -> PruneRequest {
    PruneRequest { mode: Mode::Retire, ..request() }
}

/// A completed snapshot of our cache in us-east-1, from a build of its own.
fn snapshot(id: &str, day: i64) -> FoundSnapshot {
    FoundSnapshot {
        region: "us-east-1".to_owned(),
        id: id.parse().unwrap(),
        started: Some(day * DAY),
        state: State::Completed,
        tags: Tags {
            stack: Some("frontload".to_owned()),
            cache: Some("default".to_owned()),
            architecture: Some("x86_64".to_owned()),
            build: Some(format!("build-of-{id}")),
            execution: None,
            source: None,
        },
    }
}

fn replica(id: &str, source: &FoundSnapshot) -> FoundSnapshot {
    let tags = Tags { source: Some(source.id.to_string()), ..source.tags.clone() };
    let region = "eu-west-1".to_owned();
    FoundSnapshot { id: id.parse().unwrap(), region, tags, ..source.clone() }
}

fn failed(snapshot: FoundSnapshot) -> FoundSnapshot {
    FoundSnapshot { state: State::Error("key is disabled".to_owned()), ..snapshot }
}

fn pending(snapshot: FoundSnapshot) -> FoundSnapshot {
    FoundSnapshot { state: State::Pending("7%".to_owned()), ..snapshot }
}

/// `snap-old`, which nothing protects, and the two newest builds.
fn superseded() -> Inventory {
    let snapshots = vec![snapshot("snap-old", 10), snapshot("snap-b", 20), snapshot("snap-c", 30)];
    Inventory { snapshots, ..Inventory::default() }
}

fn with(mut inventory: Inventory, more: impl IntoIterator<Item = FoundSnapshot>) -> Inventory {
    inventory.snapshots.extend(more);
    inventory
}

fn reference(snapshot: &str, by: NamedBy) -> Reference {
    Reference {
        by,
        account: "210987654321".to_owned(),
        region: "eu-west-1".to_owned(),
        snapshot: snapshot.parse().unwrap(),
    }
}

fn parameter(version: ParameterVersion, cache: &str) -> NamedBy {
    NamedBy::Parameter {
        version,
        cache: cache.parse().unwrap(),
        parameter: format!("/frontload/{cache}/x86_64/snapshot-id"),
    }
}

fn template(version: TemplateVersion) -> NamedBy {
    NamedBy::LaunchTemplate { id: "lt-1".to_owned(), version }
}

fn image() -> NamedBy {
    NamedBy::Image { id: "ami-1".to_owned() }
}

fn fast_restore(state: FastRestoreState) -> NamedBy {
    NamedBy::FastRestore { zone: "us-east-1a".to_owned(), state }
}

fn unread(what: Unreadable, region: Option<&str>) -> Unread {
    Unread {
        account: "210987654321".to_owned(),
        region: region.map(ToOwned::to_owned),
        what,
        why: "AccessDenied".to_owned(),
    }
}

/// The decision for `snap-old` in a inventory where `by` names it.
fn named(by: NamedBy, request: &PruneRequest) -> String {
    let inventory = Inventory { references: vec![reference("snap-old", by)], ..superseded() };
    reason(&inventory, request, "snap-old")
}

/// `keep: reason` or `delete: reason` of one snapshot.
fn reason(inventory: &Inventory, request: &PruneRequest, id: &str) -> String {
    let decisions = decide(inventory, request, NOW);
    match decisions.iter().find(|d| d.snapshot.as_str() == id).map(|d| &d.verdict) {
        Some(Verdict::Keep(reason)) => format!("keep: {reason}"),
        Some(Verdict::Delete(reason)) => format!("delete: {reason}"),
        None => "undecided".to_owned(),
    }
}

/// The ids of the deleted snapshots, separated by spaces.
fn deleted(inventory: &Inventory, request: &PruneRequest) -> String {
    let decisions = decide(inventory, request, NOW);
    let ids: Vec<&str> =
        decisions.iter().filter(|d| d.deletes()).map(|d| d.snapshot.as_str()).collect();
    ids.join(" ")
}

#[test]
fn snapshots_older_than_the_newest_builds_are_deleted() {
    let inventory = superseded();
    assert_eq!(deleted(&inventory, &request()), "snap-old");
    assert_eq!(
        reason(&inventory, &request(), "snap-old"),
        "delete: nobody names it, it is 90 days old, and 2 builds are newer"
    );
    assert_eq!(
        reason(&inventory, &request(), "snap-b"),
        "keep: belongs to one of the 2 newest builds for \"x86_64\", which are retained"
    );
}

#[test]
fn each_architecture_has_its_own_newest_builds() {
    let mut arm = snapshot("snap-arm", 1);
    arm.tags.architecture = Some("arm64".to_owned());
    assert_eq!(deleted(&with(superseded(), [arm]), &request()), "snap-old");
}

#[test]
fn builds_are_counted_not_snapshots() {
    let newest = snapshot("snap-c", 30);
    let replicas = ["snap-c1", "snap-c2"].map(|id| replica(id, &newest));
    assert_eq!(deleted(&with(superseded(), replicas), &request()), "snap-old");
}

#[test]
fn builds_of_the_same_second_are_equally_new() {
    let inventory = with(superseded(), [snapshot("snap-also", 20)]);
    assert_eq!(deleted(&inventory, &request()), "snap-old");
}

#[test]
fn a_build_is_as_new_as_its_newest_snapshot() {
    let mut again = snapshot("snap-old2", 40);
    again.tags.build = Some("build-of-snap-old".to_owned());
    assert_eq!(deleted(&with(superseded(), [again]), &request()), "snap-b");
}

#[test]
fn a_parameter_of_any_account_and_region_protects() {
    let shown = |version| named(parameter(version, "default"), &request());
    let place = "in account 210987654321 in eu-west-1";
    assert_eq!(
        shown(ParameterVersion::Current),
        format!("keep: is the current value of {PARAMETER} {place}")
    );
    assert_eq!(
        shown(ParameterVersion::Previous),
        format!("keep: is the previous value of {PARAMETER} {place}")
    );
    assert_eq!(
        shown(ParameterVersion::Newest),
        format!("keep: is the newest value of {PARAMETER}, which has no label yet, {place}")
    );
}

#[test]
fn a_parameter_of_another_cache_protects() {
    let shown = named(parameter(ParameterVersion::Current, "gpu"), &request());
    assert!(shown.starts_with("keep: is the current value of /frontload/gpu/"), "{shown}");
}

#[test]
fn both_versions_of_a_launch_template_protect() {
    assert_eq!(
        named(template(TemplateVersion::Default), &request()),
        "keep: is named by the default version of launch template lt-1 in account 210987654321 \
         in eu-west-1"
    );
    let latest = named(template(TemplateVersion::Latest), &request());
    assert!(latest.starts_with("keep: is named by the latest version of"), "{latest}");
}

#[test]
fn an_ami_protects() {
    assert_eq!(
        named(image(), &request()),
        "keep: is named by AMI ami-1 in account 210987654321 in eu-west-1"
    );
}

#[test]
fn fast_snapshot_restore_protects_until_it_is_disabled() {
    for (state, text) in [
        (FastRestoreState::Enabling, "enabling"),
        (FastRestoreState::Optimizing, "optimizing"),
        (FastRestoreState::Enabled, "enabled"),
        (FastRestoreState::Disabling, "disabling"),
    ] {
        assert_eq!(
            named(fast_restore(state), &request()),
            format!(
                "keep: has fast snapshot restore in state {text} for us-east-1a in account \
                 210987654321 in eu-west-1"
            )
        );
    }
}

#[test]
fn a_current_parameter_is_the_first_of_several_reasons() {
    let references = [image(), parameter(ParameterVersion::Current, "default")];
    let references = references.map(|by| reference("snap-old", by)).to_vec();
    let shown = reason(&Inventory { references, ..superseded() }, &request(), "snap-old");
    assert!(shown.starts_with("keep: is the current value of"), "{shown}");
}

#[test]
fn snapshots_younger_than_the_minimum_age_are_kept() {
    let shown = |started: Option<i64>| {
        let inventory =
            Inventory { snapshots: vec![snapshot("snap-1", 0)], ..Inventory::default() };
        let mut inventory = with(inventory, [snapshot("snap-2", 101)]);
        inventory.snapshots[0].started = started;
        let request = PruneRequest { mode: Mode::Prune { retain: 1 }, ..request() };
        reason(&inventory, &request, "snap-1")
    };
    let limit = NOW - 7 * DAY;
    assert_eq!(
        shown(Some(limit)),
        "delete: nobody names it, it is 7 days old, and 1 build is newer"
    );
    assert_eq!(shown(Some(limit + 1)), "keep: is 6 days old, the minimum age is 7 days");
    assert_eq!(shown(Some(NOW + 5)), "keep: is -5 seconds old, the minimum age is 7 days");
    assert_eq!(shown(None), "keep: has no start time, so that its age is unknown");
}

#[test]
fn snapshots_of_other_stacks_and_caches_are_kept() {
    let shown = |change: fn(&mut Tags)| {
        let mut inventory = superseded();
        change(&mut inventory.snapshots[0].tags);
        [request(), retirement()].map(|request| reason(&inventory, &request, "snap-old"))
    };
    let both = |text: &str| [format!("keep: {text}"), format!("keep: {text}")];
    assert_eq!(shown(|tags| tags.stack = None), both("carries no tag frontload:stack"));
    assert_eq!(
        shown(|tags| tags.stack = Some("a\nb".to_owned())),
        both("belongs to stack \"a\\nb\"")
    );
    assert_eq!(shown(|tags| tags.cache = None), both("carries no tag frontload:cache"));
    assert_eq!(shown(|tags| tags.cache = Some("gpu".to_owned())), both("belongs to cache \"gpu\""));
    assert_eq!(
        shown(|tags| tags.architecture = None),
        both("carries no tag frontload:architecture")
    );
    assert_eq!(shown(|tags| tags.build = None), both("carries no tag frontload:build"));
}

#[test]
fn other_stacks_builds_do_not_count_among_the_newest() {
    let mut other = snapshot("snap-x", 50);
    other.tags.stack = Some("other".to_owned());
    assert_eq!(deleted(&with(superseded(), [other]), &request()), "snap-old");
}

#[test]
fn a_source_and_its_replicas_are_deleted_together() {
    let replicas = ["snap-r1", "snap-r2"].map(|id| replica(id, &snapshot("snap-old", 10)));
    let inventory = with(superseded(), replicas);
    assert_eq!(deleted(&inventory, &request()), "snap-r1 snap-r2 snap-old");
}

#[test]
fn a_replica_that_is_protected_keeps_its_source_and_the_other_replicas() {
    let replicas = ["snap-r1", "snap-r2"].map(|id| replica(id, &snapshot("snap-old", 10)));
    let mut inventory = with(superseded(), replicas);
    inventory.references.push(reference("snap-r1", image()));
    assert_eq!(deleted(&inventory, &request()), "");
    for id in ["snap-old", "snap-r2"] {
        assert_eq!(
            reason(&inventory, &request(), id),
            "keep: shares its lineage with snap-r1, which is named by AMI ami-1 in account \
             210987654321 in eu-west-1"
        );
    }
}

#[test]
fn a_source_that_is_protected_keeps_its_replicas() {
    let mut inventory = with(superseded(), [replica("snap-r", &snapshot("snap-old", 10))]);
    inventory.references.push(reference("snap-old", image()));
    assert_eq!(deleted(&inventory, &request()), "");
}

#[test]
fn replicas_of_a_deleted_source_still_belong_together() {
    let source = snapshot("snap-gone", 10);
    let mut inventory = with(superseded(), ["snap-r1", "snap-r2"].map(|id| replica(id, &source)));
    assert_eq!(deleted(&inventory, &request()), "snap-r1 snap-r2 snap-old");
    inventory.references.push(reference("snap-r1", image()));
    assert_eq!(deleted(&inventory, &request()), "snap-old");
}

#[test]
fn a_young_replica_keeps_its_source() {
    let mut young = replica("snap-r", &snapshot("snap-old", 10));
    young.started = Some(NOW);
    young.tags.build = Some("build-of-snap-b".to_owned());
    let request = PruneRequest { mode: Mode::Prune { retain: 1 }, ..request() };
    let shown = reason(&with(superseded(), [young]), &request, "snap-old");
    assert_eq!(
        shown,
        "keep: shares its lineage with snap-r, which is 0 seconds old, the minimum age is 7 days"
    );
}

#[test]
fn a_cycle_of_sources_is_one_lineage() {
    let mut inventory = superseded();
    inventory.snapshots[0].tags.source = Some("snap-b".to_owned());
    inventory.snapshots[1].tags.source = Some("snap-old".to_owned());
    assert_eq!(deleted(&inventory, &request()), "");
}

#[test]
fn a_pending_snapshot_is_kept_with_its_source() {
    let replica = pending(replica("snap-r", &snapshot("snap-old", 10)));
    let inventory = with(superseded(), [replica]);
    assert_eq!(
        reason(&inventory, &request(), "snap-r"),
        "keep: is pending: a running build may be making it"
    );
    assert_eq!(deleted(&inventory, &request()), "");
}

#[test]
fn pending_builds_do_not_count_among_the_newest() {
    let inventory = with(superseded(), [pending(snapshot("snap-d", 99))]);
    assert_eq!(deleted(&inventory, &request()), "snap-old");
}

#[test]
fn a_failed_snapshot_is_deleted_despite_a_new_build_and_a_referenced_source() {
    let mut inventory = with(superseded(), [failed(replica("snap-r", &snapshot("snap-c", 30)))]);
    inventory.references.push(reference("snap-c", image()));
    assert_eq!(
        reason(&inventory, &request(), "snap-r"),
        "delete: nobody names it, it is 70 days old, and in state error: key is disabled"
    );
}

#[test]
fn a_failed_snapshot_is_deleted_although_it_is_the_source_of_a_newer_one() {
    let old = failed(snapshot("snap-failed", 10));
    let mut copy = replica("snap-r", &old);
    copy.state = State::Completed;
    copy.started = Some(NOW);
    assert_eq!(
        deleted(&with(superseded(), [old, copy]), &request()),
        "snap-b snap-failed snap-old"
    );
}

#[test]
fn a_deleted_failed_snapshot_links_no_lineage() {
    let failed = failed(replica("snap-failed", &snapshot("snap-c", 30)));
    let mut copy = snapshot("snap-copy", 10);
    copy.tags.source = Some("snap-failed".to_owned());
    let inventory = with(superseded(), [failed, copy]);
    assert_eq!(deleted(&inventory, &request()), "snap-failed snap-copy snap-old");
}

#[test]
fn a_young_or_referenced_failed_snapshot_is_kept() {
    let mut inventory = with(superseded(), [failed(snapshot("snap-d", 99))]);
    assert_eq!(deleted(&inventory, &request()), "snap-old");
    inventory.snapshots[3].started = Some(0);
    assert_eq!(deleted(&inventory, &request()), "snap-d snap-old");
    inventory.references.push(reference("snap-d", image()));
    assert_eq!(deleted(&inventory, &request()), "snap-old");
}

#[test]
fn failed_builds_do_not_count_among_the_newest() {
    let inventory =
        with(superseded(), [failed(snapshot("snap-d", 40)), failed(snapshot("snap-e", 41))]);
    assert_eq!(deleted(&inventory, &request()), "snap-d snap-e snap-old");
}

#[test]
fn nothing_is_deleted_while_the_inventory_is_incomplete() {
    let shown = |what, region| {
        let inventory = Inventory { unread: vec![unread(what, region)], ..superseded() };
        [request(), retirement()].map(|request| {
            assert_eq!(deleted(&inventory, &request), "");
            reason(&inventory, &request, "snap-old")
                .replace("keep: may be named in a place that could not ", "")
        })
    };
    for (what, text) in [
        (Unreadable::Everything, "anything"),
        (Unreadable::Snapshots, "snapshots"),
        (Unreadable::Parameters, "parameters"),
        (Unreadable::LaunchTemplates, "launch templates"),
        (Unreadable::Images, "AMIs"),
        (Unreadable::FastRestores, "fast snapshot restores"),
    ] {
        let text = |region: &str| {
            format!("be read: {text} of account 210987654321 in {region}: AccessDenied")
        };
        assert_eq!(shown(what, Some("eu-west-1")), [text("eu-west-1"), text("eu-west-1")]);
        assert_eq!(shown(what, None), [text("any region"), text("any region")]);
    }
}

#[test]
fn retiring_deletes_the_newest_builds_too() {
    let inventory = superseded();
    assert_eq!(deleted(&inventory, &retirement()), "snap-b snap-c snap-old");
    assert_eq!(
        reason(&inventory, &retirement(), "snap-c"),
        "delete: nobody else names it, it is 70 days old, and cache default is retired"
    );
}

#[test]
fn retiring_ignores_only_the_caches_own_parameters() {
    for version in [ParameterVersion::Current, ParameterVersion::Previous, ParameterVersion::Newest]
    {
        let own = named(parameter(version, "default"), &retirement());
        assert!(own.starts_with("delete: "), "{own}");
        let other = named(parameter(version, "gpu"), &retirement());
        assert!(other.starts_with("keep: "), "{other}");
    }
}

#[test]
fn retiring_keeps_snapshots_in_launch_templates_amis_and_fast_restore() {
    for by in [template(TemplateVersion::Default), image(), fast_restore(FastRestoreState::Enabled)]
    {
        let shown = named(by, &retirement());
        assert!(shown.starts_with("keep: "), "{shown}");
    }
}

#[test]
fn retiring_keeps_young_and_pending_snapshots() {
    let more = [snapshot("snap-d", 94), pending(snapshot("snap-e", 40))];
    assert_eq!(deleted(&with(superseded(), more), &retirement()), "snap-b snap-c snap-old");
}

#[test]
fn decisions_are_sorted_by_region_and_id() {
    let inventory = with(superseded(), [replica("snap-z", &snapshot("snap-c", 30))]);
    let decisions = decide(&inventory, &request(), NOW);
    let ids: Vec<&str> = decisions.iter().map(|d| d.snapshot.as_str()).collect();
    assert_eq!(ids, ["snap-z", "snap-b", "snap-c", "snap-old"]);
}

#[test]
fn a_decision_is_shown_as_the_state_machine_reports_it() {
    let decisions = decide(&superseded(), &request(), NOW);
    assert_eq!(
        serde_json::to_string(&decisions[2]).unwrap(),
        r#"{"region":"us-east-1","snapshotId":"snap-old","decision":"delete","reason":"nobody names it, it is 90 days old, and 2 builds are newer"}"#
    );
    assert_eq!(serde_json::to_value(&decisions[0]).unwrap()["decision"], "keep");
}
