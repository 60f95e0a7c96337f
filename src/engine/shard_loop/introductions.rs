//! Connections that proxies make on behalf of clients: the PROXY protocol header comes first, and only then is known who comes.

use std::net::IpAddr;

use shardwire_protocol::proxy::Accepted;
use shardwire_shards::placement::Rule;
use shardwire_shards::vocabulary::{Now, ShardId};

use super::RunningShard;
use crate::listen::{Introducing, Introduction, UPGRADING_MAX};
use crate::runtime::{Driver, SocketId};
use crate::transport::{HandingOff, SocketState, Stage};

/// Time for the header (contract D17): a load balancer has it ready when it connects.
const HEADER_PATIENCE_MS: u64 = 1000;

impl<D: Driver> RunningShard<D> {
    /// A connection on a listener where the PROXY protocol is required.
    pub(super) fn begin_introduction(
        &mut self,
        now: Now,
        socket: SocketId,
        peer: IpAddr,
        deadline_ms: u64,
    ) {
        if !self.parts.proxies.trusted.contains(peer) {
            self.refuse_introduction(peer, "it is not in listen.proxy.trusted");
            return self.driver.close(socket);
        }
        if self.sockets.upgrading() >= UPGRADING_MAX {
            // Whom to answer, and in which language, is not known yet.
            return self.driver.close(socket);
        }
        let header_deadline_ms = deadline_ms.min(now.ms + HEADER_PATIENCE_MS);
        let introducing = Introducing::new(peer, header_deadline_ms, deadline_ms);
        self.sockets
            .set(socket, SocketState::Introducing(Box::new(introducing)));
        self.introduction_deadlines.push(header_deadline_ms, socket);
        self.driver.start_receiving(socket);
    }

    /// The header, or a part of it, arrived.
    pub(super) fn received_introduction(
        &mut self,
        now: Now,
        socket: SocketId,
        bytes: &[u8],
        accepted: Accepted,
    ) {
        let Some(SocketState::Introducing(introducing)) = self.sockets.get_mut(socket) else {
            return;
        };
        let (peer, deadline_ms) = (introducing.peer, introducing.deadline_ms);
        match introducing.received(bytes, accepted) {
            Introduction::Incomplete => {}
            Introduction::Refused(error) => {
                self.refuse_introduction(peer, &error.to_string());
                self.linger(now, socket);
            }
            Introduction::Known {
                address,
                mut behind,
            } => {
                let home = self.home_at_accept(address);
                if home == self.shard.id() {
                    self.begin_upgrade(now, socket, address, deadline_ms);
                    self.received_early(now, socket, &mut behind);
                } else {
                    let stage = Stage::Accepted {
                        address,
                        deadline_ms,
                        behind,
                    };
                    self.begin_hand_off(socket, HandingOff { home, stage });
                }
            }
        }
    }

    /// No header in time.
    pub(super) fn introduction_overdue(&mut self, now: Now, socket: SocketId) {
        if let Some(SocketState::Introducing(introducing)) = self.sockets.get_mut(socket)
            && introducing.header_deadline_ms <= now.ms
        {
            let peer = introducing.peer;
            self.refuse_introduction(peer, "no PROXY protocol header in time");
            self.lose(now, socket);
        }
    }

    /// Where a socket is at home as far as its address tells, before anything is read from it. Somebody who may speak for others is at
    /// home nowhere yet.
    pub(super) fn home_at_accept(&self, address: IpAddr) -> ShardId {
        match self.parts.placement.rule() {
            Rule::IpHash if !self.parts.proxies.may_speak_for_others(address) => {
                self.parts.placement.home_of_address(address)
            }
            _ => self.shard.id(),
        }
    }

    /// Logged once per bout: a load balancer that is configured otherwise than the engine comes again and again.
    fn refuse_introduction(&mut self, peer: IpAddr, reason: &str) {
        self.introductions_refused += 1;
        if self.introductions_refused.is_power_of_two() {
            let (shard, refused) = (self.shard.id().0, self.introductions_refused);
            tracing::warn!(shard, refused, %peer, reason, "dropped a connection: listen.proxy.protocol is required");
        }
    }
}
