//! All that shards say to each other.

use bytes::Bytes;
use smallvec::SmallVec;
use std::net::IpAddr;

use shardwire_protocol::codes::ErrorCode;

use super::{
    ChannelName, ChatMessage, ConnectionId, DocumentMessage, NotificationMail, Position,
    PresenceMessage, ShardId, UserId,
};

/// A key under which the number of connections is limited; its home shard counts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum LimitedKey {
    /// A user's connections (contract M17).
    User(UserId),
    /// An address's connections (contract M18); IPv6 by its /64.
    Address(IpAddr),
}

/// One message for many, as whole server frames, in every form its receivers take.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SharedFrame {
    /// Not compressed: everybody takes it.
    pub plain: Bytes,
    /// Compressed by itself with the largest window; none if nobody was known to take that, or it is not shorter.
    pub deflated: Option<Bytes>,
}

impl From<Bytes> for SharedFrame {
    fn from(plain: Bytes) -> Self {
        Self {
            plain,
            deflated: None,
        }
    }
}

impl SharedFrame {
    /// Bytes of all forms.
    #[must_use]
    pub fn len(&self) -> usize {
        self.plain.len() + self.deflated.as_ref().map_or(0, Bytes::len)
    }

    /// Whether there is nothing: a frame has a header at least.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How a publication is to be treated; only channels with history know these wishes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PublishOptions {
    /// How long it is of use, in milliseconds, if that is shorter than the channel's history reaches.
    pub lifetime_ms: Option<u64>,
    /// Not to be kept: who listens now gets it, if nothing is in the way.
    pub volatile: bool,
    /// What makes a repetition known for what it is: at most 64 bytes.
    pub key: Option<Box<str>>,
}

/// A part of a channel's log, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kept {
    /// A record.
    Record {
        /// Its place.
        offset: u64,
        /// What every subscriber gets.
        frame: SharedFrame,
        /// Who shall not get it.
        exclude: SmallVec<[ConnectionId; 1]>,
    },
    /// What was there, from the first to the last of these offsets, is not there any more.
    Gone {
        /// First offset.
        from: u64,
        /// Last offset.
        to: u64,
    },
}

impl Kept {
    /// Bytes of its frames.
    fn len(&self) -> usize {
        match self {
            Self::Record { frame, .. } => frame.len(),
            Self::Gone { .. } => 0,
        }
    }
}

/// What a client asks of a channel's history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HistoryQuery {
    /// Where to begin; none: at the end the direction comes from.
    pub from: Option<u64>,
    /// Most messages wanted.
    pub limit: usize,
    /// From newer to older.
    pub backward: bool,
}

/// All that shards say to each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ShardMessage {
    /// May this connection open? To the key's home; answered by `Verdict`.
    Admit {
        /// Who asks.
        connection: ConnectionId,
        /// Under which key.
        key: LimitedKey,
    },
    /// The home's answer to `Admit`.
    Verdict {
        /// Who asked.
        connection: ConnectionId,
        /// Under which key.
        key: LimitedKey,
        /// Whether it was counted in.
        granted: bool,
    },
    /// A connection counted in at this home is gone.
    Release {
        /// Who.
        connection: ConnectionId,
        /// Under which key.
        key: LimitedKey,
    },
    /// "I have an audience for this channel" (or no longer); to the channel's home.
    Interest {
        /// Which channel.
        channel: ChannelName,
        /// Whose audience.
        shard: ShardId,
        /// Comes back with `Interested`, so that a late answer is not taken for a newer one's.
        ask: u32,
        /// Begin or end.
        on: bool,
    },
    /// Whether some of my audience take compressed broadcasts; to the channel's home. Without effect if the home does not know
    /// of the audience any more.
    Deflates {
        /// Which channel.
        channel: ChannelName,
        /// Whose audience.
        shard: ShardId,
        /// Some, or none.
        on: bool,
    },
    /// The home has noted the interest. Travels in the delivery lane: all that follows it there was published after it.
    Interested {
        /// Which channel.
        channel: ChannelName,
        /// As asked.
        ask: u32,
        /// Where the channel's log stands; none: it has no history.
        place: Option<Position>,
    },
    /// A publication on its way to the channel's home.
    Publish {
        /// Which channel.
        channel: ChannelName,
        /// One valid JSON value.
        message: Bytes,
        /// Who shall not get it.
        exclude: SmallVec<[ConnectionId; 1]>,
        /// Who is told when it is refused.
        publisher: Option<ConnectionId>,
        /// The `id` to tell it with, as JSON. Who gave one is also told where the publication is kept, if it is.
        reply: Option<Box<str>>,
        /// How to treat it, if not like most.
        options: Option<Box<PublishOptions>>,
    },
    /// A broadcast on its way to one shard's audience.
    Deliver {
        /// Which channel.
        channel: ChannelName,
        /// What every subscriber gets.
        frame: SharedFrame,
        /// Who shall not get it.
        exclude: SmallVec<[ConnectionId; 1]>,
        /// Where it is in the channel's log; none: it is in none.
        place: Option<Position>,
    },
    /// The way to a shard was full for so long that these publications are no longer kept: its audience does not get them.
    /// In the delivery lane, in the place of those.
    Skipped {
        /// Which channel.
        channel: ChannelName,
        /// First offset.
        from: u64,
        /// Last offset.
        to: Position,
    },
    /// What follows this place in the channel's log? For one subscriber that is not level with the others of its shard; to the
    /// home. Answered by `Fetched`.
    Fetch {
        /// Which channel.
        channel: ChannelName,
        /// Who asks.
        shard: ShardId,
        /// For whom.
        reader: ConnectionId,
        /// Comes back with the answer, so that a late one is not taken for a newer one's.
        ask: u32,
        /// The last it has got.
        since: Position,
        /// Most bytes wanted.
        bytes: usize,
    },
    /// The answer to `Fetch`, in the delivery lane: what the home has sent to that shard for all is before it there, what it
    /// will send is behind it.
    Fetched {
        /// Which channel.
        channel: ChannelName,
        /// For whom.
        reader: ConnectionId,
        /// As asked.
        ask: u32,
        /// All that was published since, as far as that shard was sent it, is in the log.
        whole: bool,
        /// The beginning of it.
        items: Vec<Kept>,
        /// The offset to go on with.
        next: u64,
    },
    /// A publication is kept as its channel's rule says; tell its publisher.
    Published {
        /// Whom to tell.
        connection: ConnectionId,
        /// Where.
        channel: ChannelName,
        /// At which place.
        place: Position,
        /// The `id` of the publication's message, as JSON.
        reply: Option<Box<str>>,
    },
    /// A client wants to read in a channel's log; to the home. Answered by `Answered` or `Refused`.
    ReadHistory {
        /// Who.
        connection: ConnectionId,
        /// In which channel.
        channel: ChannelName,
        /// What of it.
        query: HistoryQuery,
        /// The `id` of its message, as JSON.
        reply: Option<Box<str>>,
    },
    /// About a document that several people edit.
    Document(Box<DocumentMessage>),
    /// What a client is to be answered: the text of one message.
    Answered {
        /// Whom to tell.
        connection: ConnectionId,
        /// What to tell.
        text: Bytes,
    },
    /// About a chat room: in the control lane to its home, where it stays behind the interest of its sender; in the delivery lane back.
    Chat(Box<ChatMessage>),
    /// Something a client asked for could not be done; tell it.
    Refused {
        /// Whom to tell.
        connection: ConnectionId,
        /// What to tell.
        code: ErrorCode,
        /// The `id` of what it asked for, as JSON.
        reply: Option<Box<str>>,
    },
    /// Something about who is there.
    Presence(PresenceMessage),
    /// A message to some of this shard's connections; in the lane of deliveries, so that it keeps its place among them.
    Send {
        /// Whom to; all on this shard.
        connections: SmallVec<[ConnectionId; 2]>,
        /// A complete server text frame.
        frame: Bytes,
    },
    /// About a user's inbox, between its home and the shards of its devices.
    Notification(Box<NotificationMail>),
    /// Close some of this shard's connections.
    Close {
        /// Which; all on this shard.
        connections: SmallVec<[ConnectionId; 2]>,
        /// With which code.
        code: u16,
        /// In which words.
        reason: Box<str>,
    },
    /// Tokens of this key were taken from a copy of its bucket; to the key's home. Answered by `Owed` only if the copy is wrong.
    Spent {
        /// Whose bucket.
        key: LimitedKey,
        /// Who took them.
        shard: ShardId,
        /// How many.
        tokens: u32,
        /// When the copy will be full, in nanoseconds since start.
        full_at_ns: u64,
    },
    /// More was taken from this key's bucket than its copy shows.
    Owed {
        /// Whose bucket.
        key: LimitedKey,
        /// When it will be full, in nanoseconds since start.
        full_at_ns: u64,
    },
    /// Contexts that were promised at your door are gone with their connection.
    ContextsEnded {
        /// How much was promised.
        bytes: usize,
    },
    /// How many connections do you hold? Answered by `Count`.
    CountQuery {
        /// Who asks.
        shard: ShardId,
        /// Comes back with the answer, so that a late one is not taken for a newer one.
        round: u32,
    },
    /// The answer to `CountQuery`.
    Count {
        /// Who answers.
        shard: ShardId,
        /// As asked.
        round: u32,
        /// Connections in its registry.
        connections: u64,
    },
}

impl ShardMessage {
    /// Bytes the message keeps alive outside itself; what the lanes' byte bounds count.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        match self {
            Self::Publish { message, .. } => message.len(),
            Self::Deliver { frame, .. } => frame.len(),
            Self::Send { frame, .. } => frame.len(),
            Self::Fetched { items, .. } => items.iter().map(Kept::len).sum(),
            Self::Answered { text, .. } => text.len(),
            Self::Document(message) => message.payload_len(),
            Self::Chat(message) => message.deed.payload_len(),
            Self::Notification(mail) => mail.payload_len(),
            Self::Presence(message) => message.payload_len(),
            _ => 0,
        }
    }
}
