//! The thread that a store works on: takes what waits from all shards, commits it with one sync, answers, and begins again.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use shardwire_shards::vocabulary::{LoadFailure, ShardId, StoreOutcome};

use super::bounds::{
    COMMIT_BYTES_MAX, COMMIT_OPERATIONS_MAX, FORGOTTEN_WHILE_FULL_MAX, RETRY_FULL_MS,
};
use super::link::{Answered, LinkEnd, Sent, StorageLink, Wanted, link, restored};
use super::record::Operation;
use super::store::{CommitError, ReadError, Store};

/// How a store is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Health {
    /// It stores.
    Working = 0,
    /// There is no room on the disk; it tries again by itself.
    Full = 1,
    /// The disk has failed. Nothing is stored until the process is started afresh.
    Failed = 2,
}

impl Health {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Working, Self::Full, Self::Failed];

    /// One word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Full => "full",
            Self::Failed => "failed",
        }
    }
}

/// What a store has done since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StorageCounts {
    /// Commits, each one sync of the disk.
    pub commits: u64,
    /// Records stored.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records refused because there was no room.
    pub refused_full: u64,
    /// Records refused because the disk had failed.
    pub refused_failed: u64,
    /// Microseconds spent in commits.
    pub commit_us: u64,
    /// Microseconds of the longest one.
    pub longest_commit_us: u64,
}

#[derive(Debug, Default)]
struct Shared {
    health: AtomicU8,
    stopping: AtomicBool,
    commits: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    refused_full: AtomicU64,
    refused_failed: AtomicU64,
    commit_us: AtomicU64,
    longest_commit_us: AtomicU64,
}

/// A store at work on its thread. Ends when [`stop`](Self::stop) is called, which the engine does when its shards have ended.
pub struct Storage {
    shared: Arc<Shared>,
    doorbell: Sender<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage")
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}

impl Storage {
    /// Puts a store (that was loaded) to work for this many shards. `wake` is called, on the storage's thread, when there are answers for a
    /// shard.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        store: Box<dyn Store>,
        shards: u16,
        wake: impl Fn(ShardId) + Send + 'static,
    ) -> io::Result<(Self, Vec<StorageLink>)> {
        // One ring is enough for any number of requests.
        let (doorbell, rung) = bounded(1);
        let (links, ends) = (0..shards).map(|_| link(doorbell.clone())).unzip();
        let shared = Arc::new(Shared::default());
        let worker = Worker {
            store,
            ends,
            rung,
            wake: Box::new(wake),
            state: State::Working,
            shared: Arc::clone(&shared),
            next_shard: 0,
            batch: Vec::new(),
            taken: Vec::new(),
            wanted: Vec::new(),
            forgotten: Vec::new(),
            untidy: true,
        };
        let thread = Builder::new()
            .name("storage".to_owned())
            .spawn(move || worker.run())?;
        let storage = Self {
            shared,
            doorbell,
            thread: Mutex::new(Some(thread)),
        };
        Ok((storage, links))
    }

    /// How the store is.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.shared.health.load(Ordering::Relaxed) {
            0 => Health::Working,
            1 => Health::Full,
            _ => Health::Failed,
        }
    }

    /// What it has done.
    #[must_use]
    pub fn counts(&self) -> StorageCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StorageCounts {
            commits: read(&self.shared.commits),
            records: read(&self.shared.records),
            bytes: read(&self.shared.bytes),
            refused_full: read(&self.shared.refused_full),
            refused_failed: read(&self.shared.refused_failed),
            commit_us: read(&self.shared.commit_us),
            longest_commit_us: read(&self.shared.longest_commit_us),
        }
    }

    /// Stores what waits, closes the store, and returns when that is done. Requests that come later are lost.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        let _ = self.doorbell.try_send(());
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the storage's thread has ended by a fault");
        }
    }
}

enum State {
    Working,
    Full { retry_at: Instant },
    Failed,
}

/// One shard's part of a batch.
struct Taken {
    shard: usize,
    answered: usize,
    /// No room in its queue: refused whatever comes of the batch.
    refused: bool,
}

struct Worker {
    store: Box<dyn Store>,
    ends: Vec<LinkEnd>,
    rung: Receiver<()>,
    wake: Box<dyn Fn(ShardId) + Send>,
    state: State,
    shared: Arc<Shared>,
    /// Whose turn it is to be first: a shard that sends much must not always come before the others.
    next_shard: usize,
    batch: Vec<Operation>,
    /// Whom to answer for the batch, in order.
    taken: Vec<Taken>,
    /// Logs that are to be read behind the batch, and for which shard.
    wanted: Vec<(usize, Wanted)>,
    /// Logs that ended while the disk was full.
    forgotten: Vec<Operation>,
    /// Whether the store may have put work off.
    untidy: bool,
}

impl Worker {
    fn run(mut self) {
        loop {
            // Read before the queues are: what was sent before the order to stop is in them then.
            let stopping = self.shared.stopping.load(Ordering::Acquire);
            self.retry();
            let mut idle = true;
            while self.take() {
                self.work();
                self.read();
                idle = false;
            }
            if stopping {
                return;
            }
            if idle && self.untidy && matches!(self.state, State::Working) {
                self.tidy();
                continue;
            }
            let patience = match &self.state {
                State::Full { retry_at } => retry_at.saturating_duration_since(Instant::now()),
                // Whoever has work rings; nothing depends on this.
                State::Working | State::Failed => Duration::from_secs(60),
            };
            if self.rung.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected) {
                // All links and the handle are gone.
                return;
            }
        }
    }

    /// Takes a batch from the queues. Whether there was anything.
    fn take(&mut self) -> bool {
        self.batch.clear();
        self.taken.clear();
        let shards = self.ends.len();
        let mut bytes = 0;
        for turn in 0..shards {
            let shard = (self.next_shard + turn) % shards;
            // Each gets its share of what is left, so that no shard's row keeps out the others'.
            let left = shards - turn;
            let most = (COMMIT_OPERATIONS_MAX - self.batch.len()).div_ceil(left);
            let most_bytes =
                bytes + (COMMIT_BYTES_MAX - COMMIT_BYTES_MAX.min(bytes)).div_ceil(left);
            let end = &self.ends[shard];
            for _ in 0..most {
                if bytes >= most_bytes {
                    break;
                }
                let Ok(sent) = end.requests.try_recv() else {
                    break;
                };
                let (answered, operation) = match sent {
                    Sent::Write {
                        answered,
                        operation,
                    } => (answered, operation),
                    // Behind what this shard has sent before. What it has sent behind it may come first: a shard does not write
                    // into a log before it has heard what is in it.
                    Sent::Read(wanted) => {
                        self.wanted.push((shard, wanted));
                        continue;
                    }
                };
                let refused = operation.is_none();
                if let Some(operation) = operation {
                    let size = operation.size();
                    end.waiting_bytes.fetch_sub(size, Ordering::Relaxed);
                    bytes += size;
                    self.batch.push(operation);
                }
                let answered = usize::from(answered);
                match self.taken.last_mut() {
                    Some(last) if last.shard == shard && last.refused == refused => {
                        last.answered += answered;
                    }
                    _ => self.taken.push(Taken {
                        shard,
                        answered,
                        refused,
                    }),
                }
            }
        }
        self.next_shard = (self.next_shard + 1) % shards.max(1);
        !self.taken.is_empty() || !self.wanted.is_empty()
    }

    /// Stores the batch, or refuses it, and answers.
    fn work(&mut self) {
        let outcome = match self.state {
            State::Working => self.commit(),
            State::Full { .. } => {
                self.remember_forgotten();
                StoreOutcome::Full
            }
            State::Failed => StoreOutcome::Failed,
        };
        for at in 0..self.taken.len() {
            let Taken {
                shard,
                answered,
                refused,
            } = self.taken[at];
            let outcome = match (outcome, refused) {
                (StoreOutcome::Stored, true) => StoreOutcome::Full,
                _ => outcome,
            };
            let counter = match outcome {
                StoreOutcome::Stored => &self.shared.records,
                StoreOutcome::Full => &self.shared.refused_full,
                StoreOutcome::Failed => &self.shared.refused_failed,
            };
            counter.fetch_add(answered as u64, Ordering::Relaxed);
            if answered > 0 {
                // A shard that has ended hears nothing.
                let _ = self.ends[shard].answers.send(Answered {
                    count: answered,
                    outcome,
                });
                let next = self.taken.get(at + 1);
                if next.is_none_or(|next| next.shard != shard) {
                    (self.wake)(ShardId(shard as u16));
                }
            }
        }
    }

    /// Reads what is wanted, and gives it out.
    fn read(&mut self) {
        for (shard, wanted) in std::mem::take(&mut self.wanted) {
            let Wanted { ticket, log, epoch } = wanted;
            let read = match self.state {
                State::Failed => Err(ReadError::Failed("the storage has failed before".into())),
                _ => {
                    let store = &mut *self.store;
                    let read = catch_unwind(AssertUnwindSafe(|| store.read(&log, epoch)));
                    read.unwrap_or_else(|_| Err(ReadError::Failed("the store has panicked".into())))
                }
            };
            let outcome = read.map(restored).map_err(|reason| match reason {
                ReadError::Full => LoadFailure::Full,
                reason => {
                    tracing::error!(kind = ?log.kind, name = %log.name, %reason, "a log cannot be read");
                    LoadFailure::Failed
                }
            });
            let _ = self.ends[shard].loaded.send((ticket, outcome));
            (self.wake)(ShardId(shard as u16));
        }
    }

    fn commit(&mut self) -> StoreOutcome {
        if self.batch.is_empty() {
            return StoreOutcome::Stored;
        }
        let begun = Instant::now();
        let batch = std::mem::take(&mut self.batch);
        let result = self.guarded(|store| store.commit(&batch));
        self.batch = batch;
        self.untidy = true;
        match result {
            Ok(()) => {
                let us = begun.elapsed().as_micros() as u64;
                let bytes: usize = self.batch.iter().map(Operation::size).sum();
                self.shared.commits.fetch_add(1, Ordering::Relaxed);
                self.shared.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                self.shared.commit_us.fetch_add(us, Ordering::Relaxed);
                self.shared
                    .longest_commit_us
                    .fetch_max(us, Ordering::Relaxed);
                StoreOutcome::Stored
            }
            Err(CommitError::Full) => {
                self.remember_forgotten();
                self.became(CommitError::Full);
                StoreOutcome::Full
            }
            Err(failed @ CommitError::Failed(_)) => {
                self.became(failed);
                StoreOutcome::Failed
            }
        }
    }

    fn tidy(&mut self) {
        match self.guarded(|store| store.tidy()) {
            Ok(more) => self.untidy = more,
            Err(error) => self.became(error),
        }
    }

    /// While the disk is full: is there room again?
    fn retry(&mut self) {
        let State::Full { retry_at } = self.state else {
            return;
        };
        if Instant::now() < retry_at {
            return;
        }
        let forgotten = std::mem::take(&mut self.forgotten);
        let resumed = self.guarded(|store| {
            store.resume()?;
            match forgotten.is_empty() {
                true => Ok(()),
                false => store.commit(&forgotten),
            }
        });
        match resumed {
            Ok(()) => {
                tracing::info!(
                    "there is room on the storage's disk again; messages are stored again"
                );
                self.state = State::Working;
                self.tell(Health::Working);
            }
            Err(error) => {
                self.forgotten = forgotten;
                self.became(error);
            }
        }
    }

    /// Notes the logs whose end could not be stored.
    fn remember_forgotten(&mut self) {
        for operation in &self.batch {
            if matches!(operation, Operation::Forget { .. })
                && self.forgotten.len() < FORGOTTEN_WHILE_FULL_MAX
            {
                self.forgotten.push(operation.clone());
            }
        }
    }

    fn became(&mut self, error: CommitError) {
        match error {
            CommitError::Full => {
                if matches!(self.state, State::Working) {
                    tracing::error!(
                        "the storage's disk is full: messages that are to be stored are refused until there is room"
                    );
                }
                let retry_at = Instant::now() + Duration::from_millis(RETRY_FULL_MS);
                self.state = State::Full { retry_at };
                self.tell(Health::Full);
            }
            CommitError::Failed(reason) => {
                tracing::error!(%reason, "the storage has failed: messages that are to be stored are refused until the server is started afresh");
                self.state = State::Failed;
                self.tell(Health::Failed);
            }
        }
    }

    fn tell(&self, health: Health) {
        self.shared.health.store(health as u8, Ordering::Relaxed);
    }

    /// Calls the store; a panic of it is a failure, and not the end of the thread, which shards wait for.
    fn guarded<T>(
        &mut self,
        call: impl FnOnce(&mut dyn Store) -> Result<T, CommitError>,
    ) -> Result<T, CommitError> {
        let store = &mut *self.store;
        catch_unwind(AssertUnwindSafe(|| call(store)))
            .unwrap_or_else(|_| Err(CommitError::Failed("the store has panicked".into())))
    }
}
