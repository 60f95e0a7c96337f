//! What the client is given and whom it tells.

use std::net::IpAddr;

use super::connection::ConnectionId;
use super::failure::End;
use super::outgoing::Outgoing;
use super::secure::Trust;
use super::target::Target;

/// What a message is.
#[derive(Debug, Clone, Copy)]
pub enum Message<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Pong(&'a [u8]),
}

impl Message<'_> {
    /// The payload, whatever the kind.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) | Message::Pong(bytes) => bytes,
        }
    }
}

/// What a scenario is told, always from within [`Client::poll`](super::Client::poll). `at` is when the bytes were read, `tag` the number given to
/// [`Client::connect`](super::Client::connect). Frames put into `out` leave on the same connection when all that was read is handled.
pub trait Handler {
    /// The upgrade was accepted.
    fn opened(&mut self, at: u64, id: ConnectionId, tag: u32, out: &mut Outgoing<'_>);
    /// A whole message, or a pong. Pings are answered already.
    fn message(&mut self, at: u64, tag: u32, message: Message<'_>, out: &mut Outgoing<'_>);
    /// The connection is no more.
    fn closed(&mut self, at: u64, tag: u32, end: End);
}

/// How connections are made.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    pub target: Target,
    /// Whom to trust; none: no TLS.
    pub trust: Option<Trust>,
    /// Offer permessage-deflate, and insist on it.
    pub compress: bool,
    /// Source addresses, used in turn; none: the kernel chooses.
    pub source_addresses: Vec<IpAddr>,
    /// Further headers of the upgrade request.
    pub headers: Vec<(String, String)>,
    /// Time for connecting and upgrade together, in nanoseconds.
    pub connect_timeout: u64,
    /// Time for the answer to a close frame, in nanoseconds.
    pub close_timeout: u64,
    /// Longest message taken from the server, in bytes.
    pub max_message_size: usize,
    /// What {n} in the target's path stands for, by tag; the tag itself for those beyond.
    pub numbers: Vec<u32>,
}
