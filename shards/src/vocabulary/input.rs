//! All that can happen to a shard.

use std::net::IpAddr;

use shardwire_protocol::websocket::deflate::Negotiated;

use super::{Command, ConnectionId, ShardId, SocketToken, UserId};

/// What a connection speaks; chosen by the path of its upgrade request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The JSON protocol (`/ws`).
    Json,
    /// Every message comes back as it is (`/echo`), for conformance and load.
    Echo,
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
#[derive(Clone, Debug)]
pub struct Opening {
    /// The world's name for the socket.
    pub socket: SocketToken,
    /// What the connection speaks.
    pub mode: Mode,
    /// The peer's address, IPv4-mapped addresses already unmapped.
    pub address: IpAddr,
    /// Who it is, if it said so.
    pub user: Option<UserId>,
    /// What [`Shard::negotiate`](crate::Shard::negotiate) has made of its offers; it passes to the connection.
    pub compression: Option<Compression>,
    /// Bytes that came behind the upgrade request: the first frames.
    pub early: Vec<u8>,
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
    /// The socket ended or broke: nothing will be received or sent any more.
    Closed {
        /// Whose socket it was; a stale id is ignored.
        connection: ConnectionId,
    },
    /// Somebody outside asks for something.
    Command(Command),
    /// The mailbox may hold something; take one bounded batch of it.
    Mail,
    /// [`Shard::next_deadline`](crate::Shard::next_deadline) has passed.
    Deadline,
}
