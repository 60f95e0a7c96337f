//! The running handlers of one shard.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Wake, Waker};

use crossbeam_queue::SegQueue;
use shardwire_protocol::codes::ErrorCode;
use shardwire_shards::vocabulary::{
    CallTarget, CloseCause, Command, ConnectionId, Notice, Returned, ShardId, UserId,
};
use slab::Slab;

use super::context::{Asked, Caller, Context, Kept};
use super::registry::{Loose, Outcome};
use super::{FailureCause, HandlerError, Handlers, Message};
use crate::engine::{EngineHandle, Inboxes, Unreached};

/// Hooks of one shard that nobody waits for (close, error, unreached) that may run at once. They are not tied to a connection any more, so nothing else bounds them;
/// beyond this a hook is not called, and that is logged.
const LOOSE_HOOKS_MAX: usize = 65_536;

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
    loose_hooks: usize,
    /// Calls that had to wait for something, in the order they began: by when, which call, whose.
    deadlines: VecDeque<(u64, u64, ConnectionId)>,
    kept: HashMap<ConnectionId, Rc<Kept>>,
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
    Call(
        ConnectionId,
        Pin<Box<dyn Future<Output = Outcome>>>,
        Option<Watched>,
    ),
    Loose(Loose),
}

/// What the error hook will want to know of a call; only where there is such a hook.
type Watched = Box<(Context, CallTarget)>;

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
            loose_hooks: 0,
            deadlines: VecDeque::new(),
            kept: HashMap::new(),
            asked: Asked::default(),
            ready: Arc::new(Ready {
                queue: SegQueue::new(),
                shard,
                inboxes,
            }),
        }
    }

    /// Begins a call; it is polled with the next [`poll`](Self::poll).
    pub(crate) fn call(&mut self, caller: Caller, target: CallTarget, message: Box<str>) {
        let connection = caller.connection;
        let context = self.context(caller);
        let watched = self
            .handlers
            .wants_failures()
            .then(|| Box::new((context.clone(), target)));
        let future = self.handlers.call(target, context, Message::new(message));
        let task = self.spawn(Work::Call(connection, future, watched));
        self.calls += 1;
        self.running.insert(connection, (task, self.calls));
    }

    /// A connection is gone: its handler is dropped where it awaits, its close hook begins.
    pub(crate) fn closed(&mut self, caller: Caller, cause: CloseCause) {
        let connection = caller.connection;
        if let Some((task, _)) = self.running.remove(&connection) {
            self.drop_task(task);
        }
        if self.handlers.wants_close() && self.has_room_for_hook(connection) {
            let context = self.context(caller);
            if let Some(future) = self.handlers.closed(context, cause) {
                self.loose_hooks += 1;
                self.spawn(Work::Loose(future));
            }
        }
        self.kept.remove(&connection);
    }

    /// A notification reached no connection of its user: the hook begins.
    pub(crate) fn unreached(&mut self, user: &UserId, notice: Notice) {
        if !self.handlers.wants_unreached() {
            return;
        }
        if self.loose_hooks >= LOOSE_HOOKS_MAX {
            tracing::warn!(shard = self.ready.shard.0, %user, "too many hooks run; this one is not called");
            return;
        }
        let unreached = Unreached {
            user: user.to_string(),
            notification: notice.into(),
        };
        if let Some(future) = self.handlers.unreached(self.engine.clone(), unreached) {
            self.loose_hooks += 1;
            self.spawn(Work::Loose(future));
        }
    }

    fn has_room_for_hook(&self, connection: ConnectionId) -> bool {
        let room = self.loose_hooks < LOOSE_HOOKS_MAX;
        if !room {
            tracing::warn!(shard = self.ready.shard.0, %connection, "too many hooks run; this one is not called");
        }
        room
    }

    fn context(&mut self, caller: Caller) -> Context {
        Context {
            asked: Rc::clone(&self.asked),
            kept: Rc::clone(self.kept.entry(caller.connection).or_default()),
            engine: self.engine.clone(),
            caller,
        }
    }

    /// A call did not end in order: logged, told to the error hook, and what its connection is told.
    fn failed(
        &mut self,
        connection: ConnectionId,
        watched: Option<Watched>,
        cause: FailureCause,
    ) -> Returned {
        let shard = self.ready.shard.0;
        let outcome = match &cause {
            FailureCause::Error(error @ HandlerError::Refused(_)) => return error.returned(),
            FailureCause::Error(error) => {
                tracing::debug!(shard, %connection, %error, "a handler gave an error");
                error.returned()
            }
            FailureCause::Panicked(panic) => {
                tracing::error!(shard, %connection, %panic, "a handler panicked");
                Returned::Panicked
            }
            FailureCause::TimedOut => {
                tracing::warn!(shard, %connection, "a handler took too long and was given up");
                Returned::Failed(ErrorCode::HandlerTimeout)
            }
        };
        if let Some(watched) = watched
            && self.has_room_for_hook(connection)
        {
            let (context, target) = *watched;
            if let Some(future) = self.handlers.failed(context, target, cause) {
                self.loose_hooks += 1;
                self.spawn(Work::Loose(future));
            }
        }
        outcome
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
                self.running.remove(&connection);
                let watched = self.drop_task(task);
                let outcome = self.failed(connection, watched, FailureCause::TimedOut);
                finished.push(Finished {
                    connection,
                    outcome,
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
            Work::Call(connection, future, _) => {
                let connection = *connection;
                let outcome =
                    match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context))) {
                        Ok(Poll::Pending) => {
                            // Only a call that waits needs a deadline; most end at once. One more millisecond, because the
                            // present one has begun already.
                            if !std::mem::replace(&mut task.waits, true)
                                && let Some(&(_, call)) = self.running.get(&connection)
                            {
                                self.deadlines.push_back((
                                    now_ms.saturating_add(self.timeout_ms + 1),
                                    call,
                                    connection,
                                ));
                            }
                            return;
                        }
                        Ok(Poll::Ready(Ok(()))) => Ok(()),
                        Ok(Poll::Ready(Err(error))) => Err(FailureCause::Error(error)),
                        Err(panic) => Err(FailureCause::Panicked(panic_text(&*panic).to_owned())),
                    };
                self.running.remove(&connection);
                let watched = self.drop_task(key);
                let outcome = match outcome {
                    Ok(()) => Returned::Done,
                    Err(cause) => self.failed(connection, watched, cause),
                };
                finished.push(Finished {
                    connection,
                    outcome,
                });
            }
            Work::Loose(future) => {
                match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context))) {
                    Ok(Poll::Pending) => return,
                    Ok(Poll::Ready(())) => {}
                    Err(panic) => {
                        tracing::error!(shard, panic = panic_text(&*panic), "a hook panicked");
                    }
                }
                self.drop_task(key);
            }
        }
    }

    /// Ends a task, and gives back what the error hook may want. What the task owns may panic when it is dropped; that is its own
    /// affair too.
    fn drop_task(&mut self, key: usize) -> Option<Watched> {
        let mut task = self.tasks.try_remove(key)?;
        let watched = match &mut task.future {
            Work::Call(_, _, watched) => watched.take(),
            Work::Loose(_) => {
                self.loose_hooks -= 1;
                None
            }
        };
        if catch_unwind(AssertUnwindSafe(|| drop(task))).is_err() {
            tracing::error!(
                shard = self.ready.shard.0,
                "a handler panicked while it was dropped"
            );
        }
        watched
    }

    /// What handlers have asked for, in order.
    pub(crate) fn take_asked(&mut self) -> Option<Command> {
        self.asked.borrow_mut().pop_front()
    }
}

pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)")
}
