//! What is known of a user's presence, and what shards say to each other about it.

use bytes::Bytes;
use smallvec::SmallVec;

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::envelope::presence::{Change, PresenceChanges, Shown};

use super::{AnswerId, ChannelName, ConnectionId, ShardId, UserId};
use crate::bounds::{
    PRESENCE_METADATA_BYTES_MAX, PRESENCE_METADATA_KEYS_MAX, PRESENCE_TEXT_BYTES_MAX,
};

/// The status of a user who is there and has not said another.
pub const ONLINE: &str = "online";

/// The status of a user who is not there.
pub const OFFLINE: &str = "offline";

/// A user's presence, as others see it (contract R4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Presence {
    /// `online`, `offline`, or what the user said.
    pub status: Box<str>,
    /// When the user was last there, in Unix milliseconds; none: it is there, or nobody knows.
    pub last_seen: Option<u64>,
    /// A name for others to read.
    pub username: Option<Box<str>>,
    /// The room it is in.
    pub current_room: Option<Box<str>>,
    /// Whatever else, by key; each value is one valid JSON value.
    pub metadata: Vec<(Box<str>, Box<str>)>,
}

impl Presence {
    /// Of a user of whom nothing is known but whether it has connections.
    #[must_use]
    pub fn derived(connected: bool) -> Self {
        Self {
            status: if connected { ONLINE } else { OFFLINE }.into(),
            last_seen: None,
            username: None,
            current_room: None,
            metadata: Vec::new(),
        }
    }

    /// In the form it is written in.
    #[must_use]
    pub fn shown(&self) -> Shown<'_> {
        Shown {
            status: &self.status,
            last_seen: self.last_seen,
            username: self.username.as_deref(),
            current_room: self.current_room.as_deref(),
            metadata: &self.metadata,
        }
    }

    /// As one JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        self.shown().write(&mut out);
        String::from_utf8(out).expect("JSON is text")
    }

    fn len(&self) -> usize {
        let metadata = self
            .metadata
            .iter()
            .map(|(key, value)| key.len() + value.len());
        size_of::<Self>() + metadata.sum::<usize>()
    }
}

/// A key of metadata, and its value; none removes it.
pub type MetadataChange = (Box<str>, Option<Box<str>>);

/// What is to become of a presence, field by field (decision D7): what is not named stays.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PresenceChange {
    /// At most 64 bytes.
    pub status: Change<Box<str>>,
    /// At most 64 bytes.
    pub username: Change<Box<str>>,
    /// At most 255 bytes, as names of channels.
    pub current_room: Change<Box<str>>,
    /// Key by key; none removes the key. Each value is one valid JSON value.
    pub metadata: Change<Vec<MetadataChange>>,
}

impl PresenceChange {
    /// Reads it from JSON, as clients write it.
    ///
    /// # Errors
    /// `InvalidMessage`: not such an object. `MessageTooLarge`: a text, or all metadata together, is longer than it may be.
    pub fn read(json: &str) -> Result<Self, ErrorCode> {
        Self::from_written(PresenceChanges::read(json)?)
    }

    /// From what a client has written.
    ///
    /// # Errors
    /// `MessageTooLarge`: a text, or all metadata together, is longer than it may be.
    pub fn from_written(written: PresenceChanges<'_>) -> Result<Self, ErrorCode> {
        let change = Self {
            status: written.status.map(|text| (*text).into()),
            username: written.username.map(|text| (*text).into()),
            current_room: written.current_room.map(|text| (*text).into()),
            metadata: written.metadata.map(|metadata| {
                let entries = metadata.0.into_iter();
                entries
                    .map(|(key, value)| ((*key).into(), value.map(|value| value.get().into())))
                    .collect()
            }),
        };
        change.check()?;
        Ok(change)
    }

    /// Whether everything in it is as short as it must be.
    ///
    /// # Errors
    /// `MessageTooLarge` if not. `InvalidMessage`: an empty status.
    pub fn check(&self) -> Result<(), ErrorCode> {
        let len = |change: &Change<Box<str>>| match change {
            Change::Set(text) => text.len(),
            _ => 0,
        };
        if self.status == Change::Set("".into()) {
            return Err(ErrorCode::InvalidMessage);
        }
        let metadata = match &self.metadata {
            Change::Set(entries) => entries.as_slice(),
            _ => &[],
        };
        let bytes: usize = metadata
            .iter()
            .map(|(key, value)| key.len() + value.as_ref().map_or(0, |value| value.len()))
            .sum();
        let fits = len(&self.status) <= PRESENCE_TEXT_BYTES_MAX
            && len(&self.username) <= PRESENCE_TEXT_BYTES_MAX
            && len(&self.current_room) <= crate::bounds::CHANNEL_NAME_BYTES_MAX
            && metadata.len() <= PRESENCE_METADATA_KEYS_MAX
            && bytes <= PRESENCE_METADATA_BYTES_MAX;
        if fits {
            Ok(())
        } else {
            Err(ErrorCode::MessageTooLarge)
        }
    }
}

/// Who asked about presence, and is to be answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asker {
    /// Nobody wants to know.
    Nobody,
    /// A client.
    Client {
        /// Which.
        connection: ConnectionId,
        /// The `id` of its message, as JSON.
        reply: Option<Box<str>>,
    },
    /// Somebody outside the shards.
    Outside {
        /// The shard that was asked.
        shard: ShardId,
        /// As given with the question.
        answer: AnswerId,
    },
}

/// Who is in a channel.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ChannelMembers {
    /// How many.
    pub count: usize,
    /// The first of them, in order of their names.
    pub members: Vec<UserId>,
}

/// All that shards say to each other about presence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PresenceMessage {
    /// A connection of this user is in the channel; to the home of the channel's presence.
    Joined {
        /// The channel in which it is told who is in that one.
        told_in: ChannelName,
        /// Who.
        user: UserId,
        /// By which connection.
        connection: ConnectionId,
    },
    /// A connection that had joined is not in the channel any more.
    Left {
        /// The channel in which it is told who is in that one.
        told_in: ChannelName,
        /// Who.
        user: UserId,
        /// By which connection.
        connection: ConnectionId,
    },
    /// A connection wants to be told who is in a channel, from now on. Answered by `State`.
    Watch {
        /// The channel in which that is told.
        told_in: ChannelName,
        /// Who.
        connection: ConnectionId,
    },
    /// Who is in a channel, for one connection that watches. In the delivery lane: what was told to all before is before it there.
    State {
        /// The channel in which that is told.
        told_in: ChannelName,
        /// For whom.
        connection: ConnectionId,
        /// A complete server text frame.
        frame: Bytes,
    },
    /// Who is in a channel? To the home of the channel's presence.
    AskMembers {
        /// The channel in which that is told.
        told_in: ChannelName,
        /// Who wants to know; a client gets as many as those who watch.
        asker: Asker,
        /// Most names wanted.
        limit: usize,
    },
    /// Change a user's presence; to the user's home.
    Set {
        /// Whose.
        user: UserId,
        /// How.
        change: Box<PresenceChange>,
        /// Who is told what came of it.
        asker: Asker,
    },
    /// A user has come into a chat room, or its last connection has left one; to the user's home. From the room's home, in the order in
    /// which it happened there.
    Room {
        /// Who.
        user: UserId,
        /// The room, as clients call it.
        room: Box<str>,
        /// Whether it is in it.
        inside: bool,
    },
    /// What is known of these users? Goes from home to home, each adding what it knows, and from the last one back to whoever asked.
    Ask {
        /// Those that are still to be found, the last first.
        users: Vec<UserId>,
        /// What was found.
        found: Vec<(UserId, Presence)>,
        /// Who asked.
        asker: Asker,
    },
    /// When did these connections last speak? To their shard; answered by `Heard`.
    AskHeard {
        /// Whose connections they are.
        user: UserId,
        /// Which.
        connections: SmallVec<[ConnectionId; 2]>,
        /// If none has spoken since, in milliseconds since start: tell when one does.
        since_ms: u64,
        /// Who asks.
        shard: ShardId,
        /// Comes back with the answer, so that a late one is not taken for a newer one.
        round: u32,
    },
    /// The answer to `AskHeard`.
    Heard {
        /// Whose connections they are.
        user: UserId,
        /// As asked.
        round: u32,
        /// When one of them last spoke, in milliseconds since start.
        heard_ms: u64,
    },
    /// A user whose connections were silent has said something; to its home.
    Spoke {
        /// Who.
        user: UserId,
    },
    /// An answer to somebody outside, by way of the shard that was asked.
    Found {
        /// Whose question.
        answer: AnswerId,
        /// What came of it.
        found: PresenceAnswer,
    },
}

impl PresenceMessage {
    /// Bytes the message keeps alive outside itself.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        match self {
            Self::State { frame, .. } => frame.len(),
            Self::Ask { found, .. } => found.iter().map(|(_, presence)| presence.len()).sum(),
            Self::Set { .. } => size_of::<PresenceChange>(),
            Self::Room { room, .. } => room.len(),
            _ => 0,
        }
    }
}

/// What can be asked about presence from outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PresenceCommand {
    /// Change a user's presence; may be given to any shard, the user's home is the cheapest. Answered by
    /// [`PresenceAnswer::Users`], if somebody wants to know.
    Set {
        /// Whose.
        user: UserId,
        /// How; checked ([`PresenceChange::check`]).
        change: Box<PresenceChange>,
        /// Who wants to know.
        answer: Option<AnswerId>,
    },
    /// What is known of these users? To any shard. Answered by [`PresenceAnswer::Users`].
    Get {
        /// Whom.
        users: Vec<UserId>,
        /// Comes back with the answer.
        answer: AnswerId,
    },
    /// Who is in a channel? To any shard. Answered by [`PresenceAnswer::Members`].
    Members {
        /// Which channel.
        channel: ChannelName,
        /// Most names wanted.
        limit: usize,
        /// Comes back with the answer.
        answer: AnswerId,
    },
}

/// What came of a question about presence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PresenceAnswer {
    /// What is known of users.
    Users(Vec<(UserId, Presence)>),
    /// Who is in a channel.
    Members(ChannelMembers),
    /// It could not be done.
    Refused(ErrorCode),
}
