//! What the operator chose, as the shard reads it: checked and in native types.

use crate::bounds::FLUSH_SLICE;
use crate::chat::ChatSettings;
use crate::collaboration::CollaborationSettings;
use crate::history::ChannelSettings;
use crate::notifications::NotificationSettings;
use crate::permissions::{AuthorizeHook, Permissions};
use crate::presence::PresenceSettings;
use crate::rate_limits::Rates;

/// How long who one is may take, and holds. In milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AuthenticationTimes {
    /// From being counted in until the verdict on a first frame, and for the verdict on a refresh (contract M7).
    pub timeout_ms: u64,
    /// Before a token expires: the warning.
    pub warning_ms: u64,
    /// After it has expired: the end.
    pub grace_ms: u64,
}

impl Default for AuthenticationTimes {
    fn default() -> Self {
        Self {
            timeout_ms: 5_000,
            warning_ms: 60_000,
            grace_ms: 10_000,
        }
    }
}

/// Limits and times of one shard. Built from the configuration, which checks the ranges; immutable afterwards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardSettings {
    /// Connections of the whole node (contract M1).
    pub max_connections: usize,
    /// Connections of one user on the node (contract M17); none: unlimited.
    pub max_connections_per_user: Option<usize>,
    /// Connections of one address on the node (contract M18), IPv6 by /64; none: unlimited.
    pub max_connections_per_ip: Option<usize>,
    /// Largest message in bytes, fragments added up (decision D15).
    pub max_message_size: usize,
    /// Channels one connection may be subscribed to.
    pub max_channels: usize,
    /// Silence after which the peer is pinged (contract M3), in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// Time a pinged peer has to send anything at all (contract M4), in milliseconds.
    pub heartbeat_timeout_ms: u64,
    /// Time the peer has to answer a close frame, in milliseconds.
    pub close_timeout_ms: u64,
    /// Unsent bytes beyond which a peer that does not read is not read from either.
    pub outbox_soft_limit: usize,
    /// Unsent bytes beyond which a peer that does not read is closed as a slow consumer.
    pub outbox_hard_limit: usize,
    /// Connections of a huge audience that are written to in one turn; an audience of more than twice as many is a huge one.
    pub flush_slice: usize,
    /// What the application handles itself.
    pub routes: ApplicationRoutes,
    /// permessage-deflate.
    pub compression: CompressionSettings,
    /// Whether `$shards` may be subscribed to (the demonstration page shows it).
    pub publish_shard_counts: bool,
    /// Who may do what in which channel (decision D5).
    pub permissions: Permissions,
    /// How fast one may send, and how fast connections may come (decision D22).
    pub rates: Rates,
    /// What is kept of channels, and what is done about slow subscribers.
    pub channels: ChannelSettings,
    /// Documents that several people edit (contract L1 to L8); none: there are none, and the messages about them are unknown.
    pub collaboration: Option<CollaborationSettings>,
    /// Chat rooms; none: there are none, and their messages are unknown.
    pub chat: Option<ChatSettings>,
    /// Inboxes; none: there are none, and messages about them are unknown.
    pub notifications: Option<NotificationSettings>,
    /// Of which channels it is known who is in them, and how that is told.
    pub presence: PresenceSettings,
    /// None: nobody is verified, and the messages `auth` and `refresh` are unknown.
    pub authentication: Option<AuthenticationTimes>,
}

impl Default for ShardSettings {
    /// The contract's defaults, for tests and the simulator; the server's come from its configuration.
    fn default() -> Self {
        Self {
            max_connections: 1000,
            max_connections_per_user: Some(5),
            max_connections_per_ip: Some(10),
            max_message_size: 64 << 10,
            max_channels: 128,
            heartbeat_interval_ms: 30_000,
            heartbeat_timeout_ms: 10_000,
            close_timeout_ms: 5_000,
            outbox_soft_limit: 256 << 10,
            outbox_hard_limit: 1 << 20,
            flush_slice: FLUSH_SLICE,
            routes: ApplicationRoutes::default(),
            compression: CompressionSettings::default(),
            publish_shard_counts: true,
            permissions: Permissions::default(),
            rates: Rates::default(),
            channels: ChannelSettings::default(),
            collaboration: None,
            chat: None,
            notifications: None,
            presence: PresenceSettings::default(),
            authentication: None,
        }
    }
}

/// What an embedding service handles itself, by the names its handlers were registered under.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ApplicationRoutes {
    /// Message types, each once; a built-in type among them is handled by the application instead.
    pub types: Vec<String>,
    /// Whether a handler wants to see every new connection first.
    pub on_connect: bool,
    /// Whether middleware wants to see every message, of whatever type.
    pub every_message: bool,
    /// The application's own check behind the rules; none: what they allow may be done.
    pub authorize: Option<AuthorizeHook>,
}

/// How messages are compressed (contract M12 to M15).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompressionSettings {
    /// Whether permessage-deflate is negotiated at all.
    pub enabled: bool,
    /// Payload bytes above which a message is compressed (decision D16).
    pub threshold: usize,
    /// 1 (fastest) to 9 (shortest).
    pub level: u8,
    /// Whether messages may refer back to earlier ones, for clients that offer it.
    pub context_takeover: bool,
    /// Bytes one shard promises at most to what is referred back to.
    pub context_memory: usize,
}

impl Default for CompressionSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            threshold: 1024,
            level: 6,
            context_takeover: false,
            context_memory: 64 << 20,
        }
    }
}
