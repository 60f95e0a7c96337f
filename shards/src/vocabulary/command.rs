//! All that can be asked of a shard from outside.

use bytes::Bytes;

use super::{ChannelName, ConnectionId, UserId};

/// Ties an [`Answer`] to the question; chosen by whoever asks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AnswerId(pub u64);

/// Whom a broadcast to connections is meant for (contract M24).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Audience {
    /// Every connection that speaks the JSON protocol.
    Everyone,
    /// The connections of these users.
    Users(Vec<UserId>),
    /// Everyone but these connections (contract D10).
    Except(Vec<ConnectionId>),
}

/// All that can be asked of a shard from outside: by an embedding service, an application handler or the HTTP surface.
/// A client's own message becomes the same calls inside the shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Publish into a channel. May be given to any shard; the channel's home is the cheapest.
    Publish {
        /// Where to.
        channel: ChannelName,
        /// The message: one valid JSON value.
        message: Bytes,
        /// Connections that shall not get it.
        exclude: Vec<ConnectionId>,
    },
    /// Send one text message to connections of this shard only.
    Broadcast {
        /// A complete server text frame, shared by all receivers.
        frame: Bytes,
        /// Which connections.
        audience: Audience,
    },
    /// List a user's connections on the whole node; given to the user's home shard. Answered by [`Answer::Connections`].
    ConnectionsOfUser {
        /// Whose.
        user: UserId,
        /// Comes back with the answer.
        answer: AnswerId,
    },
    /// Send one text message to a connection of this shard.
    SendText {
        /// To whom; a stale id is ignored.
        connection: ConnectionId,
        /// The message as it is.
        text: Box<str>,
    },
    /// Subscribe a connection of this shard to a channel; it is told `subscribed`, as if it had asked itself.
    Subscribe {
        /// Whom.
        connection: ConnectionId,
        /// To what.
        channel: ChannelName,
    },
    /// End a subscription of a connection of this shard; it is told `unsubscribed`.
    Unsubscribe {
        /// Whose.
        connection: ConnectionId,
        /// To what.
        channel: ChannelName,
    },
    /// Handle a message as if the application had no handlers: middleware let it pass.
    RouteBuiltIn {
        /// Who sent it.
        connection: ConnectionId,
        /// The whole message.
        message: Box<str>,
    },
    /// Close one connection of this shard, with the closing handshake.
    CloseConnection {
        /// Which; a stale id is ignored.
        connection: ConnectionId,
        /// Close code as in `docs/reference/codes.md`.
        code: u16,
        /// At most 123 bytes; longer is cut.
        reason: String,
    },
    /// Close every connection of this shard, with the closing handshake.
    CloseAll {
        /// Close code as in `docs/reference/codes.md`.
        code: u16,
        /// At most 123 bytes; longer is cut.
        reason: String,
    },
}

/// What came of a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A user's connections, in no particular order.
    Connections(Vec<ConnectionId>),
}
