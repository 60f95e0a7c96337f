//! All that can happen to a shard.

use std::net::IpAddr;

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::websocket::deflate::Negotiated;

use super::{
    Command, ConnectionId, Identity, LoadFailure, LoadTicket, RestoredLog, ShardId, SocketToken,
    StoreOutcome, StoreTicket, UserId, Verdict,
};

/// What a connection speaks; chosen by the path of its upgrade request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The JSON protocol (`/ws`).
    Json,
    /// Every message comes back as it is (`/echo`), for conformance and load.
    Echo,
}

/// What is known of who is at the other end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Authentication is off: the name a client gave itself, if it did. It is counted and found by that name, and nothing else.
    Unverified(Option<UserId>),
    /// Somebody who must say it in the first frame.
    Awaited,
    /// Nobody in particular, which the configuration allows.
    Anonymous,
    /// This is who.
    Verified(Identity),
}

/// permessage-deflate as one connection has negotiated it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compression {
    /// What holds for its two directions.
    pub negotiated: Negotiated,
    /// The shard that negotiated, and promised memory for what is kept.
    pub door: ShardId,
}

/// A socket whose upgrade was answered and that now belongs to this shard.
///
/// Made by [`Opening::new`], so that who opens a socket only says what is not as usual.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opening {
    /// The world's name for the socket.
    pub socket: SocketToken,
    /// What the connection speaks.
    pub mode: Mode,
    /// The peer's address, IPv4-mapped addresses already unmapped.
    pub address: IpAddr,
    /// Who it is.
    pub standing: Standing,
    /// What [`Shard::negotiate`](crate::Shard::negotiate) has made of its offers; it passes to the connection.
    pub compression: Option<Compression>,
    /// Bytes that came behind the upgrade request: the first frames.
    pub early: Vec<u8>,
    /// Whether it is greeted with `hello`.
    pub hello: bool,
    /// The `id` that `hello` carries back, as JSON: of the `auth` message that another shard has read.
    pub reply: Option<Box<str>>,
    /// What the client is to be told before everything else: the answer to its upgrade, or what another shard could not write any more.
    pub unsent: Vec<u8>,
    /// Counted at its address's home already, under the id it had on another shard.
    pub address_counted: Option<ConnectionId>,
}

impl Opening {
    /// A socket of which no more is known than this.
    #[must_use]
    pub fn new(socket: SocketToken, mode: Mode, address: IpAddr) -> Self {
        Self {
            socket,
            mode,
            address,
            standing: Standing::Unverified(None),
            compression: None,
            early: Vec::new(),
            hello: false,
            reply: None,
            unsent: Vec::new(),
            address_counted: None,
        }
    }
}

/// How an application handler ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Returned {
    /// In order.
    Done,
    /// It gave an error; the client is told this.
    Failed(ErrorCode),
    /// It would not do what the message asked for; the client is told so in these words, under the code of
    /// [`ErrorCode::InvalidMessage`].
    Refused(Box<str>),
    /// It panicked: the client is told, and its connection closed with 1011.
    Panicked,
}

/// All that can happen to a shard.
#[derive(Debug)]
pub enum Input<'a> {
    /// An upgraded socket arrives. Answered by [`Effect::Opened`](super::Effect::Opened) in the same turn. The caller
    /// holds an admission for it ([`Shard::admit`](crate::Shard::admit)); it passes to the connection.
    Opened(Opening),
    /// Bytes arrived. They are lent for this call and are unmasked in place. Taken from `Opened` on, also before
    /// [`Effect::Receive`](super::Effect::Receive) has asked for them.
    Bytes {
        /// The receiver.
        connection: ConnectionId,
        /// As they came from the socket.
        bytes: &'a mut [u8],
    },
    /// The socket ended or broke: nothing will be received or sent any more. What was received and is not handled yet still is, for at
    /// most [`LAST_WORDS_MS`](crate::bounds::LAST_WORDS_MS); then the connection is reported
    /// [`Disconnected`](super::Event::Disconnected).
    Closed {
        /// Whose socket it was; a stale id is ignored.
        connection: ConnectionId,
    },
    /// What came of [`Effect::Verify`](super::Effect::Verify).
    Verdict {
        /// As asked; a stale id is ignored.
        connection: ConnectionId,
        /// Who it is, or why it is nobody.
        verdict: Verdict,
    },
    /// The application handler of a [`Effect::Call`](super::Effect::Call) has ended; the connection's next message may come.
    Returned {
        /// For whom it was called; a stale id is ignored.
        connection: ConnectionId,
        /// How it ended.
        outcome: Returned,
    },
    /// What became of a [`StoreRequest::Append`](super::StoreRequest::Append); in the order of the tickets.
    Stored {
        /// As asked.
        ticket: StoreTicket,
        /// What became of it.
        outcome: StoreOutcome,
    },
    /// What came of a [`StoreRequest::Load`](super::StoreRequest::Load).
    Loaded {
        /// As asked.
        ticket: LoadTicket,
        /// The log, or why it was not read.
        outcome: Result<RestoredLog, LoadFailure>,
    },
    /// Somebody outside asks for something.
    Command(Command),
    /// The mailbox may hold something; take one bounded batch of it.
    Mail,
    /// [`Shard::next_deadline`](crate::Shard::next_deadline) has passed.
    Deadline,
}
