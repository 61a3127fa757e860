//! Properties of every inventory, tested on random ones. The worlds are small. Their ids,
//! builds, sources and seconds come from so few values that the rules interact.
//!
//! The worlds are the same in each run. Set `PROPTEST_RNG_SEED` to draw others and
//! `PROPTEST_CASES` to draw more.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

const NOW: i64 = 10;
const STACK: &str = "frontload";
const CACHE: &str = "default";

fn config(cases: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    let rng_seed = match asked.rng_seed {
        RngSeed::Random => RngSeed::Fixed(20_260_101),
        RngSeed::Fixed(seed) => RngSeed::Fixed(seed),
    };
    // Record a failure as a unit test of its smallest inventory. A file of seeds would be
    // useless after the next change of the strategies.
    ProptestConfig { cases: cases.max(asked.cases), rng_seed, failure_persistence: None, ..asked }
}

fn id(number: u8) -> SnapshotId {
    format!("snap-{number}").parse().unwrap()
}

fn region(number: u8) -> String {
    ["us-east-1", "eu-west-1", "ap-southeast-2"][usize::from(number) % 3].to_owned()
}

/// `usual` for numbers below `least`, then each of `rare`.
fn pick<T: Clone>(number: u8, usual: T, rare: &[T], least: u8) -> T {
    number.checked_sub(least).map_or(usual, |at| rare[usize::from(at) % rare.len()].clone())
}

fn tags() -> impl Strategy<Value = Tags> {
    (0..40_u8, 0..40_u8, 0..24_u8, 0..40_u8, 0..10_u8).prop_map(
        |(stack, cache, architecture, build, source)| {
            let text = |text: &str| Some(text.to_owned());
            Tags {
                stack: pick(stack, text(STACK), &[None, text("other")], 38),
                cache: pick(cache, text(CACHE), &[None, text("gpu")], 38),
                architecture: pick(architecture, text("x86_64"), &[text("arm64"), None], 22),
                build: (build < 39).then(|| format!("build-{}", build % 5)),
                execution: None,
                source: (source > 3).then(|| id(source - 3).to_string()),
            }
        },
    )
}

/// Snapshots with ids from 1 on; a source of 6 or 7 may be none of them.
fn snapshots() -> impl Strategy<Value = Vec<FoundSnapshot>> {
    let one = (0..3_u8, 0..40_i64, 0..12_u8, tags());
    vec(one, 0..7).prop_map(|all| {
        let numbered = (1..).zip(all);
        numbered
            .map(|(number, (place, started, state, tags))| FoundSnapshot {
                region: region(place),
                id: id(number),
                started: (started < 39).then_some(started % 12),
                state: match state {
                    0..=8 => State::Completed,
                    9 => State::Pending("1%".to_owned()),
                    _ => State::Error("planted".to_owned()),
                },
                tags,
            })
            .collect()
    })
}

fn reference() -> impl Strategy<Value = Reference> {
    (0..12_u8, 1..9_u8, 0..6_u8).prop_map(|(by, snapshot, place)| {
        let parameter = |version, cache: &str| NamedBy::Parameter {
            version,
            cache: cache.parse().unwrap(),
            parameter: format!("/frontload/{cache}/x86_64/snapshot-id"),
        };
        let template = |version| NamedBy::LaunchTemplate { id: "lt-1".to_owned(), version };
        let restore = |state| NamedBy::FastRestore { zone: "us-east-1a".to_owned(), state };
        let by = match by {
            0 | 1 => parameter(ParameterVersion::Current, CACHE),
            2 => parameter(ParameterVersion::Previous, CACHE),
            3 => parameter(ParameterVersion::Newest, CACHE),
            4 => parameter(ParameterVersion::Current, "gpu"),
            5 => template(TemplateVersion::Default),
            6 => template(TemplateVersion::Latest),
            7 => NamedBy::Image { id: "ami-1".to_owned() },
            8 => restore(FastRestoreState::Enabling),
            9 => restore(FastRestoreState::Optimizing),
            10 => restore(FastRestoreState::Enabled),
            _ => restore(FastRestoreState::Disabling),
        };
        let account = ["123456789012", "210987654321"][usize::from(place) % 2].to_owned();
        Reference { by, account, region: region(place / 2), snapshot: id(snapshot) }
    })
}

fn unread_by(reference: &Reference) -> Unread {
    Unread {
        account: reference.account.clone(),
        region: Some(reference.region.clone()),
        what: match &reference.by {
            NamedBy::Parameter { .. } => Unreadable::Parameters,
            NamedBy::LaunchTemplate { .. } => Unreadable::LaunchTemplates,
            NamedBy::Image { .. } => Unreadable::Images,
            NamedBy::FastRestore { .. } => Unreadable::FastRestores,
        },
        why: "AccessDenied".to_owned(),
    }
}

fn worlds() -> impl Strategy<Value = Inventory> {
    (snapshots(), vec(reference(), 0..4), 0..16_u8).prop_map(|(snapshots, references, unread)| {
        let unread =
            if unread == 15 { references.iter().map(unread_by).collect() } else { Vec::new() };
        Inventory { snapshots, references, unread }
    })
}

fn requests() -> impl Strategy<Value = PruneRequest> {
    (0..5_usize, 0..5_u64).prop_map(|(retain, minimum_age_seconds)| PruneRequest {
        stack: STACK.to_owned(),
        cache: CACHE.parse().unwrap(),
        mode: if retain == 4 { Mode::Retire } else { Mode::Prune { retain } },
        minimum_age_seconds,
    })
}

fn ours(snapshot: &FoundSnapshot) -> bool {
    snapshot.tags.stack.as_deref() == Some(STACK) && snapshot.tags.cache.as_deref() == Some(CACHE)
}

fn failed(snapshot: &FoundSnapshot) -> bool {
    matches!(snapshot.state, State::Error(_))
}

/// Safety rule S3, sentence by sentence and without optimization.
struct S3<'a> {
    inventory: &'a Inventory,
    request: &'a PruneRequest,
}

impl S3<'_> {
    /// The sentences that protect a snapshot.
    fn protecting(&self, snapshot: &FoundSnapshot) -> Vec<&'static str> {
        let mut sentences = self.by_itself(snapshot);
        if failed(snapshot) {
            return sentences;
        }
        let family = self.family(snapshot);
        if family.iter().any(|id| self.named(id)) {
            sentences.push("one of its lineage is named");
        }
        let mut kin =
            self.inventory.snapshots.iter().filter(|kin| family.contains(kin.id.as_str()));
        if kin.any(|kin| ours(kin) && !self.by_itself(kin).is_empty()) {
            sentences.push("one of its lineage is protected");
        }
        sentences
    }

    fn by_itself(&self, snapshot: &FoundSnapshot) -> Vec<&'static str> {
        let tags = &snapshot.tags;
        let started = snapshot.started;
        let minimum = i64::try_from(self.request.minimum_age_seconds).unwrap();
        [
            (!ours(snapshot), "it does not carry our tags"),
            (tags.architecture.is_none() || tags.build.is_none(), "its tags are not whole"),
            (self.named(snapshot.id.as_str()), "it is named"),
            (matches!(snapshot.state, State::Pending(_)), "it is pending"),
            (started.is_none_or(|started| NOW - started < minimum), "it is young"),
            (self.among_newest(snapshot), "it is among the newest"),
            (!self.inventory.unread.is_empty(), "something could not be read"),
        ]
        .into_iter()
        .filter_map(|(holds, sentence)| holds.then_some(sentence))
        .collect()
    }

    fn named(&self, id: &str) -> bool {
        self.inventory.references.iter().filter(|reference| reference.snapshot.as_str() == id).any(|reference| {
            let own =
                matches!(&reference.by, NamedBy::Parameter { cache, .. } if cache.as_str() == CACHE);
            !(own && self.request.mode == Mode::Retire)
        })
    }

    fn among_newest(&self, snapshot: &FoundSnapshot) -> bool {
        let Mode::Prune { retain } = self.request.mode else { return false };
        let usable = |other: &&FoundSnapshot| {
            ours(other)
                && other.state == State::Completed
                && other.tags.architecture == snapshot.tags.architecture
                && other.tags.build.is_some()
                && other.started.is_some()
        };
        let all: Vec<&FoundSnapshot> = self.inventory.snapshots.iter().filter(usable).collect();
        let made = |build: &str| {
            let own = all.iter().filter(|other| other.tags.build.as_deref() == Some(build));
            own.filter_map(|other| other.started).max()
        };
        let builds: BTreeSet<&str> =
            all.iter().filter_map(|other| other.tags.build.as_deref()).collect();
        let mut times: Vec<i64> = builds.into_iter().filter_map(made).collect();
        times.sort_unstable_by_key(|time| -time);
        times.truncate(retain);
        let Some(build) = snapshot.tags.build.as_deref() else { return false };
        let usable = snapshot.state == State::Completed && snapshot.tags.architecture.is_some();
        usable && made(build).is_some_and(|time| times.contains(&time))
    }

    /// Every id that sources link to the snapshot, in both directions. Failed snapshots
    /// that are deleted are left out.
    fn family(&self, snapshot: &FoundSnapshot) -> BTreeSet<String> {
        let mut family = BTreeSet::from([snapshot.id.to_string()]);
        for _ in &self.inventory.snapshots {
            for kin in &self.inventory.snapshots {
                let gone = failed(kin) && self.by_itself(kin).is_empty();
                let Some(source) = &kin.tags.source else { continue };
                let link = [kin.id.to_string(), source.clone()];
                if ours(kin) && !gone && link.iter().any(|id| family.contains(id)) {
                    family.extend(link);
                }
            }
        }
        family
    }
}

fn without(inventory: &Inventory, decisions: &[Decision]) -> Inventory {
    let gone: BTreeSet<(&str, &SnapshotId)> = decisions
        .iter()
        .filter(|decision| decision.deletes())
        .map(|decision| (decision.region.as_str(), &decision.snapshot))
        .collect();
    let mut left = inventory.clone();
    left.snapshots.retain(|snapshot| !gone.contains(&(snapshot.region.as_str(), &snapshot.id)));
    left
}

fn deleted(decisions: &[Decision]) -> BTreeSet<&SnapshotId> {
    decisions.iter().filter(|d| d.deletes()).map(|d| &d.snapshot).collect()
}

proptest! {
    #![proptest_config(config(100_000))]

    #[test]
    fn snapshots_that_s3_protects_are_kept_and_all_others_deleted(
        inventory in worlds(), request in requests(),
    ) {
        let s3 = S3 { inventory: &inventory, request: &request };
        let decisions = decide(&inventory, &request, NOW);
        prop_assert_eq!(decisions.len(), inventory.snapshots.len());
        for snapshot in &inventory.snapshots {
            let decision = decisions.iter().find(|d| d.snapshot == snapshot.id).unwrap();
            let sentences = s3.protecting(snapshot);
            if decision.deletes() {
                prop_assert!(sentences.is_empty(), "deleted though {sentences:?}: {decision:?}");
            } else {
                prop_assert!(!sentences.is_empty(), "kept for nothing: {decision:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(config(25_000))]

    #[test]
    fn a_second_decision_deletes_nothing_more(
        inventory in worlds(), request in requests(),
    ) {
        let decisions = decide(&inventory, &request, NOW);
        prop_assert_eq!(&decide(&inventory, &request, NOW), &decisions, "deciding twice");
        let again = decide(&without(&inventory, &decisions), &request, NOW);
        prop_assert!(deleted(&again).is_empty(), "{again:?}");
    }

    #[test]
    fn the_order_of_the_inventory_changes_nothing(
        (inventory, snapshots, references) in worlds().prop_flat_map(|inventory| {
            let snapshots = Just(inventory.snapshots.clone()).prop_shuffle();
            let references = Just(inventory.references.clone()).prop_shuffle();
            (Just(inventory), snapshots, references)
        }),
        request in requests(),
    ) {
        let unread = inventory.unread.iter().rev().cloned().collect();
        let shuffled = Inventory { snapshots, references, unread };
        prop_assert_eq!(decide(&shuffled, &request, NOW), decide(&inventory, &request, NOW));
    }

    #[test]
    fn an_incomplete_inventory_deletes_no_more_than_a_complete_one(
        inventory in worlds(), request in requests(), lost in 0..4_usize,
    ) {
        let mut less = inventory.clone();
        if lost < less.references.len() {
            let reference = less.references.remove(lost);
            less.unread.push(unread_by(&reference));
        }
        let (all, less) = (decide(&inventory, &request, NOW), decide(&less, &request, NOW));
        prop_assert!(deleted(&less).is_subset(&deleted(&all)), "{less:?}");
    }
}

/// Counts how often `worlds()` leads to each reason. An oracle over worlds in which
/// nothing happens would prove nothing.
#[test]
fn the_random_inventories_reach_every_reason() {
    use std::cell::RefCell;

    let seen = RefCell::new(BTreeMap::<&str, usize>::new());
    let mut runner = proptest::test_runner::TestRunner::new(config(5_000));
    let each = |(inventory, request): (Inventory, PruneRequest)| {
        for decision in decide(&inventory, &request, NOW) {
            *seen.borrow_mut().entry(name(&decision.verdict)).or_default() += 1;
        }
        Ok(())
    };
    runner.run(&(worlds(), requests()), each).unwrap();
    let seen = seen.into_inner();
    let rare: Vec<_> = seen.iter().filter(|(_, times)| **times < 10).collect();
    assert!(rare.is_empty() && seen.len() == 22, "{} reasons: {seen:?}", seen.len());
}

fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Keep(Keep::Untagged) => "untagged",
        Verdict::Keep(Keep::OtherStack(_)) => "other stack",
        Verdict::Keep(Keep::OtherCache(_)) => "other cache",
        Verdict::Keep(Keep::Protected(protection)) => own_name(protection),
        Verdict::Keep(Keep::Lineage { protection, .. }) => match protection {
            Protection::Named(_) => "lineage named",
            Protection::Pending => "lineage pending",
            Protection::Young { .. } => "lineage young",
            Protection::AgeUnknown => "lineage of unknown age",
            Protection::AmongNewest { .. } => "lineage newest",
            Protection::TagMissing(_) => "lineage tag missing",
            Protection::MaybeNamed(_) => "lineage maybe named",
        },
        Verdict::Delete(Delete::Superseded { .. }) => "superseded",
        Verdict::Delete(Delete::Failed { .. }) => "failed",
        Verdict::Delete(Delete::Retired { .. }) => "retired",
    }
}

fn own_name(protection: &Protection) -> &'static str {
    match protection {
        Protection::Named(reference) => match reference.by {
            NamedBy::Parameter { .. } => "parameter",
            NamedBy::LaunchTemplate { .. } => "launch template",
            NamedBy::Image { .. } => "AMI",
            NamedBy::FastRestore { .. } => "fast restore",
        },
        Protection::Pending => "pending",
        Protection::Young { .. } => "young",
        Protection::AgeUnknown => "unknown age",
        Protection::AmongNewest { .. } => "newest",
        Protection::TagMissing(_) => "tag missing",
        Protection::MaybeNamed(_) => "maybe named",
    }
}
