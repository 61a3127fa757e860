//! Virtual time: tasks run one at a time, and a queue contains the times that they wait for. When
//! no task can continue, time jumps to the next entry. The same program always takes the same
//! course.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};

/// Milliseconds since the start.
pub type Millis = u64;

/// Identifies a task.
pub type TaskId = u64;

/// The current time and the tasks that wait for a time. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<Mutex<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    now: Millis,
    /// Ordered by time, then by arrival.
    moments: BTreeMap<(Millis, u64), Waker>,
    waits: u64,
    ready: VecDeque<TaskId>,
    running: TaskId,
}

impl Clock {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap()
    }

    /// Milliseconds since the start.
    pub fn now(&self) -> Millis {
        self.queue().now
    }

    /// The task that runs now.
    pub fn running(&self) -> TaskId {
        self.queue().running
    }

    /// Completes after `millis` milliseconds.
    pub fn sleep(&self, millis: Millis) -> Sleep {
        self.sleep_until(self.now() + millis)
    }

    /// Completes at time `until`.
    pub fn sleep_until(&self, until: Millis) -> Sleep {
        Sleep { clock: self.clone(), until, place: None }
    }
}

/// See [`Clock::sleep`]. Dropping it cancels the wait.
#[derive(Debug)]
pub struct Sleep {
    clock: Clock,
    until: Millis,
    place: Option<(Millis, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        let mut queue = clock.queue();
        if queue.now >= self.until {
            return Poll::Ready(());
        }
        let place = self.place.unwrap_or_else(|| {
            queue.waits += 1;
            (self.until, queue.waits)
        });
        self.place = Some(place);
        queue.moments.insert(place, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.clock.queue().moments.remove(&place);
        }
    }
}

struct Rouse {
    task: TaskId,
    clock: Clock,
}

impl Wake for Rouse {
    fn wake(self: Arc<Self>) {
        self.clock.queue().ready.push_back(self.task);
    }
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// The tasks. Clones share them.
#[derive(Clone, Default)]
pub struct Tasks {
    pub clock: Clock,
    waiting: Rc<RefCell<BTreeMap<TaskId, Task>>>,
    last: Rc<Cell<TaskId>>,
}

impl Tasks {
    /// Starts a task.
    pub fn start(&self, task: impl Future<Output = ()> + 'static) -> TaskId {
        let id = self.last.get() + 1;
        self.last.set(id);
        self.waiting.borrow_mut().insert(id, Box::pin(task));
        self.clock.queue().ready.push_back(id);
        id
    }

    /// Stops a task other than the running one. Returns `false` if it had already ended.
    pub fn stop(&self, task: TaskId) -> bool {
        let stopped = self.waiting.borrow_mut().remove(&task);
        stopped.is_some()
    }

    /// Runs until every task has ended.
    ///
    /// # Panics
    /// If a task waits for something that neither another task nor the clock can bring.
    pub fn run(&self) {
        loop {
            loop {
                let next = self.clock.queue().ready.pop_front();
                let Some(task) = next else { break };
                self.go_on(task);
            }
            let mut queue = self.clock.queue();
            let Some(((moment, _), waker)) = queue.moments.pop_first() else { break };
            queue.now = moment;
            drop(queue);
            waker.wake();
        }
        assert!(self.waiting.borrow().is_empty(), "tasks wait for what never comes");
    }

    fn go_on(&self, id: TaskId) {
        let found = self.waiting.borrow_mut().remove(&id);
        let Some(mut task) = found else { return };
        self.clock.queue().running = id;
        let waker = Waker::from(Arc::new(Rouse { task: id, clock: self.clock.clone() }));
        if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.waiting.borrow_mut().insert(id, task);
        }
    }
}

#[test]
fn tasks_run_in_order_of_time_and_a_stopped_one_never_runs() {
    let tasks = Tasks::default();
    let events = Rc::new(RefCell::new(Vec::new()));
    let record = |name: &'static str, at: Millis| {
        let (clock, events) = (tasks.clock.clone(), events.clone());
        tasks.start(async move {
            clock.sleep(at).await;
            events.borrow_mut().push((name, clock.now()));
        })
    };
    record("second", 20);
    record("first", 10);
    let stopped = record("never", 15);
    assert!(tasks.stop(stopped));
    record("third", 20);
    tasks.run();
    assert_eq!(*events.borrow(), [("first", 10), ("second", 20), ("third", 20)]);
}
