//! Reading one upgrade request, however it is cut into pieces.

use std::net::IpAddr;

use shardwire_protocol::handshake::server::{
    Progress, Refusal, RequestLimits, read_request, write_accept,
};
use shardwire_protocol::websocket::deflate::Agreement;
use shardwire_shards::Shard;
use shardwire_shards::vocabulary::{Compression, Mode, UserId};

use super::routes::Wanted;
use super::{Proxies, Routes};

/// A socket whose request is being read.
#[derive(Debug)]
pub(crate) struct Upgrading {
    /// The peer, IPv4-mapped addresses unmapped.
    pub(crate) address: IpAddr,
    /// When patience ends, in milliseconds since start.
    pub(crate) deadline_ms: u64,
    head: Vec<u8>,
    scanned: usize,
}

/// A client whose upgrade is granted, on its way to being a connection.
#[derive(Debug)]
pub(crate) struct Newcomer {
    /// The client, IPv4-mapped addresses unmapped: the peer, or whom a trusted proxy names.
    pub(crate) address: IpAddr,
    /// What it will speak.
    pub(crate) mode: Mode,
    /// The name the client gave itself.
    pub(crate) user: Option<UserId>,
    /// What was negotiated. Memory may be promised for it: whoever drops it tells its shard.
    pub(crate) compression: Option<Compression>,
    /// What came behind the request: its first frames.
    pub(crate) early: Vec<u8>,
}

/// What the bytes so far amount to.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// The request is not whole yet.
    Incomplete,
    /// A plain answer; nothing follows it.
    Answer(Vec<u8>),
    /// A WebSocket connection: send `response`, the 101, if there is room for one more.
    Socket {
        /// Who comes.
        newcomer: Newcomer,
        /// The 101.
        response: Vec<u8>,
    },
}

/// Takes one of the extensions a client offers.
pub(crate) trait Negotiate {
    /// The answer to write, and what the connection will be told.
    fn negotiate(&mut self, offers: &[&str]) -> Option<(Agreement, Compression)>;
}

impl Negotiate for Shard {
    fn negotiate(&mut self, offers: &[&str]) -> Option<(Agreement, Compression)> {
        Shard::negotiate(self, offers.iter().copied())
    }
}

impl Upgrading {
    pub(crate) fn new(address: IpAddr, deadline_ms: u64) -> Self {
        Self {
            address,
            deadline_ms,
            head: Vec::new(),
            scanned: 0,
        }
    }

    /// Takes in what arrived. A request that comes in one piece, as nearly all do, is read where it lies.
    pub(crate) fn received(
        &mut self,
        bytes: &[u8],
        limits: &RequestLimits,
        routes: &Routes,
        proxies: &Proxies,
        shard: &mut impl Negotiate,
    ) -> Arrival {
        let from = (self.address, proxies);
        if self.head.is_empty() {
            let (arrival, scanned) = read(bytes, 0, limits, routes, from, shard);
            if matches!(arrival, Arrival::Incomplete) {
                self.head.extend_from_slice(bytes);
                self.scanned = scanned;
            }
            return arrival;
        }
        self.head.extend_from_slice(bytes);
        let (arrival, scanned) = read(&self.head, self.scanned, limits, routes, from, shard);
        self.scanned = scanned;
        arrival
    }
}

fn read(
    buffer: &[u8],
    scanned: usize,
    limits: &RequestLimits,
    routes: &Routes,
    (peer, proxies): (IpAddr, &Proxies),
    shard: &mut impl Negotiate,
) -> (Arrival, usize) {
    match read_request(buffer, scanned, limits) {
        Ok(Progress::Incomplete { scanned }) => (Arrival::Incomplete, scanned),
        Ok(Progress::Complete { request, head_len }) => {
            let arrival = match routes.find(&request) {
                Ok(Wanted::Socket {
                    mode,
                    upgrade,
                    user,
                }) => {
                    let (agreement, compression) = shard.negotiate(&upgrade.extensions).unzip();
                    let mut response = Vec::with_capacity(256);
                    write_accept(&mut response, upgrade.key, None, agreement.as_ref());
                    let newcomer = Newcomer {
                        address: proxies.client_of(&request, peer),
                        mode,
                        user,
                        compression,
                        early: buffer[head_len..].to_vec(),
                    };
                    Arrival::Socket { newcomer, response }
                }
                Ok(Wanted::Answer(answer)) => Arrival::Answer(answer),
                Err(refusal) => refused(&refusal),
            };
            (arrival, 0)
        }
        Err(refusal) => (refused(&refusal), 0),
    }
}

fn refused(refusal: &Refusal) -> Arrival {
    let mut answer = Vec::with_capacity(256);
    refusal.write(&mut answer);
    Arrival::Answer(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"GET /ws?user=ann HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nfirst frames";

    /// A shard that takes no extension.
    struct Nothing;

    impl Negotiate for Nothing {
        fn negotiate(&mut self, _: &[&str]) -> Option<(Agreement, Compression)> {
            None
        }
    }

    fn upgrading() -> Upgrading {
        Upgrading::new(IpAddr::from([127, 0, 0, 1]), 1000)
    }

    #[test]
    fn any_split_gives_the_same_connection_and_keeps_the_early_bytes() {
        let (limits, routes) = (
            RequestLimits::default(),
            Routes {
                echo: true,
                page: true,
            },
        );
        for cut in 1..REQUEST.len() {
            let mut upgrading = upgrading();
            let mut early = Vec::new();
            let mut opened = false;
            for piece in [&REQUEST[..cut], &REQUEST[cut..]] {
                if opened {
                    early.extend_from_slice(piece);
                } else if let Arrival::Socket { newcomer, response } =
                    upgrading.received(piece, &limits, &routes, &Proxies::default(), &mut Nothing)
                {
                    assert_eq!(
                        (newcomer.mode, newcomer.user.as_deref()),
                        (Mode::Json, Some("ann"))
                    );
                    assert!(response.starts_with(b"HTTP/1.1 101 "));
                    early = newcomer.early;
                    opened = true;
                }
            }
            assert!(opened, "cut at {cut}");
            assert_eq!(early, b"first frames", "cut at {cut}");
        }
    }

    #[test]
    fn contract_m21_a_request_without_upgrade_is_told_so() {
        let (limits, routes) = (
            RequestLimits::default(),
            Routes {
                echo: false,
                page: true,
            },
        );
        let answer = |request: &[u8]| match upgrading().received(
            request,
            &limits,
            &routes,
            &Proxies::default(),
            &mut Nothing,
        ) {
            Arrival::Answer(answer) => String::from_utf8_lossy(&answer).into_owned(),
            other => panic!("{other:?}"),
        };
        let plain = answer(b"GET /ws HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(
            plain.starts_with("HTTP/1.1 400 ") && plain.ends_with("Expected WebSocket"),
            "{plain}"
        );
        assert!(answer(b"GET /echo HTTP/1.1\r\nHost: h\r\n\r\n").starts_with("HTTP/1.1 404 "));
        assert!(answer(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").starts_with("HTTP/1.1 200 "));
        assert!(answer(b"POST / HTTP/1.1\r\nHost: h\r\n\r\n").starts_with("HTTP/1.1 405 "));
    }
}
