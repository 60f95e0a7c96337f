//! What a peer has said before its socket ended, and what is not handled yet: it waits behind a handler that runs, for its share of a turn,
//! for a verdict. A client that says much, says goodbye and is gone has said it all, and is heard like one that stays; for everybody else
//! it is gone at once.

use super::{Flags, State};
use crate::bounds::LAST_WORDS_MS;
use crate::shard::Shard;
use crate::timers::{Tick, tick_at};
use crate::vocabulary::{ConnectionId, Now};

impl super::Connection {
    /// Whether something that it has said is not handled yet.
    fn is_still_heard(&self) -> bool {
        let waits = match &self.state {
            State::Closing { .. } => return false,
            State::Calling(_) => true,
            State::Admitting(admitting) => !admitting.early.is_empty(),
            State::Authenticating(authenticating) => !authenticating.early.is_empty(),
            State::Open => false,
        };
        waits || self.flags.has(Flags::POSTPONED)
    }
}

impl Shard {
    /// The world says that the socket is gone.
    pub(crate) fn socket_ended(&mut self, now: Now, id: ConnectionId) {
        self.scatter_all_for(id);
        let tick = self.tick(now);
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        if connection.flags.has(Flags::ENDED) {
            return;
        }
        if !connection.is_still_heard() {
            return self.gone(id);
        }
        connection.flags.set(Flags::ENDED, true);
        connection.heard = tick;
        connection.outbox.clear(&mut self.frames, &mut self.pool);
        self.retire(id);
        self.waiting.queue(id);
        self.wheel.arm(last_tick(tick), id);
    }

    /// Something that a connection had said is handled: one whose socket has ended goes when it was the last.
    pub(crate) fn go_if_all_is_said(&mut self, id: ConnectionId) {
        let over = self.registry.get(id).is_some_and(|connection| {
            connection.flags.has(Flags::ENDED) && !connection.is_still_heard()
        });
        if over {
            self.gone(id);
        }
    }

    /// The timer of a connection fired whose socket has ended.
    pub(super) fn look_after_ended(&mut self, tick: Tick, id: ConnectionId) {
        let Some(connection) = self.registry.get(id) else {
            return;
        };
        let last = last_tick(connection.heard);
        if tick >= last {
            self.gone(id);
        } else {
            self.wheel.arm(last, id);
        }
    }
}

/// When patience ends with what was said before.
fn last_tick(ended: Tick) -> Tick {
    ended.saturating_add(tick_at(LAST_WORDS_MS))
}
