//! The invariants, checked at every change of the lease table and of the parameters.

use std::collections::{BTreeMap, BTreeSet};

use frontload_aws::testing::{FakeCloud, OWN};
use frontload_domain::Manifest;
use serde_json::Value;

use super::bursts::{Debounce, PushRequest, allowed, part, touches};
use super::limits::LIMITS;
use super::time::Millis;

/// Cache and architecture, in the form of the table's key.
pub type Key = String;

/// Caller name of the reaper, which is not an execution.
pub const REAPER: &str = "the reaper";

/// A build's execution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Its ARN.
    pub execution: String,
    /// The id of its build.
    pub build: String,
    /// Whether its request comes from a push and so belongs to a burst.
    pub is_push: bool,
}

/// Records of one cache and architecture.
#[derive(Debug, Default)]
struct Account {
    /// Requests of pushes, in the order of their arrival.
    requests: Vec<PushRequest>,
    /// Ids of the builds that were made, including the schedule's.
    builds: BTreeSet<String>,
    looks: Vec<Millis>,
    deaths: Vec<Millis>,
    /// The execution between its claim and its end.
    working: Option<String>,
}

/// Checks every change.
#[derive(Debug, Default)]
pub struct Watch {
    /// The violations found so far.
    pub broken: Vec<String>,
    debounces: BTreeMap<Key, Debounce>,
    accounts: BTreeMap<Key, Account>,
    executions: BTreeSet<String>,
    died: BTreeMap<String, Millis>,
    /// Builds whose execution died.
    dead: BTreeSet<String>,
}

/// The state before a change.
pub struct Before {
    key: Key,
    /// Build and execution.
    holder: Option<(String, String)>,
    manifest: Option<Manifest>,
}

impl Before {
    /// Reads the state that a call is about to change.
    pub fn look(cloud: &FakeCloud, input: &Value) -> Self {
        let key = input["Key"]["cacheAndArchitecture"]["S"].as_str().unwrap_or_default();
        let name = input["Name"].as_str().unwrap_or_default();
        let value = cloud.world().read(OWN, "us-east-1", name);
        let manifest = value.and_then(|(text, _)| serde_json::from_str(&text).ok());
        Self { key: key.to_owned(), holder: holder(cloud, key), manifest }
    }
}

impl Watch {
    pub fn new(debounces: BTreeMap<Key, Debounce>) -> Self {
        Self { debounces, ..Self::default() }
    }

    fn account(&mut self, key: &str) -> &mut Account {
        self.accounts.entry(key.to_owned()).or_default()
    }

    pub fn started(&mut self, execution: &str) {
        self.executions.insert(execution.to_owned());
    }

    /// The schedule checks a cache and architecture.
    pub fn checked(&mut self, key: &str, now: Millis) {
        self.account(key).looks.push(now);
    }

    /// An execution was aborted.
    pub fn died(&mut self, key: &str, caller: &Caller, now: Millis) {
        self.died.insert(caller.execution.clone(), now);
        self.dead.insert(caller.build.clone());
        self.account(key).deaths.push(now);
        self.ended(key, &caller.execution);
    }

    /// Checks a snapshot that is about to be deleted: no parameter may name it. Only its own
    /// execution may delete it, or the reaper once that execution is over.
    pub fn deletes(&mut self, cloud: &FakeCloud, caller: &Caller, id: &str) {
        let world = cloud.world();
        let Some(tags) = world.snapshots.tags(id) else { return };
        let (maker, who) = (&tags["frontload:execution"], &caller.execution);
        if world.named(id) {
            self.broken.push(format!("{who} deleted {id}, which is published"));
        }
        if who != maker && (who != REAPER || !world.over.contains_key(maker)) {
            self.broken.push(format!("{who} deleted {id} of {maker}"));
        }
    }

    /// S4: unpublished snapshots of executions that are over must be gone.
    pub fn check_snapshots(&mut self, cloud: &FakeCloud) {
        let world = cloud.world();
        for (id, tags) in world.snapshots.all() {
            if !tags.contains_key("frontload:published") && !world.named(id) {
                self.broken.push(format!("{id} of {} is left", tags["frontload:execution"]));
            }
        }
    }

    /// A live execution has claimed. No other execution may be at work.
    pub fn claimed(&mut self, key: &str, caller: &Caller) {
        let account = self.account(key);
        account.builds.insert(caller.build.clone());
        if let Some(other) = account.working.replace(caller.execution.clone()) {
            self.broken.push(format!("{key}: {} builds while {other} does", caller.execution));
        }
    }

    /// An execution has stopped working on its build.
    pub fn ended(&mut self, key: &str, execution: &str) {
        let working = &mut self.account(key).working;
        if working.as_deref() == Some(execution) {
            *working = None;
        }
    }

    pub fn superseded(&mut self, caller: &Caller, successor: &str) {
        if successor == caller.execution || !self.executions.contains(successor) {
            let execution = &caller.execution;
            self.broken.push(format!("{execution} names the successor {successor:?}"));
        }
    }

    /// A call has changed something.
    pub fn changed(
        &mut self,
        cloud: &FakeCloud,
        now: Millis,
        caller: &Caller,
        input: &Value,
        before: &Before,
    ) {
        if let Some(value) = input["Value"].as_str() {
            return self.check_write(caller, value, before);
        }
        let update = input["UpdateExpression"].as_str().unwrap_or_default();
        if update.starts_with("SET newestBuild") && caller.is_push {
            let request = PushRequest { at: now, build: caller.build.clone() };
            self.account(&before.key).requests.push(request);
        }
        let after = holder(cloud, &before.key);
        let Some((build, execution)) = &before.holder else { return };
        let is_past = |died: &Millis| died + LIMITS.lambda < now;
        match after {
            Some((next, _)) if next != *build => {
                if !self.died.get(execution).is_some_and(is_past) {
                    let key = &before.key;
                    self.broken.push(format!(
                        "{key}: {next} took the lease of {execution}, whose calls may still run"
                    ));
                }
            }
            None if caller.execution == REAPER && self.died.get(execution).is_some_and(is_past) => {
            }
            None if *build != caller.build => {
                let released = &caller.execution;
                self.broken.push(format!("{released} gave back the lease of {execution}"));
            }
            None => self.ended(&before.key, execution),
            Some(_) => {}
        }
    }

    /// An older token replaces a newer one only where a build undoes its own writes.
    fn check_write(&mut self, caller: &Caller, value: &str, before: &Before) {
        let written: Option<Manifest> = serde_json::from_str(value).ok();
        let (Some(written), Some(there)) = (written, &before.manifest) else { return };
        let undoes = there.build.as_str() == caller.build
            || caller.execution == REAPER && self.dead.contains(there.build.as_str());
        if written.token < there.token && !undoes {
            self.broken.push(format!(
                "{} wrote token {} over token {} of {}",
                caller.execution, written.token, there.token, there.build
            ));
        }
    }

    /// Whether an execution died when or after the last push came, so that the push may wait for
    /// the schedule.
    pub fn may_be_late(&self, key: &str, last_push: Millis) -> bool {
        let deaths = self.accounts.get(key).map(|account| &account.deaths);
        deaths.is_some_and(|deaths| deaths.iter().any(|died| died + 2 * LIMITS.lambda > last_push))
    }

    /// Compares the builds that were made with the requests.
    pub fn check_counts(&mut self) {
        for (key, account) in &self.accounts {
            self.broken.extend(account.count(key, self.debounces[key]));
        }
    }
}

impl Account {
    /// Returns one message per excess of builds.
    fn count(&self, key: &str, debounce: Debounce) -> Vec<String> {
        let bursts = part(&self.requests, debounce);
        let is_within =
            |look: &&Millis| bursts.iter().any(|burst| touches(burst, **look, debounce));
        let more = self.deaths.len() + self.looks.iter().filter(is_within).count();
        let made = |of: &[PushRequest]| {
            let ids: BTreeSet<_> = of.iter().map(|request| &request.build).collect();
            ids.into_iter().filter(|id| self.builds.contains(*id)).count()
        };
        let total: usize = bursts.iter().map(|burst| allowed(burst, debounce)).sum();
        let mut too_much = Vec::new();
        if made(&self.requests) > total + more {
            let (count, made) = (bursts.len(), made(&self.requests));
            too_much
                .push(format!("{key}: {made} builds for {count} bursts, {total} + {more} allowed"));
        }
        for burst in bursts {
            let (made, most) = (made(burst), 2 * allowed(burst, debounce) + more);
            if made > most {
                let at = burst[0].at;
                too_much
                    .push(format!("{key}: {made} builds for the burst at {at} ms, {most} allowed"));
            }
        }
        too_much
    }
}

/// Build and execution of the lease's holder.
pub fn holder(cloud: &FakeCloud, key: &str) -> Option<(String, String)> {
    let world = cloud.world();
    let item = world.items.get(key)?;
    let text = |name: &str| Some(item.get(name)?["S"].as_str()?.to_owned());
    Some((text("heldBy")?, text("heldByExecution")?))
}
