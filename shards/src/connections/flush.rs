//! From outboxes to sockets, and what is done about peers that do not read.

use super::{Connection, Flags, State};
use crate::shard::Shard;
use crate::vocabulary::{ConnectionId, Effect, Now};

impl Connection {
    /// Something was put into the outbox: is there anything to flush? Not while its socket takes nothing; but then what waits there must
    /// be judged, or it would grow for as long as the peer does not read: `stuck` notes whose.
    #[inline]
    pub(super) fn takes_more(&self, stuck: &mut Vec<ConnectionId>, id: ConnectionId) -> bool {
        let blocked = self.flags.has(Flags::BLOCKED);
        if blocked && stuck.last() != Some(&id) {
            stuck.push(id);
        }
        !blocked
    }
}

impl Shard {
    /// Appends to an outbox and asks for a flush.
    pub(crate) fn write(&mut self, id: ConnectionId, fill: impl FnOnce(&mut Vec<u8>)) {
        self.scatter_for(id);
        if let Some(connection) = self.registry.get_mut(id)
            && !connection.flags.has(Flags::ENDED)
        {
            connection.outbox.write(&mut self.pool, fill);
            Self::ask_flush(&mut self.effects, &mut self.stuck, id, connection);
        }
    }

    /// As [`write`](Self::write), for one plain data frame: whoever negotiated it gets it compressed, if that is worth it.
    pub(crate) fn write_message(&mut self, id: ConnectionId, fill: impl FnOnce(&mut Vec<u8>)) {
        self.scatter_for(id);
        if let Some(connection) = self.registry.get_mut(id)
            && !connection.flags.has(Flags::ENDED)
        {
            let extension = connection.extension;
            if extension.is_on() {
                connection.outbox.write(&mut self.pool, |out| {
                    let start = out.len();
                    fill(out);
                    self.codec.compress_last(id, extension, out, start);
                });
            } else {
                connection.outbox.write(&mut self.pool, fill);
            }
            Self::ask_flush(&mut self.effects, &mut self.stuck, id, connection);
        }
    }

    /// Something was put into the outbox.
    pub(crate) fn ask_flush(
        effects: &mut std::collections::VecDeque<Effect>,
        stuck: &mut Vec<ConnectionId>,
        id: ConnectionId,
        connection: &mut Connection,
    ) {
        if connection.takes_more(stuck, id) && !connection.flags.has(Flags::FLUSHING) {
            connection.flags.set(Flags::FLUSHING, true);
            // Whoever waits for its turn in the row need not any more.
            connection.flags.set(Flags::OWED, false);
            effects.push_back(Effect::Flush {
                connection: id,
                socket: connection.socket,
            });
        }
    }

    /// The unsent bytes of a connection, in order; nothing for a stale id.
    pub fn pending(&self, id: ConnectionId) -> impl Iterator<Item = &[u8]> {
        self.registry
            .get(id)
            .into_iter()
            .flat_map(|connection| connection.outbox.slices(&self.frames))
    }

    /// Whether nothing follows what is [`pending`](Self::pending): once the socket has taken it, it is asked to be closed.
    pub fn is_last(&self, id: ConnectionId) -> bool {
        let state = self.registry.get(id).map(|connection| &connection.state);
        let awaits_nobody = |state: &State| {
            matches!(
                state,
                State::Closing {
                    await_peer: false,
                    ..
                }
            )
        };
        state.is_some_and(awaits_nobody)
    }

    /// The socket took `written` bytes of [`pending`](Self::pending). `blocked`: it takes no more for now; flush again when it
    /// is writable. If it is not blocked and something is left, another `Flush` follows.
    pub fn sent(&mut self, now: Now, id: ConnectionId, written: usize, blocked: bool) {
        self.now = now;
        let tick = self.tick(now);
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        let flags = connection.flags;
        if connection.flags.has(Flags::BLOCKED) && written > 0 {
            // There is room only because the peer has read. Its pongs may be behind what we do not read from it.
            connection.heard = tick;
        }
        connection
            .outbox
            .advance(written, &mut self.frames, &mut self.pool);
        self.counters.bytes_sent += written as u64;
        connection.flags.set(Flags::FLUSH_DUE, false);
        connection.flags.set(Flags::BLOCKED, blocked);
        // Most connections are neither: they are done here.
        let paused = connection.flags.has(Flags::PAUSED);
        let closing = matches!(connection.state, State::Closing { .. });
        if connection.outbox.is_empty() {
            if closing {
                self.finish_if_flushed(id);
            }
        } else if !blocked {
            Self::ask_flush(&mut self.effects, &mut self.stuck, id, connection);
        }
        if flags.has(Flags::WATCHED) {
            self.watched_socket_took(now, id, written, flags);
        }
        if blocked || paused {
            self.judge_backlog(now, id);
        }
    }

    /// The socket of a connection that somebody watches took some bytes.
    fn watched_socket_took(&mut self, now: Now, id: ConnectionId, written: usize, flags: Flags) {
        if flags.has(Flags::NOTIFIED) {
            self.notifications_written(now, id, written);
        }
        if flags.has(Flags::LAGGING) {
            self.has_drained(id);
        }
    }

    /// Judges what was put behind sockets that take nothing.
    pub(crate) fn judge_stuck(&mut self, now: Now) {
        // Judging may write a close frame, which is never judged itself: this ends.
        while let Some(id) = self.stuck.pop() {
            self.judge_backlog(now, id);
        }
    }

    /// A peer that does not read is not read from beyond the soft limit, and closed beyond the hard one.
    fn judge_backlog(&mut self, now: Now, id: ConnectionId) {
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        let (waiting, socket) = (connection.outbox.len(), connection.socket);
        let stuck = connection.flags.has(Flags::BLOCKED) && connection.is_open();
        let paused = connection.flags.has(Flags::PAUSED);
        if stuck && waiting > self.settings.outbox_hard_limit {
            self.close_slow_consumer(now, id);
        } else if stuck && waiting > self.settings.outbox_soft_limit && !paused {
            connection.flags.set(Flags::PAUSED, true);
            self.effects
                .push_back(Effect::Receive { socket, on: false });
        } else if paused
            && waiting <= self.settings.outbox_soft_limit / 2
            && connection.kept_len() <= self.settings.outbox_soft_limit
        {
            self.read_on(id);
        }
    }
}
