//! Carrying out what the shard asks for, and the end of a socket.

use shardwire_shards::vocabulary::{Effect, Event, Input, Now, SocketToken};

use super::RunningShard;
use crate::auth::Attempt;
use crate::handlers::Caller;
use crate::listen::LINGER_MS;
use crate::runtime::{Driver, SocketId};
use crate::transport::tls::send_unsent;
use crate::transport::{Flushed, SocketState};

impl<D: Driver> RunningShard<D> {
    /// Effects until there are none; carrying one out may bring more.
    pub(super) fn carry_out(&mut self, now: Now) {
        while let Some(effect) = self.shard.poll_effect() {
            match effect {
                Effect::Opened { connection, socket } => {
                    if let Some(socket) = self.sockets.by_token(socket) {
                        self.sockets
                            .set(socket, SocketState::Connection(connection));
                    }
                }
                Effect::Receive { socket, on } => self.receive(socket, on),
                Effect::Flush { connection, socket } => {
                    if let Some(socket) = self.sockets.by_token(socket)
                        && self.flush(now, connection, socket) == Flushed::Broken
                    {
                        self.lose(now, socket);
                    }
                }
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
