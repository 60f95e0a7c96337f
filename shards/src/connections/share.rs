//! How much of a turn one connection may take, and what becomes of the rest of its bytes.
//!
//! A peer may send frames that cost it a few bytes and us much more: empty fragments, pings, publications to thousands,
//! messages that inflate to a thousand times their size. Counting frames would refuse what is legal (a message may come in
//! 65,536 fragments), so work is counted instead, estimated in nanoseconds. Who has had its share of a turn is not read
//! from, and waits with what it has sent already for the next turn, in a row with others like it; so does a peer for whom
//! more waits than the soft limit of its outbox, until it has read some of that.

use ahash::AHashMap;
use std::collections::VecDeque;

use super::inbound::Stop;
use super::{Flags, SpokeAt, State};
use crate::bounds::{POSTPONED_WORK_MAX, TURN_WORK_MAX};
use crate::shard::Shard;
use crate::vocabulary::{ConnectionId, Effect, Now};

/// Estimated nanoseconds of things a shard does, rounded up; not measured one by one.
pub(crate) mod cost {
    /// One frame or piece of one, decoded and handled.
    pub(crate) const FRAME: u64 = 100;
    /// A fourth of a nanosecond for each byte: unmasked, checked, copied.
    pub(crate) const BYTES_PER_NANOSECOND: u64 = 4;
    /// One byte of JSON, parsed.
    pub(crate) const JSON_BYTE: u64 = 1;
    /// One byte that was inflated, or only counted, and one byte that it came from: a message can be long and inflate to nothing.
    pub(crate) const INFLATED_BYTE: u64 = 2;
    /// One byte that was compressed.
    pub(crate) const DEFLATED_BYTE: u64 = 20;
    /// One broadcast put into one outbox, and written.
    pub(crate) const DELIVERY: u64 = 50;
    /// The same of a broadcast that leaves behind another one, as a part of the same frame: what is left of it is its bytes' way
    /// through the kernel, a fiftieth.
    pub(crate) const GATHERED_DELIVERY: u64 = 1;
}

/// What a connection has taken of a turn.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Share {
    turn: u32,
    spent: u32,
}

/// Bytes that wait for a later turn.
#[derive(Debug, Default)]
struct Postponed {
    bytes: Vec<u8>,
    /// How many of them are done with.
    at: usize,
    /// In the row of those that go on by themselves.
    queued: bool,
}

/// Everybody who waits for a later turn.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    bytes: AHashMap<ConnectionId, Postponed>,
    queue: VecDeque<ConnectionId>,
}

impl Waiting {
    /// Whether somebody can go on.
    pub(crate) fn is_due(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Connections that have bytes waiting.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Gives it a place in the row, once.
    pub(crate) fn queue(&mut self, id: ConnectionId) {
        if let Some(postponed) = self.bytes.get_mut(&id)
            && !postponed.queued
        {
            postponed.queued = true;
            self.queue.push_back(id);
        }
    }
}

impl Shard {
    /// Estimated nanoseconds of work so far.
    pub(crate) fn work(&self) -> u64 {
        self.work + self.codec.deflated_bytes() * cost::DEFLATED_BYTE
    }

    /// Whether the connection has had its share of this turn. `begun`: [`work`](Self::work) when it was turned to, less what it
    /// had taken before.
    pub(crate) fn has_had_its_share(&self, begun: u64) -> bool {
        self.work() - begun > TURN_WORK_MAX
    }

    /// What it has taken of this turn.
    pub(crate) fn spent(&self, id: ConnectionId) -> u64 {
        match self.registry.get(id) {
            Some(connection) if connection.share.turn == self.turn => connection.share.spent.into(),
            _ => 0,
        }
    }

    /// Notes what it has taken of this turn, and whether it said something meanwhile.
    pub(crate) fn note_spent(&mut self, now: Now, id: ConnectionId, spent: u64, spoke: bool) {
        if let Some(connection) = self.registry.get_mut(id) {
            connection.share = Share {
                turn: self.turn,
                spent: u32::try_from(spent).unwrap_or(u32::MAX),
            };
            if spoke {
                connection.spoke = SpokeAt::at(now);
                if connection.flags.has(Flags::SILENT) {
                    self.breaks_silence(now, id);
                }
            }
        }
    }

    /// Whether more waits for the connection than it may have waiting when it asks for more.
    pub(crate) fn is_behind(&self, id: ConnectionId) -> bool {
        self.registry.get(id).is_some_and(|connection| {
            !matches!(connection.state, State::Closing { .. })
                && !connection.flags.has(Flags::ENDED)
                && connection.outbox.len() > self.settings.outbox_soft_limit
        })
    }

    /// Keeps bytes for later, behind those that are kept already, and stops reading.
    pub(crate) fn postpone(&mut self, id: ConnectionId, bytes: &[u8]) {
        let behind = self.is_behind(id);
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        connection.flags.set(Flags::POSTPONED, true);
        if !connection.flags.has(Flags::PAUSED) {
            connection.flags.set(Flags::PAUSED, true);
            let socket = connection.socket;
            self.effects
                .push_back(Effect::Receive { socket, on: false });
        }
        let postponed = self.waiting.bytes.entry(id).or_default();
        postponed.bytes.extend_from_slice(bytes);
        if !behind {
            self.waiting.queue(id);
        }
    }

    /// The connection may be read from again: first what it sent before, then its socket.
    pub(crate) fn read_on(&mut self, id: ConnectionId) {
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        if connection.flags.has(Flags::POSTPONED) {
            self.waiting.queue(id);
        } else if connection.flags.has(Flags::PAUSED) {
            connection.flags.set(Flags::PAUSED, false);
            let socket = connection.socket;
            self.effects.push_back(Effect::Receive { socket, on: true });
        }
    }

    /// Lets those that wait go on, each for a share, as many as fit into a turn.
    pub(crate) fn read_postponed(&mut self, now: Now) {
        let begun = self.work();
        for _ in 0..self.waiting.queue.len() {
            if self.work() - begun > POSTPONED_WORK_MAX {
                break;
            }
            let Some(id) = self.waiting.queue.pop_front() else {
                break;
            };
            self.read_postponed_of(now, id);
        }
    }

    fn read_postponed_of(&mut self, now: Now, id: ConnectionId) {
        let Some(mut postponed) = self.waiting.bytes.remove(&id) else {
            return;
        };
        postponed.queued = false;
        match self.read(now, id, &mut postponed.bytes[postponed.at..]) {
            Stop::Taken => {
                if let Some(connection) = self.registry.get_mut(id) {
                    connection.flags.set(Flags::POSTPONED, false);
                }
                if !self.is_behind(id) {
                    self.read_on(id);
                }
            }
            Stop::Over => {
                if let Some(connection) = self.registry.get_mut(id) {
                    connection.flags.set(Flags::POSTPONED, false);
                }
            }
            Stop::Postponed(taken) => {
                postponed.at += taken;
                self.waiting.bytes.insert(id, postponed);
                if !self.is_behind(id) {
                    self.waiting.queue(id);
                }
            }
        }
        self.go_if_all_is_said(id);
    }

    /// What was kept does not matter any more.
    pub(crate) fn forget_postponed(&mut self, id: ConnectionId) {
        // Its place in the row leads nowhere, and is passed over when its turn comes.
        self.waiting.bytes.remove(&id);
        if let Some(connection) = self.registry.get_mut(id) {
            connection.flags.set(Flags::POSTPONED, false);
        }
    }
}
