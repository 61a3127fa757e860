//! The scenario that a seed generates: caches, their registry, and pushes in bursts and lulls.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use serde_json::{Value, json};

use super::bursts::Debounce;
use super::time::Millis;
use super::watch::Key;
use frontload_functions::testing::HOST;

const CACHES: usize = 20;
const REPOSITORIES: usize = 16;
pub const PUSHES: usize = 500;

/// One image entry of a cache document.
#[derive(Clone, Debug)]
enum Entry {
    /// A tag that moves.
    Fixed(String, &'static str),
    /// The two highest versions.
    Versions(String),
    /// The version that was pushed last.
    Latest(String),
}

impl Entry {
    fn document(&self) -> Value {
        match self {
            Self::Fixed(repository, tag) => json!(format!("{HOST}/{repository}:{tag}")),
            Self::Versions(repository) => {
                json!({"repository": format!("{HOST}/{repository}"), "versions": ">=1", "newest": 2})
            }
            Self::Latest(repository) => {
                json!({"repository": format!("{HOST}/{repository}"), "tags": "v*"})
            }
        }
    }

    fn is_concerned_by(&self, push: &Push) -> bool {
        match self {
            Self::Fixed(repository, tag) => (repository, *tag) == (&push.repository, &push.tag),
            Self::Versions(repository) | Self::Latest(repository) => {
                *repository == push.repository && push.tag.starts_with('v')
            }
        }
    }
}

/// A cache.
#[derive(Clone, Debug)]
pub struct Cache {
    pub name: String,
    entries: Vec<Entry>,
    architectures: Vec<&'static str>,
    debounce: (u64, u64),
}

impl Cache {
    fn choose(index: usize, rng: &mut Rng) -> Self {
        let mut entries = entries_of(index % REPOSITORIES);
        if index >= REPOSITORIES {
            entries.extend(entries_of((index + 1) % REPOSITORIES));
        }
        let architectures = match rng.u32(0..4) {
            0 => vec!["arm64", "x86_64"],
            1 => vec!["arm64"],
            _ => vec!["x86_64"],
        };
        let debounce = match rng.u32(0..10) {
            0 => (0, 0),
            1 | 2 => (20, 120),
            _ => (60, 600),
        };
        Self { name: format!("cache-{index}"), entries, architectures, debounce }
    }

    /// Returns the fields that differ from the default document of `put_cache`.
    pub fn document(&self) -> Value {
        let (quiet, limit) = self.debounce;
        json!({
            "images": self.entries.iter().map(Entry::document).collect::<Vec<_>>(),
            "architectures": self.architectures,
            "debounce": {"quietSeconds": quiet, "limitSeconds": limit},
        })
    }

    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.architectures.iter().map(|architecture| format!("{}/{architecture}", self.name))
    }

    pub fn is_concerned_by(&self, push: &Push) -> bool {
        self.entries.iter().any(|entry| entry.is_concerned_by(push))
    }

    /// Returns the images that the cache should contain: references with digests.
    pub fn images(&self, registry: &Registry) -> BTreeSet<(String, String)> {
        self.entries.iter().flat_map(|entry| registry.images(entry)).collect()
    }
}

fn entries_of(repository: usize) -> Vec<Entry> {
    let name = repository_name(repository);
    match repository % 4 {
        0 => vec![Entry::Fixed(name, "latest")],
        1 => vec![Entry::Fixed(name.clone(), "latest"), Entry::Fixed(name, "stable")],
        2 => vec![Entry::Versions(name.clone()), Entry::Fixed(name, "latest")],
        _ => vec![Entry::Latest(name)],
    }
}

fn repository_name(repository: usize) -> String {
    format!("team/app-{repository}")
}

/// An image that is pushed.
#[derive(Clone, Debug)]
pub struct Push {
    pub at: Millis,
    pub repository: String,
    pub tag: String,
    pub digest: String,
}

/// All pushes as this test records them, not as Frontload reads them.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// Digest and number of the push, by repository and tag.
    tags: BTreeMap<(String, String), (String, usize)>,
    pushes: usize,
}

impl Registry {
    pub fn push(&mut self, push: &Push) {
        self.pushes += 1;
        let key = (push.repository.clone(), push.tag.clone());
        self.tags.insert(key, (push.digest.clone(), self.pushes));
    }

    fn images(&self, entry: &Entry) -> Vec<(String, String)> {
        let (repository, most) = match entry {
            Entry::Fixed(repository, _) | Entry::Latest(repository) => (repository, 1),
            Entry::Versions(repository) => (repository, 2),
        };
        let minor = |tag: &str| tag.strip_prefix("v1.")?.strip_suffix(".0")?.parse::<usize>().ok();
        let rank = |tag: &str, pushed: usize| match entry {
            Entry::Fixed(_, wanted) => (tag == *wanted).then_some(0),
            Entry::Versions(_) => minor(tag),
            Entry::Latest(_) => minor(tag).map(|_| pushed),
        };
        let here = self.tags.iter().filter(|((of, _), _)| of == repository);
        let mut ranked: Vec<_> = here
            .filter_map(|((_, tag), (digest, pushed))| Some((rank(tag, *pushed)?, tag, digest)))
            .collect();
        ranked.sort_by_key(|(rank, ..)| std::cmp::Reverse(*rank));
        let newest = ranked.into_iter().take(most);
        newest
            .map(|(_, tag, digest)| (format!("{HOST}/{repository}:{tag}"), digest.clone()))
            .collect()
    }
}

/// The whole scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub caches: Vec<Cache>,
    /// Contents of the registry before the start.
    pub stock: Vec<Push>,
    /// Sorted by time.
    pub pushes: Vec<Push>,
}

impl Scenario {
    pub fn choose(rng: &mut Rng) -> Self {
        let caches = (0..CACHES).map(|index| Cache::choose(index, rng)).collect();
        let mut digests = 0;
        let mut stock = Vec::new();
        for repository in 0..REPOSITORIES {
            for tag in ["latest", "stable", "v1.0.0"] {
                stock.push(push(0, repository, tag.to_owned(), &mut digests));
            }
        }
        let mut pushes: Vec<Push> = Vec::new();
        let mut at = rng.u64(1..600_000);
        while pushes.len() < PUSHES {
            let hot: Vec<usize> =
                (0..rng.usize(1..4)).map(|_| rng.usize(0..REPOSITORIES)).collect();
            let gap = rng.u64(500..35_000);
            for _ in 0..rng.usize(1..35).min(PUSHES - pushes.len()) {
                let repository = hot[rng.usize(0..hot.len())];
                let tag = choose_tag(repository, rng);
                let mut push = push(at, repository, tag, &mut digests);
                keep_some_content(&mut push, &pushes, rng);
                pushes.push(push);
                at += rng.u64(1..2 * gap);
            }
            at += rng.u64(1_000..1_500_000);
        }
        Self { caches, stock, pushes }
    }

    pub fn debounces(&self) -> BTreeMap<Key, Debounce> {
        let of_cache = |cache: &Cache| {
            let (quiet, limit) = (cache.debounce.0 * 1000, cache.debounce.1 * 1000);
            cache.keys().map(move |key| (key, Debounce { quiet, limit })).collect::<Vec<_>>()
        };
        self.caches.iter().flat_map(of_cache).collect()
    }
}

fn push(at: Millis, repository: usize, tag: String, digests: &mut u64) -> Push {
    *digests += 1;
    let digest = format!("sha256:{digests:064x}");
    Push { at, repository: repository_name(repository), tag, digest }
}

fn choose_tag(repository: usize, rng: &mut Rng) -> String {
    let version = format!("v1.{}.0", rng.u32(0..60));
    let tags = match repository % 4 {
        0 => ["latest".to_owned(), "latest".to_owned()],
        1 => ["latest".to_owned(), "stable".to_owned()],
        2 => ["latest".to_owned(), version],
        _ => [version.clone(), version],
    };
    tags[rng.usize(0..2)].clone()
}

/// Lets some pushes repeat the digest that the tag already has.
fn keep_some_content(push: &mut Push, before: &[Push], rng: &mut Rng) {
    let is_same = |other: &&Push| other.repository == push.repository && other.tag == push.tag;
    if rng.u32(0..7) == 0
        && let Some(same) = before.iter().rev().find(is_same)
    {
        push.digest.clone_from(&same.digest);
    }
}
