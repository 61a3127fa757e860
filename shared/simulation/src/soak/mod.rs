//! A soak of pushes. A seed generates 500 pushes to 20 caches, the fate of their events (late,
//! duplicated, reordered, lost) and the executions that die. The functions are the real ones and
//! use the SDK's real clients. AWS is `FakeCloud`, Step Functions is restated in `machines`, and
//! time is virtual. Calls of functions that run at the same time take effect in any order.
//!
//! `cargo test` runs only the first few seeds, because one takes a quarter of a minute with the
//! SDK's unoptimised code. `make soak SEED=<n> ROUNDS=<n>` runs any.

mod bursts;
mod limits;
mod machines;
mod network;
mod scenario;
mod time;
mod watch;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::catch_unwind;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use fastrand::Rng;
use frontload_aws::testing::OWN;
use frontload_domain::Manifest;
use serde_json::{Value, json};

use frontload_functions::testing::put_cache;
use machines::{Counts, Simulation};
use network::Network;
use scenario::{Cache, PUSHES, Push, Registry, Scenario};
use time::{Millis, Tasks};
use watch::{Key, Watch, holder};

const HOUR: Millis = 3_600_000;
/// Default of `ReconcileRate` in the template.
const BETWEEN_LOOKS: Millis = 6 * HOUR;
/// Interval of the reaper's calls that no death causes. It is longer than in the reaper's schedule,
/// whose calls would be most of a seed's work.
const BETWEEN_REAPS: Millis = 2 * HOUR;
/// Maximum number of looks after the last push until everything is at rest.
const MOST_LOOKS: usize = 10;

/// Number of seeds that `cargo test` runs: half a minute on two cores. CI runs five.
const SEEDS: u64 = 2;

/// Result of one seed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Outcome {
    counts: Counts,
    /// Virtual hours.
    hours: u64,
    events: usize,
    lost: usize,
    /// Number of pairs of cache and architecture that were behind the registry when all was quiet,
    /// because an event was lost or an execution had died.
    behind: usize,
    /// Looks of the schedule after that until one changed nothing. That one is not counted.
    looks: usize,
    broken: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counts, hours, events, lost, behind, looks, .. } = self;
        let Counts { executions, builds, superseded, unchanged, deaths, late_calls, reaped } =
            counts;
        write!(
            f,
            "{PUSHES} pushes in {hours} h, {events} events, {lost} pushes without; {executions} \
             executions: {builds} builds, {superseded} superseded, {unchanged} unchanged, {deaths} \
             deaths, {late_calls} with a late call; {reaped} left and reaped; {behind} behind, \
             mended by {looks} looks"
        )
    }
}

/// One seed's run.
struct Run {
    world: Rc<Simulation>,
    scenario: Scenario,
    registry: RefCell<Registry>,
    /// When the last push of each cache and architecture came, and whether its event
    /// was lost.
    last: RefCell<BTreeMap<Key, (Millis, bool)>>,
    /// Whether everything has come to rest.
    rests: Cell<bool>,
    outcome: RefCell<Outcome>,
}

fn soak(seed: u64) -> Outcome {
    // The SDK requires a tokio runtime, although nothing here waits for tokio's clock.
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _tokio = tokio.enter();
    let mut rng = Rng::with_seed(seed);
    let scenario = Scenario::choose(&mut rng);
    let tasks = Tasks::default();
    let watch = Watch::new(scenario.debounces());
    let network = Network::new(tasks.clock.clone(), rng.fork(), watch);
    let peace = scenario.pushes.last().map_or(0, |push| push.at) + HOUR / 2;
    let world = Rc::new(Simulation::new(tasks.clone(), network, rng, peace));
    let (registry, last, rests, outcome) = Default::default();
    let run = Rc::new(Run { world, scenario, registry, last, rests, outcome });
    run.stock();
    tasks.start(run.clone().push_all());
    tasks.start(run.clone().look_again_and_again());
    tasks.start(run.clone().reap_again_and_again());
    tasks.run();
    run.close()
}

impl Run {
    fn stock(&self) {
        for push in &self.scenario.stock {
            self.register(push);
        }
        for cache in &self.scenario.caches {
            put_cache(&self.world.network.cloud, &cache.name, &cache.document());
        }
        // `put_cache` also pushes an image. No cache here contains it.
    }

    fn register(&self, push: &Push) {
        let Push { repository, tag, digest, .. } = push;
        self.world.network.cloud.world().registry.push(repository, tag, digest);
        self.registry.borrow_mut().push(push);
    }

    async fn push_all(self: Rc<Self>) {
        for (number, push) in self.scenario.pushes.iter().enumerate() {
            self.world.tasks.clock.sleep_until(push.at).await;
            self.register(push);
            let events = self.deliver(number, push);
            let mut last = self.last.borrow_mut();
            for cache in self.scenario.caches.iter().filter(|cache| cache.is_concerned_by(push)) {
                last.extend(cache.keys().map(|key| (key, (push.at, events == 0))));
            }
        }
    }

    /// Sends the events of a push: none, one or several. Returns how many of them name its tag.
    fn deliver(&self, number: usize, push: &Push) -> usize {
        let chance = |one_of: u64| self.world.between(0, one_of) == 0;
        let copies = match self.world.between(0, 40) {
            0 => 0,
            1..=3 => 2,
            _ => 1,
        };
        let mut outcome = self.outcome.borrow_mut();
        outcome.lost += usize::from(copies == 0);
        for copy in 0..copies {
            let late = if chance(8) { 90_000 } else { 5_000 };
            self.send(format!("push-{number}-{copy}"), late, event(push, Some(&push.tag)));
        }
        outcome.events += copies;
        if chance(6) {
            // The image of one architecture in an index comes without a tag.
            self.send(format!("push-{number}-untagged"), 5_000, event(push, None));
            outcome.events += 1;
        }
        copies
    }

    fn send(&self, name: String, late: Millis, event: Value) {
        let (world, delay) = (self.world.clone(), self.world.between(300, late));
        self.world.tasks.start(async move {
            world.sleep(delay).await;
            world.run_pipeline(name, event).await;
        });
    }

    /// Runs the schedule from a random time on, until all is quiet and a look changes nothing.
    async fn look_again_and_again(self: Rc<Self>) {
        let world = &self.world;
        let mut at = world.between(0, BETWEEN_LOOKS);
        for look in 0.. {
            world.tasks.clock.sleep_until(at).await;
            at += BETWEEN_LOOKS;
            let builds = world.counts.borrow().builds;
            let is_quiet = world.now() > world.peace + HOUR && world.running.get() == 0;
            if is_quiet && self.outcome.borrow().looks == 0 {
                self.count_behind();
            }
            let request = json!({"reconcile": true});
            let round = world.clone().run_pipeline(format!("look-{look}"), request);
            if !is_quiet {
                world.tasks.start(round);
                continue;
            }
            round.await;
            if world.counts.borrow().builds == builds {
                return self.rests.set(true);
            }
            self.outcome.borrow_mut().looks += 1;
            if self.outcome.borrow().looks > MOST_LOOKS {
                world.watch().broken.push(format!("no rest after {MOST_LOOKS} looks"));
                return self.rests.set(true);
            }
        }
    }

    async fn reap_again_and_again(self: Rc<Self>) {
        self.world.sleep(self.world.between(0, BETWEEN_REAPS)).await;
        while !self.rests.get() {
            self.world.reap().await;
            self.world.sleep(BETWEEN_REAPS).await;
        }
        self.world.reap().await;
    }

    /// Counts what is behind. Without a look of the schedule, a cache and architecture may be
    /// behind only if the last event was lost or an execution died.
    fn count_behind(&self) {
        let last = self.last.borrow();
        for (cache, key) in self.all() {
            let Some((at, no_event)) = last.get(&key) else { continue };
            let Some(wrong) = self.compare(cache, &key) else { continue };
            self.outcome.borrow_mut().behind += 1;
            let mut watch = self.world.watch();
            if !no_event && !watch.may_be_late(&key, *at) {
                watch.broken.push(format!("a push is lost although nobody died: {wrong}"));
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = (&Cache, Key)> {
        self.scenario.caches.iter().flat_map(|cache| cache.keys().map(move |key| (cache, key)))
    }

    /// Returns `Some` with the difference if the published build does not match the registry.
    fn compare(&self, cache: &Cache, key: &str) -> Option<String> {
        let wanted = cache.images(&self.registry.borrow());
        let world = self.world.network.cloud.world();
        let read = |name: &str| {
            let current = format!("/frontload/{key}/{name}:current");
            world.read(OWN, "us-east-1", &current).map(|(value, _)| value)
        };
        let Some(manifest) = read("manifest") else { return Some(format!("{key}: no manifest")) };
        let manifest: Manifest = serde_json::from_str(&manifest).unwrap();
        let image = |image: &frontload_domain::CachedImage| {
            (image.reference.to_string(), image.digest.to_string())
        };
        let found: BTreeSet<_> = manifest.images.iter().map(image).collect();
        if found != wanted {
            return Some(format!("{key}: published {found:?}, the registry has {wanted:?}"));
        }
        let id = read("snapshot-id");
        let tags = id.as_ref().and_then(|id| world.snapshots.tags(id));
        let is_whole = id.as_deref() == Some(manifest.snapshot_id.as_str())
            && tags.and_then(|tags| tags.get("frontload:build"))
                == Some(&manifest.build.to_string());
        (!is_whole).then(|| format!("{key}: {id:?} is not the snapshot of {}", manifest.build))
    }

    fn close(&self) -> Outcome {
        let mut watch = self.world.watch();
        watch.check_counts();
        watch.check_snapshots(&self.world.network.cloud);
        for (cache, key) in self.all() {
            watch.broken.extend(self.compare(cache, &key));
            if let Some((_, execution)) = holder(&self.world.network.cloud, &key) {
                watch.broken.push(format!("{key}: {execution} still holds the lease"));
            }
        }
        let counts = self.world.counts.borrow().clone();
        let (hours, broken) = (self.world.now() / HOUR, watch.broken.clone());
        Outcome { counts, hours, broken, ..self.outcome.borrow().clone() }
    }
}

fn event(push: &Push, tag: Option<&str>) -> Value {
    let mut event: Value =
        serde_json::from_str(include_str!("../../../../tests/events/ecr-push.json")).unwrap();
    let detail = event["detail"].as_object_mut().unwrap();
    detail.insert("repository-name".to_owned(), json!(push.repository));
    detail.insert("image-digest".to_owned(), json!(push.digest));
    match tag {
        Some(tag) => detail.insert("image-tag".to_owned(), json!(tag)),
        None => detail.remove("image-tag"),
    };
    event
}

/// Runs seeds in parallel. Returns the last line: what held, or what broke.
fn soak_all(first: u64, rounds: u64) -> Result<String, String> {
    let next = AtomicU64::new(first);
    let started = Instant::now();
    let work = || {
        let mut outcomes = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + rounds {
                return outcomes;
            }
            let outcome = catch_unwind(|| soak(seed)).unwrap_or_else(|_| Outcome {
                broken: vec!["it panicked".to_owned()],
                ..Outcome::default()
            });
            println!("{:6.1} s, seed {seed}: {outcome}", started.elapsed().as_secs_f64());
            for broken in &outcome.broken {
                println!("  BROKEN, seed {seed}: {broken}");
            }
            outcomes.push((seed, outcome));
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut outcomes: Vec<(u64, Outcome)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    outcomes.sort_by_key(|(seed, _)| *seed);
    conclude(first, rounds, &outcomes)
}

fn conclude(first: u64, rounds: u64, outcomes: &[(u64, Outcome)]) -> Result<String, String> {
    let broken = outcomes.iter().find(|(_, outcome)| !outcome.broken.is_empty());
    if let Some((seed, outcome)) = broken {
        let Outcome { broken, .. } = outcome;
        return Err(format!(
            "soak: BROKEN: {} ({} such); again by: make soak SEED={seed} ROUNDS=1",
            broken[0],
            broken.len()
        ));
    }
    let sum = |figure: fn(&Counts) -> usize| -> usize {
        outcomes.iter().map(|(_, outcome)| figure(&outcome.counts)).sum()
    };
    let looks = outcomes.iter().map(|(_, outcome)| outcome.looks).max().unwrap_or_default();
    Ok(format!(
        "soak: held with seeds {first} to {}, state machines re-stated: published is what the \
         registries have, one build at a time, no older token over a newer, nothing left of the \
         dead, {} builds for {} executions and {} deaths, {} leftovers reaped, at most {looks} looks \
         of the schedule to mend what was lost",
        first + rounds - 1,
        sum(|counts| counts.builds),
        sum(|counts| counts.executions),
        sum(|counts| counts.deaths),
        sum(|counts| counts.reaped),
    ))
}

#[test]
fn every_push_counts_once_despite_losses_delays_and_deaths() {
    let summary = soak_all(1, SEEDS).unwrap_or_else(|broken| panic!("{broken}"));
    println!("{summary}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(soak(0), soak(0));
}

#[test]
#[ignore = "`make soak` runs it"]
fn any_seed() {
    let number = |name: &str| std::env::var(name).unwrap().parse().unwrap();
    match soak_all(number("SOAK_SEED"), number("SOAK_ROUNDS")) {
        Ok(summary) => println!("{summary}"),
        Err(broken) => {
            println!("{broken}");
            panic!("see the last line");
        }
    }
}
