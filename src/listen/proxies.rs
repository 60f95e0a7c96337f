//! Proxies that connect on behalf of clients: who is believed, and collecting the header that comes before everything else.

use std::net::IpAddr;

use shardwire_protocol::handshake::server::Request;
use shardwire_protocol::proxy::forwarded::{Field, client_address};
use shardwire_protocol::proxy::{Accepted, HeaderError, Networks, Progress, read_header};

/// What is believed of whom; all of it comes from the configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    /// The header every connection must begin with.
    pub(crate) protocol: Option<Accepted>,
    /// The request header that trusted proxies write.
    pub(crate) header: Option<Field>,
    /// Who they are.
    pub(crate) trusted: Networks,
}

impl Proxies {
    /// Whether proxies may connect on behalf of others, so that the kernel cannot tell by the address where a client is at home.
    pub(crate) fn in_use(&self) -> bool {
        self.protocol.is_some() || self.header.is_some()
    }

    /// Whether the request may still name another client than this address.
    pub(crate) fn may_speak_for_others(&self, address: IpAddr) -> bool {
        self.header.is_some() && self.trusted.contains(address)
    }

    /// The client a request comes from, when `peer` sent it.
    pub(super) fn client_of(&self, request: &Request<'_>, peer: IpAddr) -> IpAddr {
        match self.header {
            Some(field) => {
                // Few: a proxy writes one line, and whatever came before it counts only if that proxy says so.
                let lines: Vec<&str> = request.headers(field.name()).collect();
                client_address(field, lines.into_iter(), peer, &self.trusted)
            }
            None => peer,
        }
    }
}

/// A socket whose PROXY protocol header is being read.
#[derive(Debug)]
pub(crate) struct Introducing {
    /// The proxy.
    pub(crate) peer: IpAddr,
    /// When the patience for the header ends, in milliseconds since start.
    pub(crate) header_deadline_ms: u64,
    /// When the patience for the whole upgrade ends.
    pub(crate) deadline_ms: u64,
    bytes: Vec<u8>,
}

/// What the bytes so far amount to.
#[derive(Debug)]
pub(crate) enum Introduction {
    /// The header is not whole yet.
    Incomplete,
    /// The client's address, and what it sent behind the header.
    Known {
        /// The proxy's own address when it speaks for itself.
        address: IpAddr,
        /// TLS, or the request.
        behind: Vec<u8>,
    },
    /// There is no header that can be believed.
    Refused(HeaderError),
}

impl Introducing {
    pub(crate) fn new(peer: IpAddr, header_deadline_ms: u64, deadline_ms: u64) -> Self {
        Self {
            peer,
            header_deadline_ms,
            deadline_ms,
            bytes: Vec::new(),
        }
    }

    /// Takes in what arrived.
    pub(crate) fn received(&mut self, bytes: &[u8], accepted: Accepted) -> Introduction {
        self.bytes.extend_from_slice(bytes);
        match read_header(accepted, &self.bytes) {
            Ok(Progress::Incomplete) => Introduction::Incomplete,
            Ok(Progress::Complete { header_len, source }) => {
                let mut behind = std::mem::take(&mut self.bytes);
                behind.drain(..header_len);
                Introduction::Known {
                    address: source.map_or(self.peer, |source| source.ip().to_canonical()),
                    behind,
                }
            }
            Err(error) => Introduction::Refused(error),
        }
    }
}
