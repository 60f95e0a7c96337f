//! All that can be asked of a shard from outside.

use std::sync::Arc;

use bytes::Bytes;

use shardwire_protocol::codes::ErrorCode;

use super::{
    ChannelName, ConnectionId, DocumentOutcome, DocumentQuestion, EditOutcome, NotificationAnswer,
    NotificationCommand, Position, PresenceAnswer, PresenceCommand, PublishOptions, UserId,
};
use crate::settings::ShardSettings;

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
    /// Verified connections whose identity has this permission, word for word.
    Permission(Box<str>),
    /// The subscribers of this channel, without its order: what is sent takes no place among the channel's publications.
    Channel(ChannelName),
    /// Connections that carry this tag.
    Tag(Box<str>),
    /// Those that each of these means.
    AllOf(Vec<Audience>),
    /// Those that any of these means.
    AnyOf(Vec<Audience>),
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
        /// How to treat it, if not like most.
        options: Option<Box<PublishOptions>>,
        /// Who wants to know what becomes of it, by [`Answer::Published`]. What a shard that is not the home takes, the home may
        /// still refuse.
        answer: Option<AnswerId>,
    },
    /// Send one text message to connections of this shard only.
    Broadcast {
        /// A complete server text frame, shared by all receivers.
        frame: Bytes,
        /// Which connections.
        audience: Audience,
    },
    /// Send one text message to all connections of a user, wherever they are; given to the user's home shard. Answered by
    /// [`Answer::Count`]: how many it was passed on to.
    SendToUser {
        /// Whom to.
        user: UserId,
        /// A complete server text frame, shared by all receivers.
        frame: Bytes,
        /// Connections that shall not get it.
        except: Vec<ConnectionId>,
        /// Who wants to know.
        answer: Option<AnswerId>,
    },
    /// About a user's inbox; given to the user's home shard.
    Notification(NotificationCommand),
    /// Close all connections of a user, wherever they are; given to the user's home shard. Answered by [`Answer::Count`].
    CloseUser {
        /// Whose.
        user: UserId,
        /// Close code as in `docs/reference/codes.md`.
        code: u16,
        /// At most 123 bytes; longer is cut.
        reason: String,
        /// Connections that stay.
        except: Vec<ConnectionId>,
        /// Who wants to know.
        answer: Option<AnswerId>,
    },
    /// List a user's connections on the whole node; given to the user's home shard. Answered by [`Answer::Connections`].
    ConnectionsOfUser {
        /// Whose.
        user: UserId,
        /// Comes back with the answer.
        answer: AnswerId,
    },
    /// Send one text message to a connection of this shard. Answered by [`Answer::Count`]: 1, or 0 if there is none such.
    SendText {
        /// To whom; a stale id is ignored.
        connection: ConnectionId,
        /// The message as it is.
        text: Box<str>,
        /// Who wants to know.
        answer: Option<AnswerId>,
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
    /// Something about a document; given to its home.
    Document(Box<DocumentQuestion>),
    /// Put a tag on a connection of this shard, or take it off.
    Tag {
        /// Whom; a stale id is ignored.
        connection: ConnectionId,
        /// The tag; what cannot be one ([`is_valid_tag`](crate::is_valid_tag)) is ignored.
        tag: Box<str>,
        /// On, or off.
        on: bool,
    },
    /// Handle a message as if the application had no handlers: middleware let it pass.
    RouteBuiltIn {
        /// Who sent it.
        connection: ConnectionId,
        /// The whole message.
        message: Box<str>,
    },
    /// Close one connection of this shard, with the closing handshake. Answered by [`Answer::Count`]: 1, or 0 if there is
    /// none such.
    CloseConnection {
        /// Which; a stale id is ignored.
        connection: ConnectionId,
        /// Close code as in `docs/reference/codes.md`.
        code: u16,
        /// At most 123 bytes; longer is cut.
        reason: String,
        /// Who wants to know.
        answer: Option<AnswerId>,
    },
    /// Something about who is there.
    Presence(PresenceCommand),
    /// Close every connection of this shard, with the closing handshake.
    CloseAll {
        /// Close code as in `docs/reference/codes.md`.
        code: u16,
        /// At most 123 bytes; longer is cut.
        reason: String,
    },
    /// Empty this shard: tell every client to come back, and close them one after the other.
    Drain {
        /// Milliseconds over which the closes are spread, evenly; 0: all at once.
        window_ms: u64,
    },
    /// From now on these settings hold. What was decided under the old ones stays decided.
    Settings(Arc<ShardSettings>),
}

/// What came of a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A user's connections, in no particular order.
    Connections(Vec<ConnectionId>),
    /// How many connections were reached.
    Count(usize),
    /// What became of a publication.
    Published(PublishOutcome),
    /// What came of a question about an inbox.
    Notification(NotificationAnswer),
    /// A document's text.
    Document(DocumentOutcome),
    /// What became of an edit.
    Edited(EditOutcome),
    /// What came of a question about presence.
    Presence(PresenceAnswer),
}

/// What became of a publication: where it is kept, if the channel has history; else that it went its way to those who listened.
pub type PublishOutcome = Result<Option<Position>, ErrorCode>;
