//! Records on their way into a store, of all rooms that keep something beyond the process.
//!
//! **Lives here:** the row of what was asked of the store and is not answered yet; the way of an answer, and of a log at the start, to the
//! room it is of; a store for worlds that are faked (`model.rs`, with the feature `testing`). **Does not:** decide what is kept, or what an answer means (`history/` for channels, `notifications/` for inboxes); disks (the world, asked by
//! [`Effect::Store`]).
//! **Invariants:** the store answers in the order of the tickets, and each answer goes to the log whose record is the oldest in the row. Each kind
//! of log has its own share of what may wait, so that a flood into one refuses nobody else.
//! **Called by:** the shard, `history/`, `notifications/`, `collaboration/`. **Calls:** those three.
//! **Tests:** below, `tests/durable.rs`.

#[cfg(feature = "testing")]
mod model;

use std::collections::VecDeque;

use crate::bounds::{
    UNSTORED_BYTES_MAX, UNSTORED_DOCUMENT_BYTES_MAX, UNSTORED_INBOX_BYTES_MAX, UNSTORED_RECORDS_MAX,
};
use crate::shard::Shard;
use crate::vocabulary::{
    Effect, Epoch, LogKind, LogName, Now, RestoredLog, StoreOutcome, StoreRequest, StoreTicket,
    StoredRecord,
};

#[cfg(feature = "testing")]
pub use model::StoreModel;

/// What one kind of log has in the row.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    records: usize,
    bytes: usize,
}

/// What was asked of the store and is not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Storing {
    tickets: StoreTicket,
    /// Whose record waits for which ticket, in order, with its bytes.
    row: VecDeque<(StoreTicket, LogName, usize)>,
    /// By kind, in the order of [`LogKind::ALL`].
    shares: [Share; LogKind::ALL.len()],
}

impl Storing {
    /// Whether another record of a log of this kind may be stored; its size does not matter, so the bound is exceeded by one at most.
    pub(crate) fn has_room(&self, kind: LogKind) -> bool {
        let share = self.shares[kind as usize];
        share.records < UNSTORED_RECORDS_MAX && share.bytes < bytes_max(kind)
    }

    fn enter(&mut self, log: LogName, bytes: usize) -> StoreTicket {
        self.tickets.0 += 1;
        let share = &mut self.shares[log.kind as usize];
        share.records += 1;
        share.bytes += bytes;
        self.row.push_back((self.tickets, log, bytes));
        self.tickets
    }

    /// The log whose record this ticket is of. None: the answer is to nothing that waits, or out of order.
    fn leave(&mut self, ticket: StoreTicket) -> Option<LogName> {
        let (_, log, bytes) = self.row.pop_front_if(|(first, ..)| *first == ticket)?;
        let share = &mut self.shares[log.kind as usize];
        share.records -= 1;
        share.bytes -= bytes;
        Some(log)
    }
}

/// Bytes of one kind of log that may wait.
const fn bytes_max(kind: LogKind) -> usize {
    match kind {
        LogKind::Channel => UNSTORED_BYTES_MAX,
        LogKind::Inbox => UNSTORED_INBOX_BYTES_MAX,
        LogKind::Document => UNSTORED_DOCUMENT_BYTES_MAX,
    }
}

impl Shard {
    /// Asks the store to keep a record. Its answer comes to the room of this kind of log, in the order of asking.
    pub(crate) fn store(&mut self, log: LogName, epoch: Epoch, record: StoredRecord) {
        let ticket = self.storing.enter(log.clone(), record.body.len());
        self.effects
            .push_back(Effect::Store(Box::new(StoreRequest::Append {
                ticket,
                log,
                epoch,
                record,
            })));
    }

    /// The store has answered: to the room whose record it is.
    pub(crate) fn stored(&mut self, now: Now, ticket: StoreTicket, outcome: StoreOutcome) {
        // An answer to nothing that waits is a fault of the world, and harmless.
        let Some(log) = self.storing.leave(ticket) else {
            debug_assert!(false, "a store answers in order");
            return;
        };
        match log.kind {
            LogKind::Channel => self.publication_stored(now, &log.name, outcome),
            LogKind::Inbox => self.inbox_stored(now, &log.name, outcome),
            LogKind::Document => self.document_stored(now, &log.name, outcome),
        }
    }

    /// Takes over a log that a store has kept. Before the first [`handle`](Self::handle), and only for a name whose home this
    /// shard is; what its room does not keep (any more) is passed over. Of a document no record is needed: it is read when it is wanted.
    pub fn restore(&mut self, now: Now, restored: RestoredLog) {
        let RestoredLog { log, head, records } = restored;
        match log.kind {
            LogKind::Channel => self.restore_history(now, log.name, head, records),
            LogKind::Inbox => self.restore_inbox(now, log.name, head, &records),
            LogKind::Document => self.restore_document(log.name, head),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_find_the_logs_in_the_order_of_asking() {
        let mut storing = Storing::default();
        let logs = [
            LogName::channel("a"),
            LogName::inbox("a"),
            LogName::document("a"),
        ];
        let tickets = logs.clone().map(|log| storing.enter(log, 10));
        assert_eq!(storing.leave(tickets[1]), None, "out of order");
        for (log, ticket) in logs.into_iter().zip(tickets) {
            assert_eq!(storing.leave(ticket), Some(log));
            assert_eq!(storing.leave(ticket), None, "answered twice");
        }
    }

    #[test]
    fn a_flood_into_one_kind_of_log_leaves_room_for_the_others() {
        let mut storing = Storing::default();
        let mut tickets = Vec::new();
        while storing.has_room(LogKind::Channel) {
            tickets.push(storing.enter(LogName::channel("a"), UNSTORED_BYTES_MAX / 8));
        }
        assert_eq!(tickets.len(), 8, "by bytes");
        assert!(storing.has_room(LogKind::Inbox) && storing.has_room(LogKind::Document));
        storing.leave(tickets[0]);
        assert!(storing.has_room(LogKind::Channel));
        for _ in 0..UNSTORED_RECORDS_MAX {
            assert!(storing.has_room(LogKind::Inbox));
            storing.enter(LogName::inbox("a"), 1);
        }
        assert!(!storing.has_room(LogKind::Inbox), "by number");
    }
}
