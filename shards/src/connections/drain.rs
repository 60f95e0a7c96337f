//! Emptying a shard: every client is told when to come back, then they are closed one after the other.
//!
//! Clients that all come back in the same moment are a load of their own, on nodes that already carry more than before. So
//! each gets a moment of its own within a window, all the same distance apart over all shards, and is told it at once: one
//! that obeys leaves by itself, finishes what it was doing, and comes back at its moment. One that does not is closed at it.

use std::collections::VecDeque;

use shardwire_protocol::codes::close;
use shardwire_protocol::envelope::outbound;

use crate::bounds::DRAIN_BATCH;
use crate::shard::Shard;
use crate::vocabulary::{ConnectionId, Mode, Now};

const REASON: &str = "draining";

/// A shard on its way to being empty.
#[derive(Debug)]
pub(crate) struct Drain {
    begin_ms: u64,
    window_ms: u64,
    /// Connections when it began.
    count: u64,
    /// Of those, the ones that got their moment so far.
    told: u64,
    /// Not yet told, in slot order.
    to_tell: VecDeque<ConnectionId>,
    /// Told, in the order of their moments.
    leaving: VecDeque<(u64, ConnectionId)>,
}

impl Drain {
    /// When there is something to do again; 0: at once.
    pub(crate) fn deadline(&self) -> Option<u64> {
        if self.to_tell.is_empty() {
            self.leaving.front().map(|(at, _)| *at)
        } else {
            Some(0)
        }
    }
}

impl Shard {
    /// The order to go. A second one changes nothing.
    pub(crate) fn begin_drain(&mut self, now: Now, window_ms: u64) {
        if self.drain.is_some() {
            return;
        }
        let to_tell: VecDeque<ConnectionId> = self.registry.ids().collect();
        self.drain = Some(Drain {
            begin_ms: now.ms,
            window_ms,
            count: to_tell.len() as u64,
            told: 0,
            to_tell,
            leaving: VecDeque::new(),
        });
        self.go_on_draining(now);
    }

    /// Tells some more, closes those whose moment has come.
    pub(crate) fn go_on_draining(&mut self, now: Now) {
        let (shard, shards) = (u64::from(self.id.0), u64::from(self.placement.shards()));
        for _ in 0..DRAIN_BATCH {
            let Some(drain) = &mut self.drain else { return };
            let Some(id) = drain.to_tell.pop_front() else {
                break;
            };
            // Shards share the window like the teeth of combs laid into each other.
            let place = drain.told * shards + shard;
            let at = drain.begin_ms + drain.window_ms * place / (drain.count * shards);
            drain.told += 1;
            drain.leaving.push_back((at, id));
            self.advise(id, at.saturating_sub(now.ms));
        }
        for _ in 0..DRAIN_BATCH {
            let Some(drain) = &mut self.drain else { return };
            match drain.leaving.front() {
                Some(&(at, id)) if at <= now.ms => {
                    drain.leaving.pop_front();
                    self.close(now, id, close::DRAINING, REASON);
                }
                _ => return,
            }
        }
    }

    /// A connection that opens while the shard is emptied (its admission took so long, or it came through another shard's
    /// door) goes at once.
    pub(crate) fn drain_late(&mut self, now: Now, id: ConnectionId) {
        if self.drain.is_some() {
            self.advise(id, 0);
            self.close(now, id, close::DRAINING, REASON);
        }
    }

    fn advise(&mut self, id: ConnectionId, delay_ms: u64) {
        if self
            .registry
            .get(id)
            .is_some_and(|connection| connection.mode == Mode::Json)
        {
            self.answer(id, |out| outbound::reconnect(out, delay_ms));
        }
    }
}
