//! What the operator chose for channels, by pattern.

use crate::channels::is_reserved;
use crate::permissions::Pattern;

/// What is done about a subscriber that does not read as fast as a channel is published to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SlowPolicy {
    /// It is closed when the hard limit of its outbox is reached.
    #[default]
    Disconnect,
    /// So much waits for it; the oldest are dropped, and it is told which.
    DropOldest,
    /// Only the last one waits for it; it is told which were dropped.
    KeepLatest,
    /// Nothing waits for it: it reads on in the channel's log when it has read what it was sent. Only with history.
    CatchUp,
}

/// How much of a channel is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HistoryRule {
    /// Records.
    pub max_messages: usize,
    /// Age of a record, in milliseconds.
    pub max_age_ms: u64,
    /// Bytes of all records, what each costs besides its frames included.
    pub max_bytes: usize,
    /// Whether records outlive the process: nothing is delivered or acknowledged before it is stored.
    pub durable: bool,
}

/// What holds for the channels of one pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelRule {
    /// Which channels.
    pub channels: Pattern,
    /// What is kept of them; none: nothing.
    pub history: Option<HistoryRule>,
    /// What is done about slow subscribers.
    pub slow: SlowPolicy,
}

/// What the operator chose for channels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelSettings {
    /// The first whose pattern matches holds; where none does, there is no history and slow subscribers are closed.
    pub rules: Box<[ChannelRule]>,
    /// Bytes all logs of one shard may take; beyond that the shard's oldest records go first.
    pub history_memory: usize,
    /// Bytes that may wait on one shard for subscribers whose oldest (or all but latest) messages are dropped.
    pub slow_memory: usize,
    /// How long a log without records and without subscribers is kept for its place, in milliseconds. Then it is forgotten, and
    /// the next one has another epoch.
    pub forget_after_ms: u64,
    /// How long an idempotency key is remembered, in milliseconds.
    pub idempotency_window_ms: u64,
}

impl Default for ChannelSettings {
    /// The contract's topics (Q1 to Q3), kept in memory, and nothing else.
    fn default() -> Self {
        let pattern = format!("{}*", shardwire_protocol::envelope::TOPIC_PREFIX);
        Self {
            rules: Box::new([ChannelRule {
                channels: pattern.parse().expect("a good pattern"),
                history: Some(HistoryRule {
                    max_messages: 1000,
                    max_age_ms: 3_600_000,
                    max_bytes: 4 << 20,
                    durable: false,
                }),
                slow: SlowPolicy::CatchUp,
            }]),
            history_memory: 256 << 20,
            slow_memory: 64 << 20,
            forget_after_ms: 3_600_000,
            idempotency_window_ms: 300_000,
        }
    }
}

impl ChannelSettings {
    /// Which rule holds for a channel. The server's own channels have none.
    #[must_use]
    pub fn rule_of(&self, channel: &str) -> Option<&ChannelRule> {
        if is_reserved(channel) {
            return None;
        }
        self.rules
            .iter()
            .find(|rule| rule.channels.matches(channel, None))
    }

    /// What is kept of a channel; none: nothing.
    #[must_use]
    pub fn history_of(&self, channel: &str) -> Option<HistoryRule> {
        self.rule_of(channel).and_then(|rule| rule.history)
    }

    /// What is done about slow subscribers of a channel.
    #[must_use]
    pub fn slow_policy_of(&self, channel: &str) -> SlowPolicy {
        self.rule_of(channel)
            .map_or(SlowPolicy::Disconnect, |rule| rule.slow)
    }

    /// Whether some channel's records outlive the process.
    #[must_use]
    pub fn any_durable(&self) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.history.is_some_and(|history| history.durable))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_first_rule_that_matches_holds() {
        let rule = |pattern: &str, max_messages| ChannelRule {
            channels: pattern.parse().unwrap(),
            history: Some(HistoryRule {
                max_messages,
                max_age_ms: 1,
                max_bytes: 1,
                durable: false,
            }),
            slow: SlowPolicy::KeepLatest,
        };
        let settings = ChannelSettings {
            rules: Box::new([rule("a*", 1), rule("*", 2)]),
            ..ChannelSettings::default()
        };
        assert_eq!(settings.history_of("abc").unwrap().max_messages, 1);
        assert_eq!(settings.history_of("b").unwrap().max_messages, 2);
        assert_eq!(settings.history_of("$shards"), None, "the server's own");
        assert_eq!(settings.slow_policy_of("$shards"), SlowPolicy::Disconnect);
        let default = ChannelSettings::default();
        assert_eq!(default.history_of("news"), None);
        assert_eq!(default.history_of("topic:x").unwrap().max_messages, 1000);
    }
}
