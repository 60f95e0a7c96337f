//! All that a shard asks of the world.

use std::net::IpAddr;

use super::{
    Answer, AnswerId, CallTarget, ConnectionId, Identity, Notice, Opening, ShardId, SocketToken,
    StoreRequest, Token, UserId,
};

/// All that a shard asks of the world. The world carries effects out in order, after each turn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// The socket is now this connection; its bytes are to be handed in under this id once `Receive` says so.
    Opened {
        /// The new id.
        connection: ConnectionId,
        /// The world's socket.
        socket: SocketToken,
    },
    /// Begin (or stop) reading from the socket. Bytes that were already on their way when reading stops may still be handed in.
    Receive {
        /// The world's socket.
        socket: SocketToken,
        /// Read, or do not.
        on: bool,
    },
    /// The outbox has something to write: gather [`Shard::pending`](crate::Shard::pending), write once, report by
    /// [`Shard::sent`](crate::Shard::sent). At most one per connection is under way.
    Flush {
        /// Whose outbox.
        connection: ConnectionId,
        /// The world's socket.
        socket: SocketToken,
    },
    /// Close the socket: all that could be sent was sent. The id is dead already; what still arrives is to be thrown away.
    Close {
        /// The world's socket.
        socket: SocketToken,
    },
    /// Find out who shows this token, and answer with [`Input::Verdict`](super::Input::Verdict), within the time the
    /// configuration gives. At most one per connection is under way.
    Verify {
        /// Who shows it.
        connection: ConnectionId,
        /// What it shows.
        token: Token,
        /// Where it is.
        address: IpAddr,
        /// Who it is already; none: this is its first token.
        user: Option<UserId>,
    },
    /// The connection is at home on another shard: stop reading, then hand in `opening` there with the socket's name on that
    /// shard, and every byte read until then behind its `early` ones. The id is dead already. A socket that does not arrive is
    /// reported by [`Shard::abandon`](crate::Shard::abandon).
    HandOff {
        /// Where to.
        home: ShardId,
        /// What goes with it.
        opening: Box<Opening>,
    },
    /// Wake that shard: it sleeps and has mail.
    Ring(ShardId),
    /// Run an application handler. No other call for this connection follows before
    /// [`Input::Returned`](super::Input::Returned).
    Call {
        /// For whom.
        connection: ConnectionId,
        /// Which handler.
        target: CallTarget,
        /// Who the connection is, if it said so.
        user: Option<UserId>,
        /// Who it is, if somebody verified it.
        identity: Option<Identity>,
        /// The peer's address.
        address: IpAddr,
        /// The whole message; empty for `Connect`.
        message: Box<str>,
    },
    /// Something for the store that keeps logs across restarts; only while some channel's rule asks for that. To be handed on in
    /// order.
    Store(Box<StoreRequest>),
    /// What came of a [`Command`](super::Command) that asked something.
    Answer {
        /// As given with the question.
        id: AnswerId,
        /// What came of it.
        answer: Answer,
    },
    /// Something an embedding service may observe.
    Event(Event),
}

/// All that an embedding service may observe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A connection was admitted and is open.
    Connected {
        /// Who.
        connection: ConnectionId,
    },
    /// A connection is gone. Exactly one for every socket that was handed in by `Opened`, also when it was refused; none
    /// for one that left by [`Effect::HandOff`].
    Disconnected {
        /// Who.
        connection: ConnectionId,
        /// Why.
        cause: CloseCause,
        /// In which words, if its peer closed it with any (contract M29); at most 123 bytes.
        reason: Option<Box<str>>,
        /// Who it was, if it said so.
        user: Option<UserId>,
        /// Who it was, if somebody verified it.
        identity: Option<Identity>,
        /// The peer's address.
        address: IpAddr,
    },
    /// A notification reached no connection of its user; it waits in the inbox. Once for each.
    Unreached {
        /// Whose inbox.
        user: UserId,
        /// What waits.
        notice: Box<Notice>,
    },
}

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseCause {
    /// The peer sent a close frame with this code (1005: none given).
    Peer(u16),
    /// We sent a close frame with this code.
    Us(u16),
    /// The socket ended without a close frame.
    Lost,
}
