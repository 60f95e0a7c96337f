//! Sockets that speak TLS: between the driver's bytes and everything that reads and writes plaintext.

use std::collections::VecDeque;
use std::sync::Arc;

use rustls::ServerConfig;
use shardwire_protocol::handshake::server::Refusal;
use shardwire_shards::vocabulary::{ConnectionId, Input, Now};

use super::RunningShard;
use crate::runtime::{BufferId, Driver, SocketId};
use crate::transport::tls::{Progress, Sealing, Session, SessionError, flush_sealed, send_unsent};
use crate::transport::{Flushed, SocketState, flush};

/// Greetings answered per turn. Each costs key exchange and signature: about 0.1 ms with ECDSA, 0.4 ms with RSA, and a wave of
/// reconnecting clients brings a hundred of them in one turn. The others wait for the next turns, so that open connections are
/// served in between.
const GREETINGS_PER_TURN: usize = 16;

/// Capacity of the plaintext buffer above which it is given back after a burst.
const PLAINTEXT_KEPT: usize = 64 << 10;

/// TLS as one shard needs it. Without a certificate it is empty, and costs nothing.
#[derive(Default)]
pub(super) struct Secure {
    /// What new sessions are made with; none: connections are plain.
    config: Option<Arc<ServerConfig>>,
    sealing: Sealing,
    /// Plaintext of the bytes at hand, lent for one call.
    plaintext: Vec<u8>,
    /// Sockets whose sessions have something to say, until the end of the turn.
    unsent: Vec<SocketId>,
    /// Sockets whose greeting waits for a later turn.
    waiting: VecDeque<SocketId>,
    greetings_left: usize,
}

impl Secure {
    pub(super) fn new(config: Option<Arc<ServerConfig>>) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// New handshakes use this from now on; sessions that exist stay as they are.
    pub(super) fn replace(&mut self, config: Arc<ServerConfig>) {
        self.config = Some(config);
    }

    /// Whether connections speak TLS.
    pub(super) fn is_on(&self) -> bool {
        self.config.is_some()
    }

    /// Whether there is work that no completion will bring.
    pub(super) fn has_work(&self) -> bool {
        !self.waiting.is_empty()
    }
}

/// Where ciphertext is.
enum Sealed<'a> {
    /// In the driver's buffer.
    Lent(BufferId, usize),
    /// Read before, for another reason.
    Own(&'a mut [u8]),
    /// In the session, which had to wait for its turn.
    Kept,
}

impl<D: Driver> RunningShard<D> {
    /// Gives a socket that will be read from now on its session, where connections speak TLS. False: it could not get one.
    pub(super) fn begin_session(&mut self, socket: SocketId) -> bool {
        let Some(config) = &self.secure.config else {
            return true;
        };
        match Session::new(Arc::clone(config)) {
            Ok(session) => {
                self.sockets.attach(socket, Box::new(session));
                true
            }
            Err(error) => {
                tracing::error!(shard = self.shard.id().0, %error, "no TLS session can be made");
                false
            }
        }
    }

    /// The driver received bytes from a socket.
    pub(super) fn received(&mut self, now: Now, socket: SocketId, buffer: BufferId, len: usize) {
        if self.sockets.session(socket).is_some() {
            return self.received_sealed(now, socket, Sealed::Lent(buffer, len));
        }
        match self.sockets.get_mut(socket) {
            Some(&mut SocketState::Connection(connection)) => {
                let bytes = self.driver.buffer(buffer, len);
                self.shard.handle(now, Input::Bytes { connection, bytes });
            }
            // All is said; what still comes is thrown away.
            Some(SocketState::Lingering | SocketState::Responding(_)) | None => {}
            Some(_) => {
                let mut bytes = std::mem::take(&mut self.secure.plaintext);
                bytes.extend_from_slice(self.driver.buffer(buffer, len));
                self.received_plain(now, socket, &mut bytes);
                self.give_back(bytes);
            }
        }
    }

    /// Bytes that came before it was known whose they are; may be none.
    pub(super) fn received_early(&mut self, now: Now, socket: SocketId, bytes: &mut [u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.sockets.session(socket).is_some() {
            self.received_sealed(now, socket, Sealed::Own(bytes));
        } else {
            self.received_plain(now, socket, bytes);
        }
    }

    fn received_sealed(&mut self, now: Now, socket: SocketId, sealed: Sealed<'_>) {
        if let Some(SocketState::Lingering) = self.sockets.get_mut(socket) {
            return;
        }
        let mut plaintext = std::mem::take(&mut self.secure.plaintext);
        let Some(session) = self.sockets.session(socket) else {
            return;
        };
        let (bytes, is_new) = match sealed {
            Sealed::Lent(buffer, len) => (self.driver.buffer(buffer, len), true),
            Sealed::Own(bytes) => (bytes, true),
            Sealed::Kept => (&mut [][..], false),
        };
        let greets = session.awaits_greeting();
        let outcome = if is_new && session.is_waiting() {
            session.hold(bytes)
        } else if greets && self.secure.greetings_left == 0 {
            session.set_waiting(true);
            self.secure.waiting.push_back(socket);
            session.hold(bytes)
        } else {
            let outcome = session.received(bytes, &mut plaintext);
            self.secure.greetings_left -= usize::from(greets && !session.awaits_greeting());
            if !session.unsent().is_empty() {
                self.secure.unsent.push(socket);
            }
            outcome
        };
        if !plaintext.is_empty() {
            self.received_plain(now, socket, &mut plaintext);
        }
        self.give_back(plaintext);
        match outcome {
            Ok(Progress::Goes) => {}
            Ok(Progress::PeerClosed) => self.ended(now, socket),
            Err(error) => self.session_failed(now, socket, &error),
        }
    }

    fn give_back(&mut self, mut plaintext: Vec<u8>) {
        if plaintext.capacity() <= PLAINTEXT_KEPT {
            plaintext.clear();
            self.secure.plaintext = plaintext;
        }
    }

    /// Answers the greetings that an earlier turn left, as many as this turn may. Called before anything else of the turn.
    pub(super) fn greet_the_waiting(&mut self, now: Now) {
        self.secure.greetings_left = GREETINGS_PER_TURN;
        for _ in 0..GREETINGS_PER_TURN {
            let Some(socket) = self.secure.waiting.pop_front() else {
                return;
            };
            if let Some(session) = self.sockets.session(socket) {
                session.set_waiting(false);
                self.received_sealed(now, socket, Sealed::Kept);
            }
        }
    }

    /// The peer broke TLS, or does not speak it. It is told so, and nothing of it is read any more.
    fn session_failed(&mut self, now: Now, socket: SocketId, error: &SessionError) {
        // A connection that was just opened gets its name first, so that it can be told that it ended.
        self.carry_out(now);
        tracing::debug!(shard = self.shard.id().0, %error, "a TLS session failed");
        match self.sockets.get_mut(socket) {
            Some(SocketState::Lingering) | None => return,
            Some(SocketState::Upgrading(_)) if matches!(error, SessionError::PlainHttp) => {
                self.sockets.detach(socket);
                let mut answer = Vec::with_capacity(256);
                Refusal::bad_request("this port speaks TLS: use wss:// or https://")
                    .write(&mut answer);
                return self.respond(now, socket, answer);
            }
            Some(_) => {}
        }
        match self.sockets.set(socket, SocketState::Lingering) {
            Some(SocketState::Connection(connection)) => {
                self.shard.handle(now, Input::Closed { connection });
            }
            Some(SocketState::HandingOff(handing_off)) => self.lost_on_the_way(&handing_off.stage),
            Some(SocketState::Verifying(verifying)) => self.turn_away(&verifying.opening),
            _ => {}
        }
        self.linger(now, socket);
    }

    /// Writes what waits for a connection, sealed or plain.
    pub(super) fn flush(
        &mut self,
        now: Now,
        connection: ConnectionId,
        socket: SocketId,
    ) -> Flushed {
        let (shard, driver) = (&mut self.shard, &mut self.driver);
        match self.sockets.session(socket) {
            Some(session) => {
                let sealing = &mut self.secure.sealing;
                flush_sealed(now, shard, driver, (connection, socket), session, sealing)
            }
            None => flush(now, shard, driver, connection, socket),
        }
    }

    /// The session has something to say, at the latest at the end of the turn.
    pub(super) fn has_unsent(&mut self, socket: SocketId) {
        self.secure.unsent.push(socket);
    }

    /// Writes what sessions have to say and no flush took along, one write each.
    pub(super) fn send_all_unsent(&mut self, now: Now) {
        // Ending a session may give another one something to say, but no socket ends twice.
        while !self.secure.unsent.is_empty() {
            let mut sockets = std::mem::take(&mut self.secure.unsent);
            for socket in sockets.drain(..) {
                self.send_unsent(now, socket);
            }
            self.carry_out(now);
            if self.secure.unsent.is_empty() {
                self.secure.unsent = sockets;
                return;
            }
        }
    }

    /// Writes what a session has to say. A socket that has said all and lingers gets its end after that.
    pub(super) fn send_unsent(&mut self, now: Now, socket: SocketId) {
        let Some(session) = self.sockets.session(socket) else {
            return;
        };
        match send_unsent(&mut self.driver, socket, session) {
            Flushed::Done => {
                if let Some(SocketState::Lingering) = self.sockets.get_mut(socket) {
                    self.driver.shutdown_write(socket);
                }
            }
            Flushed::Blocked => {}
            Flushed::Broken => self.lose(now, socket),
        }
    }
}
