//! One shard's end of the storage: requests go in, answers come out, and nothing of it waits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, unbounded};
use shardwire_shards::vocabulary::{
    Epoch, LoadFailure, LoadTicket, LogName, Position, RestoredLog, StoreOutcome, StoreRequest,
    StoreTicket, StoredRecord,
};

use super::bounds::{QUEUE_BYTES_MAX, QUEUE_TRIMS_MAX};
use super::record::{Operation, Record, SavedLog};

/// What a shard sends.
#[derive(Debug)]
pub(super) enum Sent {
    /// To be stored.
    Write {
        /// Whether it is answered.
        answered: bool,
        /// None when there was no room for it in the queue: it is refused when its turn comes, so that answers keep their order.
        operation: Option<Operation>,
    },
    /// To be read.
    Read(Wanted),
}

/// A log that a shard wants to read.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) ticket: LoadTicket,
    pub(super) log: LogName,
    pub(super) epoch: u64,
}

/// What came of reading one.
pub type Loaded = (LoadTicket, Result<RestoredLog, LoadFailure>);

/// What comes back: so many of the oldest unanswered requests came out like this.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Answered {
    pub(super) count: usize,
    pub(super) outcome: StoreOutcome,
}

/// One shard's end. Requests are carried out in their order and answered in it.
///
/// The queues have no fixed length, but are bounded all the same: the shard leaves only so many appends unanswered, their bytes are counted
/// here, trims are left out when too much waits, it reads only so many logs at a time, and the rest are as many as there are logs.
#[derive(Debug)]
pub struct StorageLink {
    requests: Sender<Sent>,
    answers: Receiver<Answered>,
    loaded: Receiver<Loaded>,
    /// Wakes the storage's thread.
    doorbell: Sender<()>,
    /// Bytes of records in the queue.
    waiting_bytes: Arc<AtomicUsize>,
    unanswered: VecDeque<StoreTicket>,
    /// The answer that is being given out.
    current: Answered,
}

/// The other end of a link, on the storage's thread.
#[derive(Debug)]
pub(super) struct LinkEnd {
    pub(super) requests: Receiver<Sent>,
    pub(super) answers: Sender<Answered>,
    pub(super) loaded: Sender<Loaded>,
    pub(super) waiting_bytes: Arc<AtomicUsize>,
}

pub(super) fn link(doorbell: Sender<()>) -> (StorageLink, LinkEnd) {
    let (requests, sent) = unbounded();
    let (answers, answered) = unbounded();
    let (gives, loaded) = unbounded();
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let link = StorageLink {
        requests,
        answers: answered,
        loaded,
        doorbell,
        waiting_bytes: Arc::clone(&waiting_bytes),
        unanswered: VecDeque::new(),
        current: Answered {
            count: 0,
            outcome: StoreOutcome::Stored,
        },
    };
    let end = LinkEnd {
        requests: sent,
        answers,
        loaded: gives,
        waiting_bytes,
    };
    (link, end)
}

impl StorageLink {
    /// Asks. Appends are answered, once each and in their order, by [`answer`](Self::answer), and what is to be read by
    /// [`loaded`](Self::loaded).
    pub fn ask(&mut self, request: StoreRequest) {
        let request = match request {
            StoreRequest::Load { ticket, log, epoch } => {
                let epoch = epoch.0;
                return self.send(Sent::Read(Wanted { ticket, log, epoch }));
            }
            other => other,
        };
        let ticket = match &request {
            StoreRequest::Append { ticket, .. } => Some(*ticket),
            // A later trim covers this one.
            StoreRequest::Trim { .. } if self.requests.len() >= QUEUE_TRIMS_MAX => return,
            _ => None,
        };
        let Some(operation) = operation(request) else {
            return;
        };
        let size = operation.size();
        let waiting = self.waiting_bytes.load(Ordering::Relaxed);
        let fits = ticket.is_none() || waiting + size <= QUEUE_BYTES_MAX;
        if fits {
            self.waiting_bytes.fetch_add(size, Ordering::Relaxed);
        }
        self.unanswered.extend(ticket);
        self.send(Sent::Write {
            answered: ticket.is_some(),
            operation: fits.then_some(operation),
        });
    }

    fn send(&self, sent: Sent) {
        // The thread is there for as long as there are links; had it ended by a fault, there would be no answer, as `lost` tells.
        let _ = self.requests.send(sent);
        // Full: it has been rung already.
        let _ = self.doorbell.try_send(());
    }

    /// A log that was read, or why it was not.
    pub fn loaded(&mut self) -> Option<Loaded> {
        self.loaded.try_recv().ok()
    }

    /// Whether [`answer`](Self::answer) or [`loaded`](Self::loaded) has one.
    #[must_use]
    pub fn has_answers(&self) -> bool {
        self.current.count > 0 || !self.answers.is_empty() || !self.loaded.is_empty()
    }

    /// The next answer, if there is one.
    pub fn answer(&mut self) -> Option<(StoreTicket, StoreOutcome)> {
        while self.current.count == 0 {
            self.current = self.answers.try_recv().ok()?;
        }
        self.current.count -= 1;
        let ticket = self.unanswered.pop_front()?;
        Some((ticket, self.current.outcome))
    }
}

/// What is to be stored; none: it is to be read.
pub(crate) fn operation(request: StoreRequest) -> Option<Operation> {
    Some(match request {
        StoreRequest::Load { .. } => return None,
        StoreRequest::Append {
            log, epoch, record, ..
        } => Operation::Append {
            log,
            epoch: epoch.0,
            record: Record {
                offset: record.offset,
                unix_ms: record.unix_ms,
                lifetime_ms: record.lifetime_ms,
                key: record.key,
                body: record.body,
            },
        },
        StoreRequest::Begin { log, position } => Operation::Head {
            log,
            epoch: position.epoch.0,
            offset: position.offset,
        },
        StoreRequest::Trim { log, through } => Operation::Trim {
            log,
            epoch: through.epoch.0,
            through: through.offset,
        },
        StoreRequest::Forget { log, epoch } => Operation::Forget {
            log,
            epoch: epoch.0,
        },
    })
}

/// A log as shards take it back.
#[must_use]
pub fn restored(saved: SavedLog) -> RestoredLog {
    let record = |record: Record| StoredRecord {
        offset: record.offset,
        unix_ms: record.unix_ms,
        lifetime_ms: record.lifetime_ms,
        key: record.key,
        body: record.body,
    };
    RestoredLog {
        log: saved.log,
        head: Position {
            epoch: Epoch(saved.epoch),
            offset: saved.head,
        },
        records: saved.records.into_iter().map(record).collect(),
    }
}
