//! Flushes of huge audiences, some in each turn: what a message to thousands costs is writing to their sockets, and nobody else shall
//! wait for that.
//!
//! The message itself is in all outboxes at once, so the order of every channel is that of its fan-outs, whoever is written to first.
//! A connection that gets something besides is flushed like any other, and its place in the row is then an empty one. When several
//! such broadcasts have met a row that was not empty, all of it is due at once: the shard is busier than it can be, and slicing would
//! only make outboxes longer.

use std::collections::VecDeque;

use super::{Connection, Flags, Registry};
use crate::bounds::ROW_WAVES_MAX;
use crate::vocabulary::{ConnectionId, Effect};

/// Connections that wait for their flush; each at most once.
#[derive(Debug)]
pub(crate) struct FlushRow {
    waiting: VecDeque<ConnectionId>,
    /// How many more of them have their turn in this turn of the shard.
    left: usize,
    slice: usize,
    /// Broadcasts that have met a row which was not empty.
    waves: usize,
}

impl FlushRow {
    /// A row of which so many are flushed in each turn.
    pub(crate) fn new(slice: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            left: slice,
            slice,
            waves: 0,
        }
    }

    /// Whether an audience of so many is flushed in slices. Of two slices the second is not worth a turn.
    pub(crate) fn is_for(&self, members: usize) -> bool {
        members > 2 * self.slice
    }

    /// A broadcast to such an audience is about to begin.
    pub(crate) fn begin(&mut self) {
        if self.waiting.is_empty() {
            self.left = self.slice;
            self.waves = 0;
            return;
        }
        self.waves += 1;
        if self.waves > ROW_WAVES_MAX {
            self.left = usize::MAX;
        }
    }

    /// Something was put into the outbox by such a broadcast.
    pub(crate) fn enter(
        &mut self,
        stuck: &mut Vec<ConnectionId>,
        id: ConnectionId,
        connection: &mut Connection,
    ) {
        let takes_more = connection.takes_more(stuck, id);
        let flags = &mut connection.flags;
        if takes_more && !flags.has(Flags::FLUSH_DUE) {
            flags.set(Flags::OWED, true);
            if !flags.has(Flags::IN_ROW) {
                flags.set(Flags::IN_ROW, true);
                self.waiting.push_back(id);
            }
        }
    }

    /// The next flush of this turn.
    pub(crate) fn next(&mut self, registry: &mut Registry) -> Option<Effect> {
        while self.left > 0 {
            let id = self.waiting.pop_front()?;
            let Some(connection) = registry.get_mut(id) else {
                continue;
            };
            connection.flags.set(Flags::IN_ROW, false);
            if connection.flags.has(Flags::OWED) {
                self.left -= 1;
                connection.flags.set(Flags::OWED, false);
                connection.flags.set(Flags::FLUSHING, true);
                return Some(Effect::Flush {
                    connection: id,
                    socket: connection.socket,
                });
            }
        }
        None
    }

    /// Its time has come again: once in each turn of the shard, as long as somebody waits.
    pub(crate) fn begin_slice(&mut self) {
        self.left = self.left.max(self.slice);
    }

    /// Whether somebody waits.
    pub(crate) fn is_due(&self) -> bool {
        !self.waiting.is_empty()
    }
}
