//! One channel's log: what was published, in order, as far as it is kept.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use smallvec::SmallVec;

use super::keys::Keys;
use super::rules::HistoryRule;
use super::unstored::Unstored;
use crate::timers::Tick;
use crate::vocabulary::{ConnectionId, Epoch, Kept, Position, ShardId, SharedFrame};

/// Bytes a record takes besides its frames, and a log besides its records: their structs, rounded up.
const RECORD_BYTES: usize = 160;
const LOG_BYTES: usize = 512;

/// One publication. Once its frame is gone it only marks that there was something.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) offset: u64,
    pub(crate) frame: SharedFrame,
    pub(crate) exclude: SmallVec<[ConnectionId; 1]>,
    /// When it is of no use any more, in milliseconds since start.
    pub(crate) expires: u64,
}

impl Record {
    fn cost(&self) -> usize {
        RECORD_BYTES + self.frame.len()
    }

    fn is_gone(&self, now_ms: u64) -> bool {
        self.expires <= now_ms || self.frame.is_empty()
    }
}

/// How much is read at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadLimit {
    pub(crate) records: usize,
    /// Of plain frames. The first is read whatever its length.
    pub(crate) bytes: usize,
}

/// A part of a log.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) items: Vec<Kept>,
    /// Where to read on.
    pub(crate) next: u64,
}

/// A log, at its channel's home.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) rule: HistoryRule,
    epoch: Epoch,
    /// Highest offset that is in the log for good.
    head: u64,
    /// Highest offset given; larger than `head` while records wait to be stored.
    given: u64,
    records: VecDeque<Record>,
    records_bytes: usize,
    /// How many records only mark that there was something.
    gone: usize,
    /// Highest offset that was there and is not even marked any more.
    evicted: u64,
    /// What expires before the rule's age, soonest first: when, and which offset.
    early: BinaryHeap<Reverse<(u64, u64)>>,
    pub(crate) keys: Keys,
    /// Records given to a store and not answered yet, in order.
    pub(crate) unstored: VecDeque<Unstored>,
    /// Shards whose lane was full, and the offset each of them gets next.
    behind: SmallVec<[(ShardId, u64); 2]>,
    /// When something was last done with it or it became empty, in milliseconds since start; see [`next_look`](Self::next_look).
    pub(crate) touched: u64,
    /// When somebody will look at it. A timer that fires before that was armed for what is over.
    pub(crate) armed: Option<Tick>,
    /// Up to here the store has been told that records may go.
    trimmed_in_store: u64,
}

impl Log {
    pub(crate) fn new(rule: HistoryRule, start: Position, now_ms: u64) -> Self {
        Self {
            rule,
            epoch: start.epoch,
            head: start.offset,
            given: start.offset,
            records: VecDeque::new(),
            records_bytes: 0,
            gone: 0,
            evicted: start.offset,
            early: BinaryHeap::new(),
            keys: Keys::default(),
            unstored: VecDeque::new(),
            behind: SmallVec::new(),
            touched: now_ms,
            armed: None,
            trimmed_in_store: start.offset,
        }
    }

    /// Where the log stands: its epoch, and the last offset in it.
    pub(crate) fn position(&self) -> Position {
        Position {
            epoch: self.epoch,
            offset: self.head,
        }
    }

    /// Bytes it takes altogether.
    pub(crate) fn bytes(&self) -> usize {
        LOG_BYTES + self.records_bytes + self.keys.bytes()
    }

    /// Records that can be read.
    pub(crate) fn len(&self) -> usize {
        self.records.len() - self.gone
    }

    /// The next offset, for one record that will be appended or dropped.
    pub(crate) fn give_offset(&mut self) -> u64 {
        self.given += 1;
        self.given
    }

    /// When a record published now expires, in milliseconds since start.
    pub(crate) fn expiry(&self, now_ms: u64, lifetime_ms: Option<u64>) -> u64 {
        let age = self.rule.max_age_ms;
        now_ms.saturating_add(lifetime_ms.map_or(age, |lifetime| lifetime.min(age)))
    }

    /// Appends a record, whose offset is higher than that of all others.
    pub(crate) fn append(&mut self, now_ms: u64, record: Record) {
        debug_assert!(record.offset > self.head, "an offset was given twice");
        self.head = record.offset;
        self.given = self.given.max(record.offset);
        self.touched = now_ms;
        if record.expires < now_ms.saturating_add(self.rule.max_age_ms) {
            self.early.push(Reverse((record.expires, record.offset)));
        }
        self.records_bytes += record.cost();
        self.records.push_back(record);
    }

    /// As [`append`](Self::append) for a log as a store gave it back: what the store did not give back is known to be gone.
    pub(crate) fn restore(&mut self, now_ms: u64, record: Record) {
        if self.records.is_empty() {
            self.evicted = record.offset.saturating_sub(1);
            self.trimmed_in_store = self.evicted;
        }
        let head = self.head.max(record.offset);
        self.head = record.offset.saturating_sub(1).min(self.head);
        self.append(now_ms, record);
        self.head = head;
        self.given = head;
    }

    /// Lets go of what is too old or too much.
    pub(crate) fn trim(&mut self, now_ms: u64) {
        self.keys.expire(now_ms);
        while let Some(&Reverse((expires, offset))) = self.early.peek() {
            let evicted = offset <= self.evicted;
            if expires > now_ms && !evicted {
                break;
            }
            self.early.pop();
            if !evicted {
                self.drop_frame_of(offset);
            }
        }
        while let Some(first) = self.records.front() {
            let too_much =
                self.len() > self.rule.max_messages || self.records_bytes > self.rule.max_bytes;
            if !(first.is_gone(now_ms) || too_much) {
                break;
            }
            self.evict_first();
            if self.records.is_empty() {
                self.touched = self.touched.max(now_ms);
            }
        }
    }

    fn drop_frame_of(&mut self, offset: u64) {
        let Ok(at) = self
            .records
            .binary_search_by_key(&offset, |record| record.offset)
        else {
            return;
        };
        let record = &mut self.records[at];
        if !record.frame.is_empty() {
            self.records_bytes -= record.frame.len();
            self.gone += 1;
            record.frame = SharedFrame::default();
        }
    }

    /// Lets go of the oldest record.
    pub(crate) fn evict_first(&mut self) {
        if let Some(record) = self.records.pop_front() {
            self.records_bytes -= record.cost();
            self.gone -= usize::from(record.frame.is_empty());
            self.evicted = record.offset;
        }
    }

    /// The offset of the oldest record.
    pub(crate) fn first_offset(&self) -> Option<u64> {
        self.records.front().map(|record| record.offset)
    }

    /// Reads from offset `from` on, up to `through`. What is not there any more is named.
    pub(crate) fn read(&self, now_ms: u64, from: u64, through: u64, limit: ReadLimit) -> Part {
        let mut part = Part {
            items: Vec::new(),
            next: from,
        };
        if from <= self.evicted.min(through) {
            let to = self.evicted.min(through);
            part.items.push(Kept::Gone { from, to });
            part.next = to + 1;
        }
        let (mut records, mut bytes) = (0, 0);
        let start = self.index_of(part.next);
        for record in self.records.range(start..) {
            if record.offset > through {
                break;
            }
            if record.is_gone(now_ms) {
                match part.items.last_mut() {
                    Some(Kept::Gone { to, .. }) => *to = record.offset,
                    _ => part.items.push(Kept::Gone {
                        from: record.offset,
                        to: record.offset,
                    }),
                }
                part.next = record.offset + 1;
                continue;
            }
            let len = record.frame.plain.len();
            if records == limit.records || (records > 0 && bytes + len > limit.bytes) {
                return part;
            }
            records += 1;
            bytes += len;
            part.items.push(Kept::Record {
                offset: record.offset,
                frame: record.frame.clone(),
                exclude: record.exclude.clone(),
            });
            part.next = record.offset + 1;
        }
        part.next = part.next.max(through.saturating_add(1));
        part
    }

    /// Whether all that was ever published at `from` or later, up to `through`, can be read.
    pub(crate) fn is_whole(&self, now_ms: u64, from: u64, through: u64) -> bool {
        let start = self.index_of(from);
        from > self.evicted
            && self
                .records
                .range(start..)
                .take_while(|record| record.offset <= through)
                .all(|record| !record.is_gone(now_ms))
    }

    /// Records that can be read, from the one at `from` (or next to it) on, forwards or backwards.
    pub(crate) fn walk(
        &self,
        now_ms: u64,
        from: Option<u64>,
        backward: bool,
    ) -> Box<dyn Iterator<Item = &Record> + '_> {
        let readable = move |record: &&Record| !record.is_gone(now_ms);
        if backward {
            let end = from.map_or(self.records.len(), |from| {
                self.index_of(from.saturating_add(1))
            });
            Box::new(self.records.range(..end).rev().filter(readable))
        } else {
            let start = from.map_or(0, |from| self.index_of(from));
            Box::new(self.records.range(start..).filter(readable))
        }
    }

    fn index_of(&self, offset: u64) -> usize {
        self.records
            .partition_point(|record| record.offset < offset)
    }

    /// What a shard gets next, if its lane was full.
    pub(crate) fn next_for(&self, shard: ShardId) -> Option<u64> {
        let behind = self.behind.iter().find(|(at, _)| *at == shard);
        behind.map(|(_, next)| *next)
    }

    /// Notes what a shard gets next; none: it has all that is in the log, or wants no more.
    pub(crate) fn set_next_for(&mut self, shard: ShardId, next: Option<u64>) {
        let known = self.behind.iter_mut().find(|(at, _)| *at == shard);
        match (known, next) {
            (Some(entry), Some(next)) => entry.1 = next,
            (Some(_), None) => self.behind.retain(|(at, _)| *at != shard),
            (None, Some(next)) => self.behind.push((shard, next)),
            (None, None) => {}
        }
    }

    /// Up to where a shard has been sent what is in the log.
    pub(crate) fn sent_to(&self, shard: ShardId) -> u64 {
        self.next_for(shard).map_or(self.head, |next| next - 1)
    }

    /// When somebody has to look at it again, in milliseconds since start: when a record or key expires, or, empty and without
    /// subscribers, when it is to be forgotten.
    pub(crate) fn next_look(&self, listened: bool, forget_after_ms: u64) -> Option<u64> {
        let first = self.records.front().map(|record| record.expires);
        let early = self.early.peek().map(|Reverse((expires, _))| *expires);
        let pending = [first, early, self.keys.next_expiry()]
            .into_iter()
            .flatten()
            .min();
        pending.or_else(|| (!listened).then(|| self.touched.saturating_add(forget_after_ms)))
    }

    /// Whether nothing would be lost with it but its place.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.keys.is_empty() && self.unstored.is_empty()
    }

    /// Up to where a store may let go of records, if that is worth a request.
    pub(crate) fn trim_for_store(&mut self, at_least: u64) -> Option<Position> {
        let worth = self.rule.durable && self.evicted - self.trimmed_in_store >= at_least;
        worth.then(|| {
            self.trimmed_in_store = self.evicted;
            Position {
                epoch: self.epoch,
                offset: self.evicted,
            }
        })
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
