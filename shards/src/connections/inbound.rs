//! Bytes of one connection: frames, control frames, messages on to `routing/`.

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::websocket::{Decoder, Event, frame};

use super::codec::Lending;
use super::{Flags, State, cost};
use crate::shard::Shard;
use crate::vocabulary::{ConnectionId, Effect, Mode, Now};

/// Where reading stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// All bytes were taken.
    Taken,
    /// So many were taken; the others wait for a later turn.
    Postponed(usize),
    /// Nothing that follows matters any more.
    Over,
}

impl Shard {
    /// Bytes of a connection arrive.
    pub(crate) fn received(&mut self, now: Now, id: ConnectionId, bytes: &mut [u8]) {
        let tick = self.tick(now);
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        if connection.flags.has(Flags::ENDED) {
            return;
        }
        connection.heard = tick;
        self.counters.bytes_received += bytes.len() as u64;
        // What may not be handled yet (the homes or the verdict are awaited, or a handler runs) is kept.
        if !self.keep_for_later(id, bytes) {
            self.take_in(now, id, bytes);
        }
    }

    /// Keeps bytes that may not be handled yet: the homes or the verdict are awaited, or a handler runs. Beyond the soft limit
    /// the connection is not read meanwhile. False: nothing has to be waited for.
    pub(crate) fn keep_for_later(&mut self, id: ConnectionId, bytes: &[u8]) -> bool {
        let Some(connection) = self.registry.get_mut(id) else {
            return false;
        };
        let kept = match &mut connection.state {
            State::Admitting(admitting) => &mut admitting.early,
            State::Authenticating(authenticating) if authenticating.verifying => {
                &mut authenticating.early
            }
            State::Calling(kept) => &mut **kept,
            State::Authenticating(_) | State::Open | State::Closing { .. } => return false,
        };
        kept.extend_from_slice(bytes);
        if kept.len() > self.settings.outbox_soft_limit && !connection.flags.has(Flags::PAUSED) {
            connection.flags.set(Flags::PAUSED, true);
            let socket = connection.socket;
            self.effects
                .push_back(Effect::Receive { socket, on: false });
        }
        true
    }

    /// Bytes whose turn it is, behind those that wait already.
    pub(crate) fn take_in(&mut self, now: Now, id: ConnectionId, bytes: &mut [u8]) {
        if self
            .registry
            .get(id)
            .is_some_and(|connection| connection.flags.has(Flags::POSTPONED))
        {
            return self.postpone(id, bytes);
        }
        if let Stop::Postponed(taken) = self.read(now, id, bytes) {
            self.postpone(id, &bytes[taken..]);
        }
    }

    /// As many of the bytes as the connection's share of the turn allows.
    pub(super) fn read(&mut self, now: Now, id: ConnectionId, bytes: &mut [u8]) -> Stop {
        let begun = self.work() - self.spent(id);
        let said = self.counters.messages_received;
        let Some(connection) = self.registry.get_mut(id) else {
            return Stop::Over;
        };
        // The decoder is taken out of its slot, so that what it yields can be handled with the whole shard at hand.
        let mut decoder = std::mem::take(&mut connection.decoder);
        let mut lending = self.codec.lend(id, connection.extension);
        let stop = self.decode(now, id, &mut decoder, lending.as_mut(), bytes, begun);
        if let Some(lending) = lending {
            self.codec.give_back(id, lending);
        }
        if stop != Stop::Over
            && let Some(connection) = self.registry.get_mut(id)
        {
            connection.decoder = decoder;
        }
        let spoke = self.counters.messages_received != said;
        self.note_spent(now, id, self.work() - begun, spoke);
        stop
    }

    fn decode(
        &mut self,
        now: Now,
        id: ConnectionId,
        decoder: &mut Decoder,
        mut lending: Option<&mut Lending>,
        bytes: &mut [u8],
        begun: u64,
    ) -> Stop {
        let mut at = 0;
        let mut stop = Stop::Taken;
        let mut inflated = lending
            .as_ref()
            .map_or(0, |lending| lending.handled_bytes());
        while at < bytes.len() {
            if self.has_had_its_share(begun) || self.is_behind(id) {
                stop = Stop::Postponed(at);
                break;
            }
            let lent = lending.as_mut().map(|lending| lending.lent());
            match decoder.decode_with(&self.rules, lent, &mut bytes[at..]) {
                Ok(decoded) => {
                    at += decoded.consumed;
                    let consumed = decoded.consumed as u64;
                    self.work += cost::FRAME + consumed / cost::BYTES_PER_NANOSECOND;
                    let mut kept = false;
                    if let Some(event) = decoded.event {
                        if !self.frame_event(now, id, event) {
                            return Stop::Over;
                        }
                        kept = self.keep_for_later(id, &bytes[at..]);
                    }
                    if let Some(lending) = &lending {
                        let so_far = lending.handled_bytes();
                        self.work += (so_far - inflated) * cost::INFLATED_BYTE;
                        inflated = so_far;
                    }
                    if kept {
                        break;
                    }
                }
                Err(error) => {
                    self.broken(now, id, error.close_code(), &error.to_string());
                    return Stop::Over;
                }
            }
        }
        // The last message of these bytes may have been gathered in a buffer, which the next call lets go.
        if decoder.held_bytes() > 0 {
            let nothing = decoder.decode(&self.rules, &mut []);
            debug_assert!(matches!(&nothing, Ok(decoded) if decoded.event.is_none()));
        }
        stop
    }

    /// One event of the decoder. False: nothing that follows matters any more.
    fn frame_event(&mut self, now: Now, id: ConnectionId, event: Event<'_>) -> bool {
        let Some(connection) = self.registry.get(id) else {
            return false;
        };
        let mode = connection.mode;
        if matches!(connection.state, State::Authenticating(_)) {
            return self.frame_of_a_stranger(now, id, event);
        }
        if !connection.is_open() {
            // We have sent our close frame: only the peer's still matters (RFC 6455, 5.5.1).
            if let Event::Close(peer) = event {
                self.peer_closes(now, id, peer);
                return false;
            }
            return true;
        }
        match event {
            // A ping costs its sender as much as a message; one that is not paid for is not answered.
            Event::Ping(payload)
                if mode == Mode::Json && !self.pay_for_message(now, id, payload.len()) =>
            {
                self.refuse_for_rate(now, id, None);
            }
            Event::Ping(payload) => {
                self.write(id, |out| {
                    frame::write_server(out, frame::Kind::Pong, payload)
                });
            }
            Event::Pong(_) => {}
            Event::Close(peer) => {
                self.peer_closes(now, id, peer);
                return false;
            }
            Event::Text(text) => {
                self.counters.messages_received += 1;
                match mode {
                    Mode::Echo => self.echo(id, frame::Kind::Text, text.as_bytes()),
                    Mode::Json if self.pay_for_message(now, id, text.len()) => {
                        self.work += text.len() as u64 * cost::JSON_BYTE;
                        self.route(now, id, text);
                    }
                    Mode::Json => self.refuse_for_rate(now, id, Some(text)),
                }
            }
            Event::Binary(payload) => {
                self.counters.messages_received += 1;
                match mode {
                    Mode::Echo => self.echo(id, frame::Kind::Binary, payload),
                    Mode::Json if self.pay_for_message(now, id, payload.len()) => {
                        self.answer_error(id, ErrorCode::InvalidFormat, None);
                    }
                    Mode::Json => self.refuse_for_rate(now, id, None),
                }
            }
        }
        true
    }

    /// From a connection that has to say first who it is: its token, and what keeps a socket alive.
    fn frame_of_a_stranger(&mut self, now: Now, id: ConnectionId, event: Event<'_>) -> bool {
        match event {
            Event::Text(text) => self.first_message(now, id, text),
            // No JSON object: not what is waited for.
            Event::Binary(_) => self.first_message(now, id, ""),
            Event::Ping(payload) => self.write(id, |out| {
                frame::write_server(out, frame::Kind::Pong, payload);
            }),
            Event::Pong(_) => {}
            Event::Close(peer) => {
                self.peer_closes(now, id, peer);
                return false;
            }
        }
        true
    }

    fn echo(&mut self, id: ConnectionId, kind: frame::Kind, payload: &[u8]) {
        self.counters.messages_sent += 1;
        self.write_message(id, |out| frame::write_server(out, kind, payload));
    }

    /// The bytes broke the protocol. One who is closing already is not told again.
    fn broken(&mut self, now: Now, id: ConnectionId, code: u16, reason: &str) {
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        if let State::Closing { await_peer, .. } = &mut connection.state {
            *await_peer = false;
            self.finish_if_flushed(id);
        } else {
            self.fail(now, id, code, reason);
        }
    }
}
