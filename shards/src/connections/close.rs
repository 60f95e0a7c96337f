//! The end of a connection: the closing handshake, its deadline, and what is given back (RFC 6455, section 7).

use shardwire_protocol::codes::close;
use shardwire_protocol::websocket::{CloseFrame, frame};

use super::{Flags, State};
use crate::shard::Shard;
use crate::timers::{Tick, tick_at};
use crate::users::limited_address;
use crate::vocabulary::{CloseCause, ConnectionId, Effect, Event, LimitedKey, Now};

impl Shard {
    /// Closes with the closing handshake: our close frame leaves behind what waits, the peer has `close_timeout` to answer.
    pub(crate) fn close(&mut self, now: Now, id: ConnectionId, code: u16, reason: &str) {
        self.close_at(self.tick(now), id, code, reason, true);
    }

    /// Fails the connection (RFC 6455, 7.1.7): the peer is told why and not listened to any more.
    pub(crate) fn fail(&mut self, now: Now, id: ConnectionId, code: u16, reason: &str) {
        self.counters.connections_failed += 1;
        self.close_at(self.tick(now), id, code, reason, false);
    }

    pub(crate) fn close_at(
        &mut self,
        tick: Tick,
        id: ConnectionId,
        code: u16,
        reason: &str,
        await_peer: bool,
    ) {
        if !self.is_closing(id) {
            self.retire(id);
            self.say_close(tick, id, code, reason, await_peer);
        }
    }

    /// Whether it is, or is gone already.
    fn is_closing(&self, id: ConnectionId) -> bool {
        let state = self.registry.get(id).map(|connection| &connection.state);
        matches!(state, None | Some(State::Closing { .. }))
    }

    /// A connection that was taken out of everything begins to close.
    fn say_close(
        &mut self,
        tick: Tick,
        id: ConnectionId,
        code: u16,
        reason: &str,
        await_peer: bool,
    ) {
        let until = tick.saturating_add(tick_at(self.settings.close_timeout_ms).max(1));
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        let receives = !matches!(connection.state, State::Admitting(_));
        if connection.flags.has(Flags::ENDED) {
            // Nobody is there to be told.
            connection.state = State::Closing {
                until,
                await_peer: false,
                cause: CloseCause::Us(code),
            };
            return self.remove(id);
        }
        // Whoever was never read from must be read from now, or its close frame could not be seen.
        let socket = connection.socket;
        connection.state = State::Closing {
            until,
            await_peer,
            cause: CloseCause::Us(code),
        };
        let flags = connection.flags;
        if !await_peer {
            self.forget_postponed(id);
        } else if flags.has(Flags::POSTPONED) {
            self.read_on(id);
        } else if !receives || flags.has(Flags::PAUSED) {
            connection.flags.set(Flags::PAUSED, false);
            self.effects.push_back(Effect::Receive { socket, on: true });
        }
        self.wheel.arm(until, id);
        self.write(id, |out| frame::write_close(out, code, reason));
    }

    /// The peer does not read: what waits is dropped, it is told why, and gets `close_timeout` to take that.
    pub(crate) fn close_slow_consumer(&mut self, now: Now, id: ConnectionId) {
        if self.is_closing(id) {
            return;
        }
        // What it is still told while it leaves, and what was gathered for it, goes with the rest: behind what is dropped it would be a
        // hole.
        self.retire(id);
        self.counters.slow_consumers += 1;
        self.notifications_lost(id);
        if let Some(connection) = self.registry.get_mut(id) {
            connection
                .outbox
                .keep_only_begun(&mut self.frames, &mut self.pool);
        }
        let tick = self.tick(now);
        self.say_close(tick, id, close::SLOW_CONSUMER, "slow consumer", false);
    }

    /// The peer's close frame arrived; none: without a code.
    pub(crate) fn peer_closes(&mut self, now: Now, id: ConnectionId, peer: Option<CloseFrame<'_>>) {
        let tick = self.tick(now);
        let code = peer.map_or(close::NO_STATUS, |peer| peer.code);
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        match &mut connection.state {
            State::Closing { await_peer, .. } => {
                *await_peer = false;
                self.finish_if_flushed(id);
            }
            State::Open | State::Calling(_) | State::Admitting(_) | State::Authenticating(_) => {
                self.retire(id);
                let reason = peer.map_or("", |peer| peer.reason);
                if !reason.is_empty() && self.registry.get(id).is_some() {
                    self.last_words.insert(id, reason.into());
                }
                let until = tick.saturating_add(tick_at(self.settings.close_timeout_ms).max(1));
                self.wheel.arm(until, id);
                if let Some(connection) = self.registry.get_mut(id) {
                    connection.state = State::Closing {
                        until,
                        await_peer: false,
                        cause: CloseCause::Peer(code),
                    };
                }
                self.write(id, |out| {
                    if code == close::NO_STATUS {
                        frame::write_server(out, frame::Kind::Close, &[]);
                    } else {
                        frame::write_close(out, code, "");
                    }
                });
            }
        }
    }

    /// Once a closing connection has nothing to send and nobody to wait for, its socket can go.
    pub(crate) fn finish_if_flushed(&mut self, id: ConnectionId) {
        let Some(connection) = self.registry.get(id) else {
            return;
        };
        if let State::Closing {
            await_peer: false, ..
        } = connection.state
            && connection.outbox.is_empty()
        {
            self.finish(id);
        }
    }

    /// Patience has ended, or nothing is left to do: the socket is closed and the connection is gone.
    pub(crate) fn finish(&mut self, id: ConnectionId) {
        if let Some(connection) = self.registry.get(id) {
            self.effects.push_back(Effect::Close {
                socket: connection.socket,
            });
            self.remove(id);
        }
    }

    /// The connection is over, and its socket needs no closing.
    pub(crate) fn gone(&mut self, id: ConnectionId) {
        if !self.is_closing(id) {
            self.retire(id);
        }
        self.remove(id);
    }

    /// Takes the connection out of everything but its slot: nothing is delivered to it any more, it counts for no limit. One whose
    /// socket has ended may have something to say to its room and its documents, and leaves them when it goes.
    pub(super) fn retire(&mut self, id: ConnectionId) {
        let ended = self.registry.get(id).map(|it| it.flags.has(Flags::ENDED));
        if ended == Some(false) {
            self.leave_all_documents(id);
        }
        self.leave_all_channels(id);
        // Behind the channels: who has left a room hears no more, not even of that.
        if ended == Some(false) {
            self.leave_room_for_good(id);
        }
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        let user = connection
            .flags
            .has(Flags::USER_COUNTED)
            .then(|| connection.user.clone())
            .flatten();
        let address = connection
            .flags
            .has(Flags::ADDRESS_COUNTED)
            .then(|| limited_address(connection.address));
        connection.flags.set(Flags::USER_COUNTED, false);
        connection.flags.set(Flags::ADDRESS_COUNTED, false);
        if let Some(user) = user {
            self.release_key(id, LimitedKey::User(user));
        }
        if let Some(address) = address {
            self.release_key(id, LimitedKey::Address(address));
        }
    }

    fn remove(&mut self, id: ConnectionId) {
        // What it had still to say, it has said where it was.
        self.leave_all_documents(id);
        self.leave_room_for_good(id);
        let Some(mut connection) = self.registry.remove(id) else {
            return;
        };
        if self.settings.notifications.is_some() {
            self.notifications_lost(id);
        }
        connection.outbox.clear(&mut self.frames, &mut self.pool);
        self.end_compression(id, connection.extension);
        if connection.flags.has(Flags::POSTPONED) {
            self.forget_postponed(id);
        }
        self.tags.forget(id);
        self.node_count.release();
        self.counters.connections_closed += 1;
        let identity = connection.identity().cloned();
        let cause = match connection.state {
            State::Closing { cause, .. } => cause,
            State::Open | State::Calling(_) | State::Admitting(_) | State::Authenticating(_) => {
                CloseCause::Lost
            }
        };
        self.end_counts.count(cause);
        let reason = self.last_words.remove(&id);
        self.effects.push_back(Effect::Event(Event::Disconnected {
            connection: id,
            cause,
            reason,
            user: connection.user,
            identity,
            address: connection.address,
        }));
    }

    /// Closes every connection (contract M25).
    pub(crate) fn close_all(&mut self, now: Now, code: u16, reason: &str) {
        let ids: Vec<ConnectionId> = self.registry.ids().collect();
        for id in ids {
            self.close(now, id, code, reason);
        }
    }
}
