//! The network path of every AWS call. A call takes some time, and a call of a Lambda whose
//! execution has died may take long. The [`Watch`] sees every change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use fastrand::Rng;
use frontload_aws::testing::FakeCloud;
use serde_json::Value;

use super::time::{Clock, Millis, TaskId};
use super::watch::{Before, Caller, Watch};

/// The network of one run; clones share it.
#[derive(Clone, Debug)]
pub struct Network {
    pub cloud: FakeCloud,
    pub watch: Arc<Mutex<Watch>>,
    clock: Clock,
    rng: Arc<Mutex<Rng>>,
    lambdas: Arc<Mutex<BTreeMap<TaskId, Lambda>>>,
}

/// A running Lambda.
#[derive(Clone, Debug)]
struct Lambda {
    caller: Caller,
    /// Before this time its next call does not get through.
    held_until: Millis,
}

impl Network {
    pub fn new(clock: Clock, rng: Rng, watch: Watch) -> Self {
        Self {
            cloud: FakeCloud::default(),
            watch: Arc::new(Mutex::new(watch)),
            clock,
            rng: Arc::new(Mutex::new(rng)),
            lambdas: Arc::default(),
        }
    }

    /// Returns an HTTP client whose calls go through this network.
    pub fn client(&self) -> SharedHttpClient {
        let network = self.clone();
        http_client_fn(move |_, _| SharedHttpConnector::new(network.clone()))
    }

    /// Registers the caller for whom a task makes calls.
    pub fn open(&self, task: TaskId, caller: Caller) {
        self.lambdas.lock().unwrap().insert(task, Lambda { caller, held_until: 0 });
    }

    /// Unregisters a task that makes no more calls.
    pub fn close(&self, task: TaskId) {
        self.lambdas.lock().unwrap().remove(&task);
    }

    /// Holds back all calls of a task until `until`. Returns `false` if the task makes no calls.
    pub fn hold(&self, task: TaskId, until: Millis) -> bool {
        let mut lambdas = self.lambdas.lock().unwrap();
        let Some(lambda) = lambdas.get_mut(&task) else { return false };
        lambda.held_until = until;
        true
    }

    fn lambda(&self, task: TaskId) -> Lambda {
        self.lambdas.lock().unwrap()[&task].clone()
    }

    /// Milliseconds until a call arrives: usually a few, sometimes several thousand.
    fn latency(&self) -> Millis {
        let mut rng = self.rng.lock().unwrap();
        if rng.u32(0..500) == 0 { rng.u64(1_000..5_000) } else { rng.u64(3..30) }
    }

    async fn deliver(self, request: HttpRequest) -> HttpResponse {
        let task = self.clock.running();
        self.clock.sleep(self.latency()).await;
        while self.lambda(task).held_until > self.clock.now() {
            self.clock.sleep_until(self.lambda(task).held_until).await;
        }
        let header = |name: &str| request.headers().get(name).unwrap_or_default();
        let (authorization, target) = (header("authorization"), header("x-amz-target"));
        let body = request.body().bytes().unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default();
        let mut watch = self.watch.lock().unwrap();
        let is_watched = ["UpdateItem", "PutParameter"].contains(&operation);
        let input: Value =
            if is_watched { serde_json::from_slice(body).unwrap() } else { Value::Null };
        if let Some(id) = deleted_snapshot(body) {
            watch.deletes(&self.cloud, &self.lambda(task).caller, id);
        }
        let before = is_watched.then(|| Before::look(&self.cloud, &input));
        let (status, answer) = self.cloud.answer(authorization, target, body);
        if let (Some(before), 200) = (before, status) {
            let caller = self.lambda(task).caller;
            watch.changed(&self.cloud, self.clock.now(), &caller, &input, &before);
        }
        HttpResponse::new(status.try_into().unwrap(), answer.into())
    }
}

/// Returns the snapshot's id if the call is EC2's `DeleteSnapshot`.
fn deleted_snapshot(body: &[u8]) -> Option<&str> {
    let body = std::str::from_utf8(body).ok()?;
    let mut fields = body.strip_prefix("Action=DeleteSnapshot&")?.split('&');
    fields.find_map(|field| field.strip_prefix("SnapshotId="))
}

impl HttpConnector for Network {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let network = self.clone();
        HttpConnectorFuture::new(async move { Ok(network.deliver(request).await) })
    }
}
