//! The running handlers of one shard.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Wake, Waker};

use crossbeam_queue::SegQueue;
use shardwire_protocol::codes::ErrorCode;
use shardwire_shards::vocabulary::{
    CallTarget, CloseCause, Command, ConnectionId, Returned, ShardId, UserId,
};
use slab::Slab;

use super::context::{Asked, Context, Keepsakes};
use super::registry::Outcome;
use super::{Handlers, Message};
use crate::engine::{EngineHandle, Inboxes};

/// Close hooks of one shard that may run at once. They are not tied to a connection any more, so nothing else bounds them; beyond
/// this the hook of a connection that ends is not called, and that is logged.
const CLOSE_HOOKS_MAX: usize = 65_536;

/// What a handler's end means for its connection.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) connection: ConnectionId,
    pub(crate) outcome: Returned,
}

/// The running handlers of one shard, polled between two turns.
pub(crate) struct Tasks {
    handlers: Handlers,
    engine: EngineHandle,
    timeout_ms: u64,
    tasks: Slab<Task>,
    /// Each connection's one call: its task, and which call of this shard it is.
    running: HashMap<ConnectionId, (usize, u64)>,
    calls: u64,
    close_hooks: usize,
    /// Calls that had to wait for something, in the order they began: by when, which call, whose.
    deadlines: VecDeque<(u64, u64, ConnectionId)>,
    keepsakes: HashMap<ConnectionId, Keepsakes>,
    asked: Asked,
    ready: Arc<Ready>,
}

struct Task {
    future: Work,
    wake: Arc<Wakeup>,
    /// It was polled and had to wait.
    waits: bool,
}

enum Work {
    Call(ConnectionId, Pin<Box<dyn Future<Output = Outcome>>>),
    CloseHook(Pin<Box<dyn Future<Output = ()>>>),
}

/// Tasks that were woken, by whatever thread.
struct Ready {
    queue: SegQueue<usize>,
    shard: ShardId,
    inboxes: Inboxes,
}

/// One task's way back into the queue; put there once until it was polled.
struct Wakeup {
    task: usize,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.ready.queue.push(self.task);
            self.ready.inboxes.wake(self.ready.shard);
        }
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks")
            .field("running", &self.tasks.len())
            .finish_non_exhaustive()
    }
}

impl Tasks {
    pub(crate) fn new(
        handlers: Handlers,
        engine: EngineHandle,
        shard: ShardId,
        inboxes: Inboxes,
        timeout_ms: u64,
    ) -> Self {
        Self {
            handlers,
            engine,
            timeout_ms,
            tasks: Slab::new(),
            running: HashMap::new(),
            calls: 0,
            close_hooks: 0,
            deadlines: VecDeque::new(),
            keepsakes: HashMap::new(),
            asked: Asked::default(),
            ready: Arc::new(Ready {
                queue: SegQueue::new(),
                shard,
                inboxes,
            }),
        }
    }

    /// Begins a call; it is polled with the next [`poll`](Self::poll).
    pub(crate) fn call(
        &mut self,
        connection: ConnectionId,
        target: CallTarget,
        (user, address): (Option<UserId>, IpAddr),
        message: Box<str>,
    ) {
        let context = self.context(connection, user, address);
        let future = self.handlers.call(target, context, Message::new(message));
        let task = self.spawn(Work::Call(connection, future));
        self.calls += 1;
        self.running.insert(connection, (task, self.calls));
    }

    /// A connection is gone: its handler is dropped where it awaits, its close hook begins.
    pub(crate) fn closed(
        &mut self,
        connection: ConnectionId,
        cause: CloseCause,
        user: Option<UserId>,
        address: IpAddr,
    ) {
        if let Some((task, _)) = self.running.remove(&connection) {
            self.drop_task(task);
        }
        if self.handlers.wants_close() {
            if self.close_hooks >= CLOSE_HOOKS_MAX {
                tracing::warn!(shard = self.ready.shard.0, %connection, "too many close hooks run; this one is not called");
            } else {
                let context = self.context(connection, user, address);
                if let Some(future) = self.handlers.closed(context, cause) {
                    self.close_hooks += 1;
                    self.spawn(Work::CloseHook(future));
                }
            }
        }
        self.keepsakes.remove(&connection);
    }

    fn context(
        &mut self,
        connection: ConnectionId,
        user: Option<UserId>,
        address: IpAddr,
    ) -> Context {
        Context {
            connection,
            user,
            address,
            asked: Rc::clone(&self.asked),
            keepsakes: Rc::clone(self.keepsakes.entry(connection).or_default()),
            engine: self.engine.clone(),
        }
    }

    fn spawn(&mut self, future: Work) -> usize {
        let entry = self.tasks.vacant_entry();
        let task = entry.key();
        let wake = Arc::new(Wakeup {
            task,
            queued: AtomicBool::new(true),
            ready: Arc::clone(&self.ready),
        });
        entry.insert(Task {
            future,
            wake,
            waits: false,
        });
        self.ready.queue.push(task);
        task
    }

    /// Whether any task waits to be polled.
    pub(crate) fn is_ready(&self) -> bool {
        !self.ready.queue.is_empty()
    }

    /// When the longest-running call has taken too long.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.deadlines.front().map(|(at, ..)| *at)
    }

    /// Polls what was woken, once each, and tells whose calls have ended. Follow with [`take_asked`](Self::take_asked),
    /// before the ends are passed on: what a handler asked for comes before its connection's next message.
    pub(crate) fn poll(&mut self, now_ms: u64, finished: &mut Vec<Finished>) {
        for _ in 0..self.ready.queue.len() {
            let Some(task) = self.ready.queue.pop() else {
                break;
            };
            self.poll_one(now_ms, task, finished);
        }
        while let Some(&(at, call, connection)) = self.deadlines.front() {
            let task = self
                .running
                .get(&connection)
                .filter(|(_, current)| *current == call)
                .map(|(task, _)| *task);
            if task.is_some() && at > now_ms {
                break;
            }
            self.deadlines.pop_front();
            if let Some(task) = task {
                tracing::warn!(shard = self.ready.shard.0, %connection, "a handler took too long and was given up");
                self.running.remove(&connection);
                self.drop_task(task);
                finished.push(Finished {
                    connection,
                    outcome: Returned::Failed(ErrorCode::HandlerTimeout),
                });
            }
        }
    }

    fn poll_one(&mut self, now_ms: u64, key: usize, finished: &mut Vec<Finished>) {
        // A wake-up may come after its task has ended, or for the place's next tenant; polling that early does no harm.
        let Some(task) = self.tasks.get_mut(key) else {
            return;
        };
        task.wake.queued.store(false, Ordering::Release);
        let waker = Waker::from(Arc::clone(&task.wake));
        let mut context = std::task::Context::from_waker(&waker);
        let shard = self.ready.shard.0;
        match &mut task.future {
            Work::Call(connection, future) => {
                let connection = *connection;
                let outcome = match catch_unwind(AssertUnwindSafe(|| {
                    future.as_mut().poll(&mut context)
                })) {
                    Ok(Poll::Pending) => {
                        // Only a call that waits needs a deadline; most end at once.
                        if !std::mem::replace(&mut task.waits, true)
                            && let Some(&(_, call)) = self.running.get(&connection)
                        {
                            self.deadlines.push_back((
                                now_ms.saturating_add(self.timeout_ms),
                                call,
                                connection,
                            ));
                        }
                        return;
                    }
                    Ok(Poll::Ready(Ok(()))) => Returned::Done,
                    Ok(Poll::Ready(Err(error))) => {
                        tracing::debug!(shard, %connection, %error, "a handler gave an error");
                        Returned::Failed(error.code())
                    }
                    Err(panic) => {
                        tracing::error!(shard, %connection, panic = panic_text(&*panic), "a handler panicked");
                        Returned::Panicked
                    }
                };
                self.running.remove(&connection);
                self.drop_task(key);
                finished.push(Finished {
                    connection,
                    outcome,
                });
            }
            Work::CloseHook(future) => {
                match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context))) {
                    Ok(Poll::Pending) => return,
                    Ok(Poll::Ready(())) => {}
                    Err(panic) => {
                        tracing::error!(
                            shard,
                            panic = panic_text(&*panic),
                            "a close hook panicked"
                        );
                    }
                }
                self.drop_task(key);
            }
        }
    }

    /// Ends a task. What it owns may panic when it is dropped; that is its own affair too.
    fn drop_task(&mut self, key: usize) {
        let Some(task) = self.tasks.try_remove(key) else {
            return;
        };
        if matches!(task.future, Work::CloseHook(_)) {
            self.close_hooks -= 1;
        }
        if catch_unwind(AssertUnwindSafe(|| drop(task))).is_err() {
            tracing::error!(
                shard = self.ready.shard.0,
                "a handler panicked while it was dropped"
            );
        }
    }

    /// What handlers have asked for, in order.
    pub(crate) fn take_asked(&mut self) -> Option<Command> {
        self.asked.borrow_mut().pop_front()
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)")
}
