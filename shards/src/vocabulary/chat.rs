//! What shards say to each other about chat rooms.

use std::sync::Arc;

use bytes::Bytes;
use shardwire_protocol::codes::ErrorCode;

use super::{ChannelName, ConnectionId, UserId};

/// What is said about one connection in one room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChatMessage {
    /// The room's channel.
    pub channel: ChannelName,
    /// Whose deed, or whom to tell.
    pub connection: ConnectionId,
    /// What.
    pub deed: ChatDeed,
}

/// What a connection does in a room, and what the room's home says to that.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChatDeed {
    /// It wants in; to the home. Answered by `Joined` or `Refused`.
    Join {
        /// Comes back with the answer, so that a late one is not taken for a newer one's.
        ask: u32,
        /// Who it is; none: nobody in particular.
        user: Option<UserId>,
        /// Its name for others to read.
        name: Arc<str>,
        /// Whether it wants to know who is in the room.
        listed: bool,
    },
    /// It has left; to the home.
    Leave,
    /// It says something; to the home.
    Say {
        /// A JSON string.
        content: Box<str>,
        /// What makes a repetition known for what it is.
        key: Option<Box<str>>,
        /// The `id` of its message, as JSON.
        reply: Option<Box<str>>,
    },
    /// It types, or has stopped; to the home.
    Typing(bool),
    /// It is in. From the home, in the delivery lane: what follows there was published with it in the room.
    Joined {
        /// As asked.
        ask: u32,
        /// When, in Unix milliseconds.
        unix_ms: u64,
        /// Whether its user is new in the room: then the room is told, and it with the others.
        first: bool,
        /// Who is in the room, as a part of its answer, if it wanted to know.
        members: Option<Bytes>,
        /// What was published before, as the text of one message.
        history: Option<Bytes>,
    },
    /// It is not in, and why. From the home.
    Refused {
        /// As asked.
        ask: u32,
        /// What to tell it.
        code: ErrorCode,
    },
}

impl ChatDeed {
    /// Bytes the message keeps alive outside itself.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        match self {
            Self::Say { content, .. } => content.len(),
            Self::Joined {
                members, history, ..
            } => [members, history]
                .into_iter()
                .flatten()
                .map(Bytes::len)
                .sum(),
            Self::Join { .. } | Self::Leave | Self::Typing(_) | Self::Refused { .. } => 0,
        }
    }
}
