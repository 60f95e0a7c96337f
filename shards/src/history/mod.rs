//! Logs: what was published into a channel, kept for a while, so that nobody misses anything without being told.
//!
//! **Lives here,** all of it at the channel's home: the log (`log.rs`) with its idempotency keys (`keys.rs`), the way of a publication
//! into it (`append.rs`, `unstored.rs`), shards whose lane was full (`stream.rs`), reading (`read.rs`), letting go (`sweep.rs`), and what
//! the operator chose (`rules.rs`). **Does not:** who listens, and how far each subscriber is (`channels/`); what is on its way to a disk
//! (`storing/`).
//! **Invariants:**
//! * Offsets grow within an epoch and none is given twice to what anybody may have seen. A log that is forgotten or lost takes its epoch
//!   with it.
//! * A shard with an audience is sent, in the delivery lane and in order, each record of the log or a `Skipped` in its place, exactly
//!   once from the position it was given with `Interested` on. A lane that is full delays that, it does not thin it out.
//! * A durable record is delivered and acknowledged after it is stored, never before: a subscriber that had seen an offset which a crash
//!   gives to another record would miss that one without a sign.
//! * All logs of a shard together stay inside `history_memory` as far as records can make room; who would exceed it with anything
//!   else is refused.
//!
//! **Called by:** `channels/` (publish, interest, catching up), `routing/` (`history`), the shard (time, what was stored). **Calls:**
//! `mesh/`, `channels/` (fan-out), `connections/` (answers).
//! **Tests:** beside each file; `tests/history.rs`, `tests/catching_up.rs` and `tests/durable.rs` on whole shards; the simulator.

mod append;
mod keys;
mod log;
mod read;
mod rules;
mod stream;
mod sweep;
mod unstored;

use std::collections::VecDeque;

use crate::timers::Wheel;
use crate::vocabulary::{ChannelName, Epoch, ShardId};

pub(crate) use append::Origin;
pub(crate) use log::Log;
pub use rules::{ChannelRule, ChannelSettings, HistoryRule, SlowPolicy};

/// What a shard knows of all logs it is home of together. The logs themselves are with their channels (`channels/home.rs`).
#[derive(Debug)]
pub(crate) struct History {
    /// Bytes of all logs.
    bytes: usize,
    logs: usize,
    /// Records of all logs, oldest first: which goes next when memory is short. Some of them have gone already.
    order: VecDeque<(ChannelName, u64)>,
    /// Records that can be read.
    records: usize,
    /// When logs are to be looked at.
    wheel: Wheel<ChannelName>,
    due: Vec<ChannelName>,
    /// Shards whose lane was full, by channel.
    behind: VecDeque<(ChannelName, ShardId)>,
    /// The state of what epochs are drawn from.
    epochs: u64,
}

impl History {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            bytes: 0,
            logs: 0,
            order: VecDeque::new(),
            records: 0,
            wheel: Wheel::default(),
            due: Vec::new(),
            behind: VecDeque::new(),
            epochs: seed,
        }
    }

    /// Logs there are.
    pub(crate) fn logs(&self) -> usize {
        self.logs
    }

    /// Bytes they take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether some shard waits for room in its lane.
    pub(crate) fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// The next life of some log (splitmix64: every state gives another number, so one shard repeats none before all were used).
    pub(crate) fn next_epoch(&mut self) -> Epoch {
        self.epochs = self.epochs.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.epochs;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Epoch(x ^ (x >> 31))
    }

    /// A log has other numbers of bytes and records than before.
    fn note_change(&mut self, before: (usize, usize), after: (usize, usize)) {
        self.bytes = self.bytes + after.0 - before.0;
        self.records = self.records + after.1 - before.1;
    }
}
