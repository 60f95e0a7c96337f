//! Carrying out what the shard asks for, and the end of a socket.

use shardwire_shards::vocabulary::{ConnectionId, Effect, Event, Input, Now, SocketToken};
use smallvec::SmallVec;

use super::RunningShard;
use crate::auth::Attempt;
use crate::handlers::Caller;
use crate::listen::LINGER_MS;
use crate::runtime::{Driver, Outgoing, SocketId};
use crate::transport::tls::send_unsent;
use crate::transport::{Flushed, SocketState, Written, note_written};

/// Sockets that are written to in one go: enough that entering the kernel costs each next to nothing, few enough that what the first ones
/// are told does not wait for the last.
const FLUSHES_AT_ONCE: usize = 64;

impl<D: Driver> RunningShard<D> {
    /// Effects until there are none; carrying one out may bring more.
    pub(super) fn carry_out(&mut self, now: Now) {
        loop {
            let effect = match self.shard.poll_effect() {
                Some(Effect::Flush { connection, socket }) => {
                    self.flushes.push((connection, socket));
                    if self.flushes.len() >= FLUSHES_AT_ONCE {
                        self.flush_all(now);
                    }
                    continue;
                }
                None if self.flushes.is_empty() => return,
                effect => effect,
            };
            // Everything else happens behind what was asked to be written before it; but connections that open in one turn
            // are answered in one go.
            if !effect.as_ref().is_some_and(is_of_an_opening) {
                self.flush_all(now);
            }
            let Some(effect) = effect else { continue };
            match effect {
                Effect::Flush { .. } => unreachable!("taken just above"),
                Effect::Opened { connection, socket } => {
                    if let Some(socket) = self.sockets.by_token(socket) {
                        self.sockets
                            .set(socket, SocketState::Connection(connection));
                    }
                }
                Effect::Receive { socket, on } => self.receive(socket, on),
                Effect::Close { socket } => {
                    if let Some(socket) = self.sockets.by_token(socket) {
                        self.linger(now, socket);
                    }
                }
                Effect::Verify {
                    connection,
                    token,
                    address,
                    user,
                } => {
                    let attempt = Attempt::in_message(token, address, user);
                    self.verify_token(now, connection, attempt);
                }
                Effect::HandOff { home, opening } => {
                    if let Some(socket) = self.sockets.by_token(opening.socket) {
                        self.hand_off(socket, home, *opening);
                    } else {
                        self.turn_away(&opening);
                    }
                }
                Effect::Ring(shard) => self.parts.inboxes.ring(shard),
                Effect::Store(request) => self.store(now, *request),
                Effect::Answer { id, answer } => self.questions.answer(id, answer),
                Effect::Call {
                    connection,
                    target,
                    user,
                    identity,
                    address,
                    message,
                } => {
                    let caller = Caller {
                        connection,
                        user,
                        identity,
                        address,
                        close_reason: None,
                    };
                    self.tasks.call(caller, target, message);
                }
                Effect::Event(event) => self.observe(event),
            }
        }
    }

    /// Writes what waits for all who were to be flushed: those for whom one slice waits in one go of the driver, the others one by one.
    fn flush_all(&mut self, now: Now) {
        let mut flushes = std::mem::take(&mut self.flushes);
        let mut outcomes = std::mem::take(&mut self.outcomes);
        let mut one_by_one: SmallVec<[(ConnectionId, SocketId); 8]> = SmallVec::new();
        let mut together: SmallVec<[(ConnectionId, SocketId, usize); FLUSHES_AT_ONCE]> =
            SmallVec::new();
        let mut sends: SmallVec<[Outgoing<'_>; FLUSHES_AT_ONCE]> = SmallVec::new();
        for (connection, socket) in flushes.drain(..) {
            let Some(socket) = self.sockets.by_token(socket) else {
                continue;
            };
            let mut slices = self.shard.pending(connection);
            match (slices.next(), slices.next()) {
                (Some(slice), None) if !slice.is_empty() && !self.sockets.is_secure(socket) => {
                    together.push((connection, socket, slice.len()));
                    sends.push(Outgoing {
                        socket,
                        bytes: slice,
                        last: self.shard.is_last(connection),
                    });
                }
                _ => one_by_one.push((connection, socket)),
            }
        }
        self.driver.send_each(&sends, &mut outcomes);
        drop(sends);
        for ((connection, socket, offered), outcome) in together.into_iter().zip(outcomes.drain(..))
        {
            let written = Written { offered, outcome };
            let (shard, driver) = (&mut self.shard, &mut self.driver);
            if note_written(now, shard, driver, connection, socket, written) == Flushed::Broken {
                self.lose(now, socket);
            }
        }
        for (connection, socket) in one_by_one {
            if self.flush(now, connection, socket) == Flushed::Broken {
                self.lose(now, socket);
            }
        }
        // Losing a socket may have asked for more.
        flushes.append(&mut self.flushes);
        (self.flushes, self.outcomes) = (flushes, outcomes);
    }

    fn receive(&mut self, socket: SocketToken, on: bool) {
        let Some(socket) = self.sockets.by_token(socket) else {
            return;
        };
        if on {
            self.driver.start_receiving(socket);
        } else {
            self.driver.stop_receiving(socket);
        }
    }

    /// Ends our direction and reads on for a while, so that the peer can take what was sent last. A TLS session says `close_notify`
    /// before that, behind what the socket has not taken yet.
    pub(super) fn linger(&mut self, now: Now, socket: SocketId) {
        let says_more = self.sockets.session(socket).is_some_and(|session| {
            session.say_closing();
            !session.unsent().is_empty()
        });
        if says_more {
            self.has_unsent(socket);
        } else {
            self.driver.shutdown_write(socket);
        }
        self.driver.start_receiving(socket);
        self.sockets.set(socket, SocketState::Lingering);
        self.linger_deadlines.push(now.ms + LINGER_MS, socket);
    }

    /// The stream ended. What was asked for before is carried out first: an answer to the peer's last words may still reach it.
    pub(super) fn ended(&mut self, now: Now, socket: SocketId) {
        self.carry_out(now);
        self.lose(now, socket);
    }

    /// The socket is of no use any more, whatever it was.
    pub(super) fn lose(&mut self, now: Now, socket: SocketId) {
        if let Some(session) = self.sockets.session(socket) {
            // A peer that only ended its own direction hears that we end ours; whether it is still there does not matter.
            session.say_closing();
            let _ = send_unsent(&mut self.driver, socket, session);
        }
        match self.sockets.take(socket) {
            Some(SocketState::Connection(connection)) => {
                self.shard.handle(now, Input::Closed { connection })
            }
            Some(SocketState::HandingOff(handing_off)) => self.lost_on_the_way(&handing_off.stage),
            Some(SocketState::Verifying(verifying)) => self.turn_away(&verifying.opening),
            Some(_) => {}
            None => return,
        }
        self.driver.close(socket);
    }

    fn observe(&mut self, event: Event) {
        match event {
            Event::Connected { connection } => {
                tracing::trace!(shard = connection.shard().0, %connection, "connected");
            }
            Event::Disconnected {
                connection,
                cause,
                reason,
                user,
                identity,
                address,
            } => {
                tracing::trace!(shard = connection.shard().0, %connection, ?cause, "disconnected");
                self.verifications.forget(connection);
                let caller = Caller {
                    connection,
                    user,
                    identity,
                    address,
                    close_reason: reason,
                };
                self.tasks.closed(caller, cause);
            }
            Event::Unreached { user, notice } => self.tasks.unreached(&user, *notice),
        }
    }
}

/// What follows when a connection opens, and is not to be seen from outside.
fn is_of_an_opening(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Opened { .. } | Effect::Receive { .. } | Effect::Event(Event::Connected { .. })
    )
}
