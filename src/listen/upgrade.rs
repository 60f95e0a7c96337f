//! Reading one upgrade request, however it is cut into pieces.

use std::net::IpAddr;

use shardwire_protocol::handshake::server::{
    Progress, Refusal, RequestLimits, read_request, write_accept,
};
use shardwire_protocol::websocket::deflate::Agreement;
use shardwire_shards::Shard;
use shardwire_shards::vocabulary::{Compression, Opening, SocketToken, Standing};

use super::routes::Wanted;
use super::{Proxies, Routes};
use crate::auth::{Attempt, Shown};

/// A socket whose request is being read.
#[derive(Debug)]
pub(crate) struct Upgrading {
    /// The peer, or whom its PROXY protocol header names; IPv4-mapped addresses unmapped.
    pub(crate) address: IpAddr,
    /// When patience ends, in milliseconds since start.
    pub(crate) deadline_ms: u64,
    head: Vec<u8>,
    scanned: usize,
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
        /// Who comes, by the address of the peer or of the client a trusted proxy names. The socket has no name in it yet. Memory may be promised for its compression: whoever drops it tells its shard.
        opening: Box<Opening>,
        /// What it shows to be somebody; the opening's standing is only known when that is verified.
        attempt: Option<Attempt>,
        /// The 101.
        response: Vec<u8>,
    },
}

/// Takes one of the extensions a client offers.
pub(crate) trait Negotiate {
    /// The answer to write, and what the connection will be told. `awaited`: the client has still to say who it is.
    fn negotiate(&mut self, offers: &[&str], awaited: bool) -> Option<(Agreement, Compression)>;
}

impl Negotiate for Shard {
    fn negotiate(&mut self, offers: &[&str], awaited: bool) -> Option<(Agreement, Compression)> {
        Shard::negotiate(self, offers.iter().copied(), awaited)
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
            let address = proxies.client_of(&request, peer);
            let arrival = match routes.find(&request, address) {
                Ok(Wanted::Socket {
                    mode,
                    upgrade,
                    shown,
                    hello,
                    protocol,
                }) => {
                    let (standing, attempt) = match shown {
                        Shown::Nothing(standing) => (standing, None),
                        Shown::Attempt(attempt) => (Standing::Awaited, Some(attempt)),
                    };
                    let has_token = attempt.as_ref().is_some_and(|it| it.token().is_some());
                    let awaited = standing == Standing::Awaited && !has_token;
                    let (agreement, compression) =
                        shard.negotiate(&upgrade.extensions, awaited).unzip();
                    let mut response = Vec::with_capacity(256);
                    write_accept(&mut response, upgrade.key, protocol, agreement.as_ref());
                    let opening = Opening {
                        standing,
                        hello,
                        compression,
                        early: buffer[head_len..].to_vec(),
                        ..Opening::new(SocketToken(0), mode, address)
                    };
                    Arrival::Socket {
                        opening: Box::new(opening),
                        attempt,
                        response,
                    }
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
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use shardwire_shards::vocabulary::Mode;

    use super::*;
    use crate::listen::Origins;

    const REQUEST: &[u8] = b"GET /ws?user=ann HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nfirst frames";

    /// A shard that takes no extension.
    struct Nothing;

    impl Negotiate for Nothing {
        fn negotiate(&mut self, _: &[&str], _: bool) -> Option<(Agreement, Compression)> {
            None
        }
    }

    fn routes(echo: bool) -> Routes {
        Routes {
            echo,
            page: true,
            origins: Arc::new(Origins {
                allowed: vec!["https://*.example.org".parse().unwrap()],
                missing: true,
            }),
            protocols: ["stream".to_owned(), "chat".to_owned()].into(),
            gate: None,
        }
    }

    fn upgrading() -> Upgrading {
        Upgrading::new(IpAddr::from([127, 0, 0, 1]), 1000)
    }

    #[test]
    fn any_split_gives_the_same_connection_and_keeps_the_early_bytes() {
        let (limits, routes) = (RequestLimits::default(), routes(true));
        for cut in 1..REQUEST.len() {
            let mut upgrading = upgrading();
            let mut early = Vec::new();
            let mut opened = false;
            for piece in [&REQUEST[..cut], &REQUEST[cut..]] {
                if opened {
                    early.extend_from_slice(piece);
                } else if let Arrival::Socket {
                    opening,
                    attempt,
                    response,
                } =
                    upgrading.received(piece, &limits, &routes, &Proxies::default(), &mut Nothing)
                {
                    assert_eq!(
                        (opening.mode, opening.standing),
                        (Mode::Json, Standing::Unverified(Some("ann".into())))
                    );
                    assert!(attempt.is_none() && !opening.hello);
                    assert!(response.starts_with(b"HTTP/1.1 101 "));
                    early = opening.early;
                    opened = true;
                }
            }
            assert!(opened, "cut at {cut}");
            assert_eq!(early, b"first frames", "cut at {cut}");
        }
    }

    #[test]
    fn contract_m21_a_request_without_upgrade_is_told_so() {
        let (limits, routes) = (RequestLimits::default(), routes(false));
        let proxies = Proxies::default();
        let answer = |request: &[u8]| match upgrading().received(
            request,
            &limits,
            &routes,
            &proxies,
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

    /// The 101, or the status it was refused with.
    fn answer(headers: &str, routes: &Routes) -> String {
        let request =
            String::from_utf8_lossy(REQUEST).replacen("\r\n\r\n", &format!("{headers}\r\n\r\n"), 1);
        let limits = RequestLimits::default();
        let proxies = Proxies::default();
        match upgrading().received(request.as_bytes(), &limits, routes, &proxies, &mut Nothing) {
            Arrival::Socket { response, .. } | Arrival::Answer(response) => {
                String::from_utf8_lossy(&response).into_owned()
            }
            Arrival::Incomplete => panic!("the request is whole"),
        }
    }

    /// Cross-site hijacking: a page that is not on the list cannot connect, whatever it looks like.
    #[test]
    fn attack_cross_site_hijacking() {
        let allowing = routes(true);
        let status = |headers: &str, routes: &Routes| answer(headers, routes)[9..12].to_owned();
        for (expected, headers) in [
            ("101", "\r\nOrigin: https://app.example.org"),
            ("101", "\r\norigin: https://app.example.org:443"),
            ("101", ""),
            ("403", "\r\nOrigin: https://example.org"),
            ("403", "\r\nOrigin: http://app.example.org"),
            ("403", "\r\nOrigin: https://app.example.org.evil.test"),
            ("403", "\r\nOrigin: null"),
            ("403", "\r\nOrigin:"),
            (
                "403",
                "\r\nOrigin: https://app.example.org\r\nOrigin: https://evil.test",
            ),
        ] {
            assert_eq!(status(headers, &allowing), expected, "{headers}");
        }
        let mut strict = routes(true);
        strict.origins = Arc::new(Origins {
            allowed: vec!["https://app.example.org".parse().unwrap()],
            missing: false,
        });
        assert_eq!(status("", &strict), "403");
        assert_eq!(
            status("\r\nOrigin: https://app.example.org", &strict),
            "101"
        );
        let mut open = routes(true);
        open.origins = Arc::new(Origins {
            allowed: vec!["*".parse().unwrap()],
            missing: false,
        });
        assert_eq!(status("", &open), "101");
        assert_eq!(status("\r\nOrigin: nonsense", &open), "101");
    }

    #[test]
    fn contract_m16_the_best_subprotocol_on_both_lists_is_chosen() {
        let chosen = |offer: &str| {
            let answer = answer(offer, &routes(true));
            assert!(answer.starts_with("HTTP/1.1 101 "));
            let line = answer
                .lines()
                .find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
            line.map(str::to_owned)
        };
        let offer = "\r\nSec-WebSocket-Protocol: ";
        assert_eq!(
            chosen(&format!("{offer}chat, stream")).as_deref(),
            Some("stream")
        );
        assert_eq!(
            chosen(&format!("{offer}bearer.x{offer}chat")).as_deref(),
            Some("chat")
        );
        assert_eq!(chosen(&format!("{offer}Chat, other")), None);
        assert_eq!(chosen(""), None);
    }
}
