//! What the operator chose about presence.

use crate::channels::is_reserved;
use crate::permissions::Pattern;

/// Of which channels it is known who is in them, and how long and how loudly.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PresenceSettings {
    /// Channels in which it is known who is in them.
    pub channels: Box<[Pattern]>,
    /// How long a user that has lost its last connection counts as there, in milliseconds (decision D6).
    pub grace_ms: u64,
    /// How often a client that has nothing else to say is expected to say so, in milliseconds (contract R1).
    pub heartbeat_interval_ms: u64,
    /// After how much silence a user with a presence counts as offline, in milliseconds (contract R2).
    pub heartbeat_timeout_ms: u64,
    /// How long the presence of a user is kept that is not there, in milliseconds (contract R3).
    pub status_expiration_ms: u64,
    /// How long changes wait for each other when they are too many to be told one by one, in milliseconds.
    pub batch_interval_ms: u64,
    /// Bytes each subscriber is told per second at most.
    pub budget_bytes: usize,
}

impl Default for PresenceSettings {
    fn default() -> Self {
        Self {
            channels: Box::default(),
            grace_ms: 10_000,
            heartbeat_interval_ms: 30_000,
            heartbeat_timeout_ms: 90_000,
            status_expiration_ms: 300_000,
            batch_interval_ms: 1_000,
            budget_bytes: 32 << 10,
        }
    }
}

impl PresenceSettings {
    /// Whether it is known who is in this channel. Never in one of the server's own.
    #[must_use]
    pub fn covers(&self, channel: &str) -> bool {
        let mut patterns = self.channels.iter();
        !is_reserved(channel) && patterns.any(|pattern| pattern.matches(channel, None))
    }
}
