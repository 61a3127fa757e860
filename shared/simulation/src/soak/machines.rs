//! A stand-in for Step Functions: restates the control flow of `pipeline.asl.json` and
//! `build.asl.json`. It calls the real Lambdas, except for those between claim and publish
//! (preflight, launch, pull, snapshot, replicate) and prune. In place of the builder, some minutes
//! pass and a completed snapshot with our tags appears.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::MutexGuard;

use fastrand::Rng;
use frontload_aws::testing::FakeCloud;
use frontload_domain::Result;
use frontload_domain::tags;
use frontload_functions::context::Context;
use frontload_functions::steps::{claim, clean_up, plan, publish, reap};
use frontload_functions::testing;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::limits::LIMITS;
use super::network::Network;
use super::time::{Millis, TaskId, Tasks};
use super::watch::{Caller, REAPER, Watch};

/// Epoch seconds of the start.
const START: i64 = 1_780_000_000;

/// The steps whose real Lambda is called.
#[derive(Clone, Copy, Debug)]
enum Step {
    Plan,
    Claim,
    Publish,
    CleanUp,
    Reap,
}

/// How a step failed.
#[derive(Debug)]
struct Failure {
    retried: bool,
    /// Name and message of the error.
    message: String,
}

/// Number of events of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub executions: usize,
    pub builds: usize,
    pub superseded: usize,
    pub unchanged: usize,
    pub deaths: usize,
    pub late_calls: usize,
    /// Number of removals that the reaper reported.
    pub reaped: usize,
}

/// A build's execution.
struct Execution {
    caller: Caller,
    key: String,
    task: Cell<TaskId>,
    lambda: Cell<TaskId>,
    is_over: Cell<bool>,
}

/// State that all executions share.
pub struct Simulation {
    pub tasks: Tasks,
    pub network: Network,
    pub rng: RefCell<Rng>,
    pub counts: RefCell<Counts>,
    /// Number of running build executions.
    pub running: Cell<usize>,
    /// From this time on no execution dies.
    pub peace: Millis,
    /// The one warm process that serves every function.
    warm: Context,
}

async fn serve<I: DeserializeOwned, O: Serialize, F: Future<Output = Result<O>>>(
    input: Value,
    handle: impl FnOnce(I) -> F,
) -> std::result::Result<Value, Failure> {
    let input = serde_json::from_value(input).unwrap();
    match handle(input).await {
        Ok(output) => Ok(serde_json::to_value(output).unwrap()),
        Err(error) => {
            let message = format!("{}: {error}", error.name());
            Err(Failure { retried: error.retryable(), message })
        }
    }
}

impl Simulation {
    pub fn new(tasks: Tasks, network: Network, rng: Rng, peace: Millis) -> Self {
        let clients = FakeCloud::clients_by_way_of(network.client());
        Self {
            tasks,
            network,
            rng: RefCell::new(rng),
            counts: RefCell::default(),
            running: Cell::default(),
            peace,
            warm: Context { clients, ..testing::context(&FakeCloud::default(), 0) },
        }
    }

    pub fn watch(&self) -> MutexGuard<'_, Watch> {
        self.network.watch.lock().unwrap()
    }

    pub fn now(&self) -> Millis {
        self.tasks.clock.now()
    }

    pub async fn sleep(&self, millis: Millis) {
        self.tasks.clock.sleep(millis).await;
    }

    pub fn between(&self, least: Millis, most: Millis) -> Millis {
        self.rng.borrow_mut().u64(least..most)
    }

    fn epoch_seconds(&self) -> i64 {
        START + i64::try_from(self.now() / 1000).unwrap()
    }

    async fn run_lambda(&self, step: Step, input: Value) -> std::result::Result<Value, Failure> {
        let context = &Context { now: self.epoch_seconds(), ..self.warm.clone() };
        match step {
            Step::Plan => serve(input, |input| plan::handle(context, input)).await,
            Step::Claim => serve(input, |input| claim::handle(context, input)).await,
            Step::Publish => serve(input, |input| publish::handle(context, input)).await,
            Step::CleanUp => serve(input, |input| clean_up::handle(context, input)).await,
            Step::Reap => serve(input, |input| reap::handle(context, input)).await,
        }
    }

    /// Calls a step once. The call keeps running if the caller dies meanwhile.
    async fn invoke(
        self: &Rc<Self>,
        caller: &Caller,
        lambda: &Cell<TaskId>,
        step: Step,
        input: Value,
    ) -> std::result::Result<Value, Failure> {
        let (sender, receiver) = oneshot::channel();
        let world = self.clone();
        let task = self.tasks.start(async move {
            let answer = world.run_lambda(step, input).await;
            world.network.close(world.tasks.clock.running());
            let _ = sender.send(answer);
        });
        self.network.open(task, caller.clone());
        lambda.set(task);
        let world = self.clone();
        self.tasks.start(async move {
            world.sleep(LIMITS.lambda).await;
            world.tasks.stop(task);
        });
        receiver.await.unwrap_or_else(|_| {
            Err(Failure { retried: true, message: "Sandbox.Timedout".to_owned() })
        })
    }

    /// Calls a step with the retries that every state has.
    async fn call(
        self: &Rc<Self>,
        caller: &Caller,
        lambda: &Cell<TaskId>,
        step: Step,
        input: Value,
    ) -> std::result::Result<Value, Failure> {
        for longest in LIMITS.retry.longest_pauses() {
            match self.invoke(caller, lambda, step, input.clone()).await {
                Err(failure) if failure.retried => {}
                done => return done,
            }
            self.sleep(self.between(0, longest)).await;
        }
        self.invoke(caller, lambda, step, input).await
    }

    /// Runs the reaper, as an event or its schedule does.
    pub async fn reap(self: &Rc<Self>) {
        let caller = Caller { execution: REAPER.to_owned(), ..Caller::default() };
        match self.call(&caller, &Cell::default(), Step::Reap, json!({})).await {
            Ok(reaped) => {
                self.counts.borrow_mut().reaped += reaped["removed"].as_array().unwrap().len();
            }
            Err(failure) => {
                self.watch().broken.push(format!("the reaper failed: {}", failure.message));
            }
        }
    }

    /// Runs the part of `pipeline.asl.json` that concerns builds.
    pub async fn run_pipeline(self: Rc<Self>, name: String, request: Value) {
        let is_push = request.get("reconcile").is_none();
        let execution = arn("frontload-pipeline", &name);
        let caller = Caller { execution: execution.clone(), ..Caller::default() };
        let started = self.epoch_seconds();
        let mut waited = 0;
        let plan = loop {
            let input = json!({
                "request": request,
                "executionId": execution,
                "startedAt": started,
                "waitedSeconds": waited,
            });
            match self.call(&caller, &Cell::default(), Step::Plan, input).await {
                Ok(plan) if plan["refused"] == json!([]) => break plan,
                Ok(report) if report["ready"] == json!(false) => {
                    let seconds = report["waitSeconds"].as_u64().unwrap();
                    self.sleep(seconds * 1000).await;
                    waited += seconds;
                }
                other => {
                    self.watch().broken.push(format!("plan of {name}: {other:?}"));
                    return;
                }
            }
        };
        let requests: Vec<Value> = plan["builds"].as_array().unwrap().clone();
        let requests = Rc::new(RefCell::new(requests.into_iter()));
        let lanes: Vec<_> =
            (0..LIMITS.builds_at_once).map(|_| self.run_lane(is_push, &requests)).collect();
        for lane in lanes {
            let _ = lane.await;
        }
    }

    /// Starts one of the concurrent slots of `RunBuilds`. The receiver resolves when the slot ends.
    fn run_lane(
        self: &Rc<Self>,
        is_push: bool,
        requests: &Rc<RefCell<std::vec::IntoIter<Value>>>,
    ) -> oneshot::Receiver<()> {
        let (end, ended) = oneshot::channel();
        let (world, requests) = (self.clone(), requests.clone());
        self.tasks.start(async move {
            loop {
                let next = requests.borrow_mut().next();
                let Some(request) = next else { break };
                // An execution that dies drops its end of the channel.
                let _ = world.start_build(is_push, request).await;
            }
            let _ = end.send(());
        });
        ended
    }

    fn start_build(self: &Rc<Self>, is_push: bool, request: Value) -> oneshot::Receiver<()> {
        let text = |name: &str| request[name].as_str().unwrap().to_owned();
        let build = text("id");
        let caller = Caller { execution: arn("frontload-build", &build), build, is_push };
        let key = format!("{}/{}", text("cache"), text("architecture"));
        self.watch().started(&caller.execution);
        if !is_push {
            self.watch().checked(&key, self.now());
        }
        self.counts.borrow_mut().executions += 1;
        self.running.set(self.running.get() + 1);
        let (end, ended) = oneshot::channel();
        let (task, lambda, is_over) = (Cell::default(), Cell::default(), Cell::default());
        let execution = Rc::new(Execution { caller, key, task, lambda, is_over });
        let (world, running) = (self.clone(), execution.clone());
        execution.task.set(self.tasks.start(async move {
            if let Err(failure) = world.run_build(&running, &request).await {
                let message = format!("{} failed: {}", running.caller.execution, failure.message);
                world.watch().broken.push(message);
            }
            world.end(&running);
            let _ = end.send(());
        }));
        ended
    }

    fn end(&self, execution: &Execution) {
        execution.is_over.set(true);
        self.running.set(self.running.get() - 1);
        self.watch().ended(&execution.key, &execution.caller.execution);
        let now = self.epoch_seconds();
        self.network.cloud.world().over.insert(execution.caller.execution.clone(), now);
    }

    /// Runs `build.asl.json`. Any failure breaks the run: no execution that lives should fail.
    async fn run_build(
        self: &Rc<Self>,
        execution: &Rc<Execution>,
        request: &Value,
    ) -> std::result::Result<(), Failure> {
        let claim = self.claim(execution, request).await;
        let build = match &claim {
            Ok(claim) if claim["outcome"] != "claimed" => return Ok(()),
            Ok(claim) => claim["build"].clone(),
            Err(_) => Value::Null,
        };
        let result = match claim {
            Ok(claim) => self.make(execution, &claim).await,
            Err(failure) => Err(failure),
        };
        self.may_die(execution, 20, 400);
        let input = json!({"request": request, "build": build, "waitedSeconds": 0});
        let Execution { caller, lambda, .. } = &**execution;
        let cleaned = self.call(caller, lambda, Step::CleanUp, input).await?;
        assert_eq!(cleaned["ready"], true, "there is no instance to wait for");
        result
    }

    async fn claim(
        self: &Rc<Self>,
        execution: &Rc<Execution>,
        request: &Value,
    ) -> std::result::Result<Value, Failure> {
        let Execution { caller, lambda, key, .. } = &**execution;
        let (mut waited, mut seen_token) = (0, Value::Null);
        loop {
            self.may_die(execution, 200, 300);
            let input = json!({
                "request": request,
                "executionId": caller.execution,
                "waitedSeconds": waited,
                "seenToken": seen_token,
            });
            let report = self.call(caller, lambda, Step::Claim, input).await?;
            if report["ready"] == true {
                self.note(key, caller, &report);
                return Ok(report);
            }
            let seconds = report["waitSeconds"].as_u64().unwrap().max(1);
            waited += seconds;
            seen_token = report["seenToken"].clone();
            self.sleep(seconds * 1000).await;
        }
    }

    fn note(&self, key: &str, caller: &Caller, claim: &Value) {
        let mut counts = self.counts.borrow_mut();
        match claim["outcome"].as_str().unwrap() {
            "claimed" => {
                counts.builds += 1;
                self.watch().claimed(key, caller);
            }
            "unchanged" => counts.unchanged += 1,
            _ => {
                counts.superseded += 1;
                let successor = claim["successor"].as_str().unwrap_or_default();
                self.watch().superseded(caller, successor);
            }
        }
    }

    /// Runs a build from the launch to the publication.
    async fn make(
        self: &Rc<Self>,
        execution: &Rc<Execution>,
        claim: &Value,
    ) -> std::result::Result<(), Failure> {
        let build = &claim["build"];
        let minutes = self.between(90_000, 900_000);
        self.may_die(execution, 20, minutes);
        self.sleep(minutes).await;
        let id = format!("snap-{:08x}", self.between(0, u64::MAX));
        self.network.cloud.world().snapshots.complete(&id, tags_of(build));
        let image =
            |image: &Value| json!({"reference": image["reference"], "digest": image["digest"]});
        let images: Vec<Value> = build["images"].as_array().unwrap().iter().map(image).collect();
        let input = json!({
            "build": build,
            "token": claim["token"],
            "pulled": {"containerd": "2.1.9", "kernel": "6.12.40", "images": images, "usedBytes": 1, "flushed": true, "ancestor": "none", "listing": format!("sha256:{:064}", 0)},
            "replicas": [{"region": build["region"], "snapshotId": id, "encrypted": false}],
            "waitedSeconds": 0,
        });
        self.may_die(execution, 15, 800);
        let Execution { caller, lambda, .. } = &**execution;
        self.call(caller, lambda, Step::Publish, input).await.map(drop)
    }

    /// Kills an execution with a chance of 1 in `one_of`, within `within` milliseconds.
    fn may_die(self: &Rc<Self>, execution: &Rc<Execution>, one_of: u64, within: Millis) {
        if self.now() >= self.peace || self.between(0, one_of) != 0 {
            return;
        }
        let (world, execution) = (self.clone(), execution.clone());
        let moment = self.between(0, within);
        self.tasks.start(async move {
            world.sleep(moment).await;
            world.kill(&execution);
        });
    }

    /// Aborts an execution without any cleanup. A Lambda in flight either ends with it, or its next
    /// AWS call takes effect much later.
    fn kill(self: &Rc<Self>, execution: &Execution) {
        if execution.is_over.get() {
            return;
        }
        self.watch().died(&execution.key, &execution.caller, self.now());
        self.end(execution);
        let (world, delay) = (self.clone(), self.between(300, 5_000));
        self.tasks.start(async move {
            world.sleep(delay).await;
            world.reap().await;
        });
        self.tasks.stop(execution.task.get());
        let mut counts = self.counts.borrow_mut();
        counts.deaths += 1;
        let lambda = execution.lambda.get();
        if self.rng.borrow_mut().bool() {
            self.tasks.stop(lambda);
        } else if self.network.hold(lambda, self.now() + self.between(0, LIMITS.lambda)) {
            counts.late_calls += 1;
        }
    }
}

fn arn(machine: &str, name: &str) -> String {
    format!("arn:aws:states:us-east-1:123456789012:execution:{machine}:{name}")
}

fn tags_of(build: &Value) -> BTreeMap<String, String> {
    let text = |name: &str| build[name].as_str().unwrap().to_owned();
    [
        (tags::STACK, testing::settings().stack),
        (tags::EXECUTION, text("execution")),
        (tags::BUILD, text("id")),
        (tags::CACHE, text("cache")),
        (tags::ARCHITECTURE, text("architecture")),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}
