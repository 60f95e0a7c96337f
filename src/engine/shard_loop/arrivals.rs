//! Sockets on their way to being connections: accepted, placed, upgraded, handed off.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use shardwire_protocol::handshake::server::Refusal;
use shardwire_shards::vocabulary::{Input, Now, Opening, ShardId, Standing};

use super::{ACCEPT_RETRY_MS, RunningShard};
use crate::auth::Attempt;
use crate::engine::inbox::{HandedOff, Item};
use crate::listen::{Arrival, RESPONDING_MS, UPGRADING_MAX, UPGRADING_PER_ADDRESS_MAX, Upgrading};
use crate::runtime::{Driver, SocketId};
use crate::transport::{Flushed, HandingOff, Responding, SocketState, Stage, token_of, write_some};

/// Seconds a refused client is asked to stay away (`Retry-After`).
const RETRY_AFTER_S: u32 = 5;

/// Bytes a connection in the middle of its hand-off may send before it arrives; beyond that the client does not wait for
/// answers it must expect, and is cut.
const EARLY_BYTES_MAX: usize = 256 << 10;

impl<D: Driver> RunningShard<D> {
    /// The kernel gave this shard a socket. By address it may be at home elsewhere: where the kernel does not steer (or its
    /// group of listeners was in flux), it is sent on before a byte is read.
    pub(super) fn accepted(&mut self, now: Now, socket: OwnedFd) {
        if self.draining.is_some() {
            return;
        }
        let Some(id) = self.adopt(socket) else { return };
        let Ok(peer) = self.driver.peer_address(id) else {
            // It is gone already.
            self.driver.close(id);
            return;
        };
        let address = peer.ip().to_canonical();
        let deadline_ms = now.ms + self.parts.connection_timeout_ms;
        if self.parts.proxies.protocol.is_some() {
            return self.begin_introduction(now, id, address, deadline_ms);
        }
        let home = self.home_at_accept(address);
        if home == self.shard.id() {
            self.begin_upgrade(now, id, address, deadline_ms);
        } else if let Some(socket) = self.driver.release(id) {
            let stage = Stage::Accepted {
                address,
                deadline_ms,
                behind: Vec::new(),
            };
            self.send_home(
                home,
                HandedOff {
                    socket,
                    session: None,
                    stage,
                },
            );
        }
    }

    /// Descriptors ran out: wait for some to come back instead of trying in a circle. Logged once per bout.
    pub(super) fn accept_failed(&mut self, now: Now, error: &io::Error) {
        self.accept_failures += 1;
        if self.accept_failures.is_power_of_two() {
            let (shard, failures) = (self.shard.id().0, self.accept_failures);
            tracing::warn!(shard, failures, %error, "cannot accept; raise the open-file limit or lower max_connections");
        }
        self.accept_again_ms = Some(now.ms + ACCEPT_RETRY_MS);
    }

    fn adopt(&mut self, socket: OwnedFd) -> Option<SocketId> {
        match self.driver.adopt(socket) {
            Ok(id) => Some(id),
            Err(error) => {
                tracing::warn!(shard = self.shard.id().0, %error, "a socket had to be dropped");
                None
            }
        }
    }

    pub(super) fn begin_upgrade(
        &mut self,
        now: Now,
        socket: SocketId,
        address: IpAddr,
        deadline_ms: u64,
    ) {
        if !self.has_room_to_upgrade(address) {
            if self.secure.is_on() {
                // An answer in plain text would be noise to the client, and a handshake is what there is no room for.
                return self.driver.close(socket);
            }
            return self.refuse(now, socket, &no_room());
        }
        self.sockets.set(
            socket,
            SocketState::Upgrading(Box::new(Upgrading::new(address, deadline_ms))),
        );
        if !self.begin_session(socket) {
            return self.lose(now, socket);
        }
        self.upgrade_deadlines.push(deadline_ms, socket);
        self.driver.start_receiving(socket);
    }

    fn has_room_to_upgrade(&self, address: IpAddr) -> bool {
        self.sockets.upgrading() < UPGRADING_MAX
            && (self.sockets.upgrading_from(address) < UPGRADING_PER_ADDRESS_MAX
                || self.parts.proxies.trusted.contains(address))
    }

    /// Bytes from a socket without TLS, or plaintext from its session, whatever the socket is at the moment.
    pub(super) fn received_plain(&mut self, now: Now, socket: SocketId, bytes: &mut [u8]) {
        match self.sockets.get_mut(socket) {
            Some(SocketState::Introducing(_)) => {
                if let Some(accepted) = self.parts.proxies.protocol {
                    self.received_introduction(now, socket, bytes, accepted);
                }
            }
            Some(SocketState::Upgrading(upgrading)) => {
                let (limits, parts) = (&self.request_limits, &self.parts);
                let (routes, proxies) = (&parts.routes, &parts.proxies);
                match upgrading.received(bytes, limits, routes, proxies, &mut self.shard) {
                    Arrival::Incomplete => {}
                    Arrival::Answer(answer) => self.respond(now, socket, answer),
                    Arrival::Socket {
                        opening,
                        attempt,
                        response,
                    } => self.granted(now, socket, *opening, attempt, response),
                }
            }
            Some(SocketState::Verifying(verifying)) => {
                let early = &mut verifying.opening.early;
                early.extend_from_slice(bytes);
                if early.len() > EARLY_BYTES_MAX {
                    self.lose(now, socket);
                }
            }
            Some(SocketState::HandingOff(handing_off)) => {
                let early = handing_off.stage.early();
                early.extend_from_slice(bytes);
                if early.len() > EARLY_BYTES_MAX {
                    self.lose(now, socket);
                }
            }
            Some(SocketState::Opening) => {
                // The shard names a socket in the turn it gets it; that has to happen before more is read.
                self.carry_out(now);
                if let Some(&mut SocketState::Connection(connection)) = self.sockets.get_mut(socket)
                {
                    self.shard.handle(now, Input::Bytes { connection, bytes });
                }
            }
            Some(&mut SocketState::Connection(connection)) => {
                self.shard.handle(now, Input::Bytes { connection, bytes });
            }
            // Lingering, or waiting for an answer to be written: nothing more is listened to.
            _ => {}
        }
    }

    /// The request is good. Is there room, and who is it?
    fn granted(
        &mut self,
        now: Now,
        socket: SocketId,
        opening: Opening,
        attempt: Option<Attempt>,
        response: Vec<u8>,
    ) {
        let refusal = match self.shard.admit_another(now) {
            Ok(()) if self.shard.admit() => None,
            Ok(()) => Some(no_room()),
            Err(wait_ms) => {
                let seconds = u32::try_from(wait_ms.div_ceil(1000)).unwrap_or(u32::MAX);
                Some(Refusal::unavailable(
                    "too many new connections",
                    seconds.max(1),
                ))
            }
        };
        if let Some(refusal) = refusal {
            if let Some(compression) = opening.compression {
                self.shard.revoke_compression(compression);
            }
            return self.refuse(now, socket, &refusal);
        }
        match attempt {
            Some(attempt) => self.verify_request(now, socket, opening, attempt, response),
            None => self.upgraded(now, socket, opening, response),
        }
    }

    /// It may come in: is it at home here?
    pub(super) fn upgraded(
        &mut self,
        now: Now,
        socket: SocketId,
        mut opening: Opening,
        response: Vec<u8>,
    ) {
        let user = match &opening.standing {
            Standing::Unverified(user) => user.as_deref(),
            Standing::Verified(identity) => Some(&**identity.user()),
            Standing::Anonymous | Standing::Awaited => None,
        };
        let home = self
            .parts
            .placement
            .home(self.shard.id(), opening.address, user);
        if home == self.shard.id() && !self.sockets.is_secure(socket) {
            // The 101 leaves at the end of the turn with what is said first, and with those of others.
            opening.unsent = response;
        } else if !self.accept_upgrade(socket, response) {
            self.turn_away(&opening);
            return self.lose(now, socket);
        }
        if home == self.shard.id() {
            self.sockets.set(socket, SocketState::Opening);
            self.open(now, socket, opening);
        } else {
            self.hand_off(socket, home, opening);
        }
    }

    /// Sends the 101 by itself. A new socket takes these few hundred bytes at once; one that does not is broken. Sealed, they leave with whatever
    /// else the session has to say at the end of the turn.
    fn accept_upgrade(&mut self, socket: SocketId, response: Vec<u8>) -> bool {
        if let Some(session) = self.sockets.session(socket) {
            let said = session.say(&response).is_ok();
            self.has_unsent(socket);
            return said;
        }
        let mut responding = Responding {
            bytes: response,
            written: 0,
        };
        write_some(&mut self.driver, socket, &mut responding) == Flushed::Done
    }

    /// Sends an upgraded socket home.
    pub(super) fn hand_off(&mut self, socket: SocketId, home: ShardId, opening: Opening) {
        let stage = Stage::Upgraded(Box::new(opening));
        self.begin_hand_off(socket, HandingOff { home, stage });
    }

    /// The socket goes home as soon as the driver has stopped receiving from it.
    pub(super) fn begin_hand_off(&mut self, socket: SocketId, handing_off: HandingOff) {
        self.sockets
            .set(socket, SocketState::HandingOff(Box::new(handing_off)));
        self.driver.stop_receiving(socket);
    }

    /// A socket is lost on its way home: what it holds is given back.
    pub(super) fn lost_on_the_way(&mut self, stage: &Stage) {
        if let Stage::Upgraded(opening) = stage {
            self.turn_away(opening);
        }
    }

    /// A socket that was let in does not become a connection: what it holds is given back.
    pub(super) fn turn_away(&mut self, opening: &Opening) {
        self.shard.abandon(opening);
    }

    fn open(&mut self, now: Now, socket: SocketId, mut opening: Opening) {
        opening.socket = token_of(socket);
        self.shard.handle(now, Input::Opened(opening));
    }

    /// Whether a socket is on its way to another shard.
    pub(super) fn is_handed_off(&mut self, socket: SocketId) -> bool {
        let state = self.sockets.get_mut(socket);
        matches!(state, Some(SocketState::HandingOff(_)))
    }

    /// The driver has stopped receiving: every byte is either in `early` or still in the socket, so it can go home.
    pub(super) fn stopped(&mut self, socket: SocketId) {
        if !self.is_handed_off(socket) {
            return;
        }
        let session = self.sockets.detach(socket);
        let Some(SocketState::HandingOff(handing_off)) = self.sockets.take(socket) else {
            return;
        };
        let HandingOff { home, stage } = *handing_off;
        match self.driver.release(socket) {
            Some(socket) => {
                self.send_home(
                    home,
                    HandedOff {
                        socket,
                        session,
                        stage,
                    },
                );
            }
            None => {
                self.lost_on_the_way(&stage);
                self.driver.close(socket);
            }
        }
    }

    /// Gives a socket to its home. A home that has no room loses it: the client sees its connection end and comes back.
    fn send_home(&mut self, home: ShardId, handed_off: HandedOff) {
        if let Err(Item::Socket(refused)) = self.parts.inboxes.send(home, Item::Socket(handed_off))
        {
            self.lost_on_the_way(&refused.stage);
            tracing::debug!(shard = home.0, "a hand-off found its home overloaded");
        }
    }

    /// Another shard accepted this one's socket.
    pub(super) fn handed_off(&mut self, now: Now, handed_off: HandedOff) {
        let HandedOff {
            socket,
            session,
            stage,
        } = handed_off;
        let Some(socket) = self.adopt(socket) else {
            self.lost_on_the_way(&stage);
            return;
        };
        match stage {
            Stage::Accepted { .. } if self.draining.is_some() => self.driver.close(socket),
            Stage::Accepted {
                address,
                deadline_ms,
                mut behind,
            } => {
                self.begin_upgrade(now, socket, address, deadline_ms);
                self.received_early(now, socket, &mut behind);
            }
            Stage::Upgraded(opening) => {
                self.sockets.set(socket, SocketState::Opening);
                if let Some(session) = session {
                    self.sockets.attach(socket, session);
                    self.has_unsent(socket);
                }
                self.open(now, socket, *opening);
            }
        }
    }

    /// Half a request, then silence: the deadline counts from accept, whatever trickles in.
    pub(super) fn upgrade_overdue(&mut self, now: Now, socket: SocketId) {
        if let Some(SocketState::Upgrading(upgrading)) = self.sockets.get_mut(socket)
            && upgrading.deadline_ms <= now.ms
        {
            self.refuse(now, socket, &Refusal::request_timeout());
        }
    }

    /// A plain answer, then the end.
    pub(super) fn respond(&mut self, now: Now, socket: SocketId, answer: Vec<u8>) {
        if let Some(session) = self.sockets.session(socket) {
            // Who is still shaking hands cannot be answered; the end says enough.
            let _ = session.say(&answer);
            return self.linger(now, socket);
        }
        let mut responding = Responding {
            bytes: answer,
            written: 0,
        };
        match write_some(&mut self.driver, socket, &mut responding) {
            Flushed::Done => self.linger(now, socket),
            Flushed::Blocked => {
                self.sockets
                    .set(socket, SocketState::Responding(Box::new(responding)));
                self.linger_deadlines.push(now.ms + RESPONDING_MS, socket);
            }
            Flushed::Broken => {
                self.sockets.set(socket, SocketState::Lingering);
                self.lose(now, socket);
            }
        }
    }
}

fn no_room() -> Refusal {
    Refusal::unavailable("no room for another connection", RETRY_AFTER_S)
}
