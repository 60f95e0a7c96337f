//! One thread per shard, pinned or not. With io_uring a glommio executor runs on it, whose one
//! long-lived task is the shard's loop; with epoll the loop has the thread for itself.

use std::any::Any;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::driver::DriverOptions;
use super::error::RuntimeError;
use super::shard_driver::{DriverKind, ShardDriver};

/// The longest a turn should block in [`Driver::wait`](super::Driver::wait) while glommio has other
/// tasks on this shard.
///
/// While the loop sleeps in its own ring, glommio's reactor sleeps too: its timers, files and
/// foreign wakers are looked after only between two turns. With this bound an idle shard costs well
/// below one percent of a core, and a 100 ms glommio timer fires after 300 ms at most (measured;
/// glommio's preempt timer adds to the bound). Nothing a connection needs may depend on it:
/// connections have the shard's own timers and the bell. A shard without other glommio tasks may
/// block for as long as its own deadlines allow.
pub const MAX_BLOCK: Duration = Duration::from_millis(10);

/// Registered memory of an executor for file I/O, instead of glommio's 10 MiB: sockets do not use
/// it, and files get along with this.
const EXECUTOR_IO_MEMORY: usize = 1024 * 1024;

/// What a shard's thread runs.
pub trait ShardLoop {
    /// One wait and the work it brings. Blocks nowhere but in
    /// [`Driver::wait`](super::Driver::wait), for at most [`MAX_BLOCK`]. `Break` ends the shard.
    fn turn(&mut self) -> ControlFlow<()>;
}

/// A running shard.
#[derive(Debug)]
pub struct ShardThread {
    shard: usize,
    handle: JoinHandle<()>,
    outcome: mpsc::Receiver<Result<(), RuntimeError>>,
}

impl ShardThread {
    /// Which shard.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// The thread is over: its loop broke, or it panicked. [`ShardThread::join`] tells which,
    /// without waiting.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Waits for the shard to end, for at most `timeout` (`None`: as long as it takes). Nothing
    /// tells it to end: ring it and let its loop break.
    ///
    /// # Errors
    /// [`RuntimeError::Panicked`], or [`RuntimeError::JoinTimeout`]: the thread is then left behind
    /// and still runs.
    pub fn join(self, timeout: Option<Duration>) -> Result<(), RuntimeError> {
        let outcome = match timeout {
            None => self.outcome.recv().ok(),
            Some(waited) => match self.outcome.recv_timeout(waited) {
                Ok(outcome) => Some(outcome),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err(RuntimeError::JoinTimeout {
                        shard: self.shard,
                        waited,
                    });
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => None,
            },
        };
        let joined = self.handle.join();
        match (outcome, joined) {
            (Some(outcome), _) => outcome,
            (None, Err(panic)) => Err(RuntimeError::Panicked {
                shard: self.shard,
                message: message_of(&*panic),
            }),
            (None, Ok(())) => Err(RuntimeError::Panicked {
                shard: self.shard,
                message: "the thread ended without saying why".into(),
            }),
        }
    }
}

/// Starts shard `index` on a thread named `shard-{index}`, pinned to `cpu` if there is one.
///
/// `make` runs on that thread, after this function has returned or while it returns; it gets the
/// driver and builds the loop. Memory it touches first is local to the core.
///
/// # Errors
/// Whatever kept thread, executor or driver from starting. A panic in `make` or in the loop is
/// logged when it happens and reported by [`ShardThread::join`].
pub fn spawn_shard<L: ShardLoop + 'static>(
    index: usize,
    cpu: Option<usize>,
    kind: DriverKind,
    options: DriverOptions,
    make: impl FnOnce(ShardDriver) -> L + Send + 'static,
) -> Result<ShardThread, RuntimeError> {
    let (ready_sender, ready) = mpsc::sync_channel(1);
    let (outcome_sender, outcome) = mpsc::sync_channel(1);
    let handle = thread::Builder::new()
        .name(format!("shard-{index}"))
        .spawn(move || {
            // The state that unwinding leaves half-changed is dropped with the thread; nobody sees
            // it again.
            let result = catch_unwind(AssertUnwindSafe(|| {
                let start = Start {
                    index,
                    cpu,
                    options: &options,
                    ready: &ready_sender,
                };
                match kind {
                    DriverKind::Uring => start.on_an_executor(make),
                    DriverKind::Epoll => start.alone(make),
                }
            }));
            let result = result.map_err(|panic| {
                let message = message_of(&*panic);
                tracing::error!(
                    shard = index,
                    panic = message,
                    "the shard panicked; its connections are lost"
                );
                RuntimeError::Panicked {
                    shard: index,
                    message,
                }
            });
            // Nobody listens any more if the join timed out or the handle was dropped.
            let _ = outcome_sender.send(result);
        })
        .map_err(|source| RuntimeError::Thread {
            shard: index,
            source,
        })?;
    let shard = ShardThread {
        shard: index,
        handle,
        outcome,
    };
    match ready.recv() {
        Ok(Ok(())) => Ok(shard),
        Ok(Err(error)) => {
            // The thread has nothing left to do but to end.
            let _ = shard.join(None);
            Err(error)
        }
        Err(mpsc::RecvError) => match shard.join(None) {
            Err(error) => Err(error),
            Ok(()) => Err(RuntimeError::Executor {
                shard: index,
                reason: "it ended before it was ready".into(),
            }),
        },
    }
}

/// What a shard's thread begins with.
struct Start<'a> {
    index: usize,
    cpu: Option<usize>,
    options: &'a DriverOptions,
    ready: &'a mpsc::SyncSender<Result<(), RuntimeError>>,
}

impl Start<'_> {
    fn on_an_executor<L: ShardLoop + 'static>(self, make: impl FnOnce(ShardDriver) -> L) {
        // The executor first: it pins the thread, so that the driver's memory is touched on the
        // right core.
        let built = executor(self.index, self.cpu)
            .and_then(|executor| Ok((executor, self.driver(DriverKind::Uring)?)));
        if let Some((executor, driver)) = self.tell(built) {
            executor.run(async move {
                let mut shard_loop = make(driver);
                while shard_loop.turn().is_continue() {
                    glommio::executor().yield_if_needed().await;
                }
            });
        }
    }

    fn alone<L: ShardLoop>(self, make: impl FnOnce(ShardDriver) -> L) {
        let built = pin(self.index, self.cpu).and_then(|()| self.driver(DriverKind::Epoll));
        if let Some(driver) = self.tell(built) {
            let mut shard_loop = make(driver);
            while shard_loop.turn().is_continue() {}
        }
    }

    fn driver(&self, kind: DriverKind) -> Result<ShardDriver, RuntimeError> {
        ShardDriver::new(kind, self.options)
    }

    /// Tells who started the thread how it went. Nobody listening means nobody to serve, too; the
    /// shard's own bell will never ring then.
    fn tell<T>(&self, built: Result<T, RuntimeError>) -> Option<T> {
        let (built, outcome) = match built {
            Ok(built) => (Some(built), Ok(())),
            Err(error) => (None, Err(error)),
        };
        let _ = self.ready.send(outcome);
        built
    }
}

fn pin(index: usize, cpu: Option<usize>) -> Result<(), RuntimeError> {
    let Some(cpu) = cpu else {
        return Ok(());
    };
    let refused = |reason: String| RuntimeError::Executor {
        shard: index,
        reason,
    };
    if cpu >= CpuSet::MAX_CPU {
        return Err(refused(format!("there is no core {cpu}")));
    }
    let mut cores = CpuSet::new();
    cores.set(cpu);
    sched_setaffinity(None, &cores)
        .map_err(|error| refused(format!("it cannot be pinned to core {cpu}: {error}")))
}

fn executor(index: usize, cpu: Option<usize>) -> Result<LocalExecutor, RuntimeError> {
    let placement = cpu.map_or(Placement::Unbound, Placement::Fixed);
    LocalExecutorBuilder::new(placement)
        .name(&format!("shard-{index}"))
        .io_memory(EXECUTOR_IO_MEMORY)
        .make()
        .map_err(|error| RuntimeError::Executor {
            shard: index,
            reason: error.to_string(),
        })
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".into())
}
