//! Verdicts on their way: of sockets whose upgrade waits for one, and of connections that have shown a token.

use std::collections::{HashMap, VecDeque};

use shardwire_protocol::handshake::server::Refusal;
use shardwire_shards::vocabulary::{ConnectionId, Denied, Input, Now, Opening, Verdict};

use super::RunningShard;
use crate::auth::{Attempt, Ticket};
use crate::engine::inbox::{Item, VerdictFor};
use crate::runtime::{Driver, SocketId};
use crate::transport::{SocketState, Verifying};

/// Tokens of connections that are being verified.
#[derive(Debug, Default)]
pub(super) struct Verifications {
    /// Which attempt of the connection it is: a late verdict on an earlier one is nobody's.
    open: HashMap<ConnectionId, (u64, Ticket)>,
    /// In the order they began, which is the order of their deadlines: all have the same time.
    deadlines: VecDeque<(u64, ConnectionId, u64)>,
    begun: u64,
}

impl Verifications {
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.deadlines.front().map(|(at, ..)| *at)
    }

    /// Nobody waits for a verdict on this connection any more.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.open.remove(&connection);
    }

    /// Takes the attempt out if it is still the one that is waited for.
    fn take(&mut self, connection: ConnectionId, attempt: u64) -> bool {
        let current = self
            .open
            .get(&connection)
            .is_some_and(|(known, _)| *known == attempt);
        if current {
            self.open.remove(&connection);
        }
        current
    }

    fn pop_overdue(&mut self, now_ms: u64) -> Option<(ConnectionId, u64)> {
        if self.next_deadline()? > now_ms {
            return None;
        }
        self.deadlines
            .pop_front()
            .map(|(_, connection, attempt)| (connection, attempt))
    }
}

impl<D: Driver> RunningShard<D> {
    /// Before the upgrade is answered: who is this? What the client sends meanwhile is kept.
    pub(super) fn verify_request(
        &mut self,
        now: Now,
        socket: SocketId,
        opening: Opening,
        attempt: Attempt,
        response: Vec<u8>,
    ) {
        let Some(gate) = self.parts.routes.gate.clone() else {
            // Only a gate makes attempts.
            return self.lose(now, socket);
        };
        let (inboxes, home) = (self.parts.inboxes.clone(), self.shard.id());
        let ticket = gate.verify(attempt, move |verdict| {
            inboxes.deliver(
                home,
                Item::Verdict(VerdictFor::Socket(socket), Box::new(verdict)),
            );
        });
        let Some(ticket) = ticket else {
            self.turn_away(&opening);
            return self.refuse(now, socket, &gate.refusal(Denied::Unavailable));
        };
        let verifying = Verifying {
            opening,
            response,
            _ticket: ticket,
        };
        self.sockets
            .set(socket, SocketState::Verifying(Box::new(verifying)));
        self.verify_deadlines.push(now.ms + gate.timeout_ms, socket);
    }

    /// The shard asks about a token that came in a message.
    pub(super) fn verify_token(&mut self, now: Now, connection: ConnectionId, attempt: Attempt) {
        let Some(gate) = self.parts.routes.gate.clone() else {
            return;
        };
        self.verifications.begun += 1;
        let number = self.verifications.begun;
        let (inboxes, home) = (self.parts.inboxes.clone(), self.shard.id());
        let ticket = gate.verify(attempt, move |verdict| {
            let verdict_for = VerdictFor::Connection(connection, number);
            inboxes.deliver(home, Item::Verdict(verdict_for, Box::new(verdict)));
        });
        match ticket {
            Some(ticket) => {
                let at = now.ms + gate.timeout_ms;
                self.verifications.open.insert(connection, (number, ticket));
                self.verifications
                    .deadlines
                    .push_back((at, connection, number));
            }
            None => self.tell_verdict(now, connection, Err(Denied::Unavailable)),
        }
    }

    /// A verdict arrives.
    pub(super) fn verdict(&mut self, now: Now, verdict_for: VerdictFor, verdict: Verdict) {
        match verdict_for {
            VerdictFor::Socket(socket) => self.admit_verified(now, socket, verdict),
            VerdictFor::Connection(connection, attempt) => {
                if self.verifications.take(connection, attempt) {
                    self.tell_verdict(now, connection, verdict);
                }
            }
        }
    }

    fn tell_verdict(&mut self, now: Now, connection: ConnectionId, verdict: Verdict) {
        self.shard.handle(
            now,
            Input::Verdict {
                connection,
                verdict,
            },
        );
    }

    fn admit_verified(&mut self, now: Now, socket: SocketId, verdict: Verdict) {
        let waits = matches!(
            self.sockets.get_mut(socket),
            Some(SocketState::Verifying(_))
        );
        let (true, Some(gate)) = (waits, self.parts.routes.gate.clone()) else {
            return;
        };
        // Its TLS session stays with it, whatever becomes of it.
        let before = self.sockets.set(socket, SocketState::Opening);
        let Some(SocketState::Verifying(verifying)) = before else {
            return;
        };
        let Verifying {
            mut opening,
            response,
            _ticket: _,
        } = *verifying;
        match gate.answer(verdict) {
            Ok(standing) => {
                opening.standing = standing;
                self.upgraded(now, socket, opening, response);
            }
            Err(refusal) => {
                self.turn_away(&opening);
                self.refuse(now, socket, &refusal);
            }
        }
    }

    /// No verdict came in time.
    pub(super) fn verdicts_overdue(&mut self, now: Now) {
        while let Some(socket) = self.verify_deadlines.pop_due(now.ms) {
            self.admit_verified(now, socket, Err(Denied::Unavailable));
        }
        while let Some((connection, attempt)) = self.verifications.pop_overdue(now.ms) {
            if self.verifications.take(connection, attempt) {
                self.tell_verdict(now, connection, Err(Denied::Unavailable));
            }
        }
    }

    pub(super) fn refuse(&mut self, now: Now, socket: SocketId, refusal: &Refusal) {
        let mut answer = Vec::with_capacity(256);
        refusal.write(&mut answer);
        self.respond(now, socket, answer);
    }
}
