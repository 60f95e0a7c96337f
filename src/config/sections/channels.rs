//! `[channels]` and `[topics]`: what is kept of channels, and what is done about slow subscribers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shardwire_protocol::envelope::TOPIC_PREFIX;
use shardwire_shards::history::{ChannelRule, ChannelSettings, HistoryRule, SlowPolicy};
use shardwire_shards::permissions::Pattern;

use crate::config::bounds;
use crate::config::check::Checker;
use crate::config::text::{ByteSize, TextDuration};

/// What is kept of channels, and what is done about subscribers that read too slowly. The first rule whose pattern matches a channel
/// holds; a channel without a rule keeps nothing, and its slow subscribers are closed. See the concepts of delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Channels {
    /// How long a channel's history is remembered when it has become empty and nobody is subscribed. A client that comes back later
    /// learns that the history it knew is over (its epoch has changed), even if it has missed nothing.
    #[schemars(extend("x-allowed" = bounds::FORGET_AFTER.to_string()))]
    pub forget_after: TextDuration,

    /// Memory the histories of all channels may take on one shard. Beyond it the shard's oldest messages go first.
    #[schemars(extend("x-allowed" = bounds::HISTORY_MEMORY.to_string()))]
    pub history_memory: ByteSize,

    /// How long the `idempotencyKey` of a publication is remembered, of the last 1,000 of a channel.
    #[schemars(extend("x-allowed" = bounds::IDEMPOTENCY_WINDOW.to_string()))]
    pub idempotency_window: TextDuration,

    /// The rules, as `[[channels.rules]]`. `channel` is a pattern in which `*` stands for any text. `max_messages` gives the channel
    /// history: so many messages at most, none older than `max_age` (`"1h"` unless given), none beyond `max_bytes` (`"4MiB"`), kept
    /// in `persistence = "memory"`, or on `"disk"` so that it outlives the server (see `[storage]`). `slow` says what becomes of subscribers that read too slowly: `"disconnect"`, `"drop-oldest"`,
    /// `"keep-latest"`, or with history `"catch-up"`, which is then the default.
    #[schemars(extend("x-allowed" = "tables with channel, and with max_messages, max_age, max_bytes, persistence, slow"))]
    pub rules: Vec<ChannelsRule>,

    /// Memory that messages waiting for slow subscribers (`"drop-oldest"`, `"keep-latest"`) may take on one shard, besides their
    /// outboxes.
    #[schemars(extend("x-allowed" = bounds::SLOW_MEMORY.to_string()))]
    pub slow_memory: ByteSize,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelsRule {
    /// Which channels it speaks of: `"room:*"`.
    pub channel: String,
    /// Messages kept; none: no history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_messages: Option<usize>,
    /// Age of the oldest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<TextDuration>,
    /// Bytes of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<ByteSize>,
    /// Where they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// What is done about slow subscribers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow: Option<Slow>,
}

/// Where a channel's history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Persistence {
    /// In memory: gone with the process.
    Memory,
    /// On disk, besides: a message is delivered and acknowledged when it is stored in `storage.directory`.
    Disk,
}

/// What is done about subscribers that read too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Slow {
    /// They are closed.
    Disconnect,
    /// The oldest messages are dropped, and named.
    DropOldest,
    /// All but the latest message are dropped, and named.
    KeepLatest,
    /// They read on in the history.
    CatchUp,
}

impl From<Slow> for SlowPolicy {
    fn from(slow: Slow) -> Self {
        match slow {
            Slow::Disconnect => Self::Disconnect,
            Slow::DropOldest => Self::DropOldest,
            Slow::KeepLatest => Self::KeepLatest,
            Slow::CatchUp => Self::CatchUp,
        }
    }
}

/// Topics: channels with history that clients name by `topic` (contract Q1 to Q7). The topic `news` is the channel `topic:news`; a rule
/// of `[channels]` for that name takes the place of these keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Topics {
    /// Messages kept of a topic (contract Q2).
    #[schemars(extend("x-allowed" = bounds::HISTORY_MESSAGES.to_string()))]
    pub max_queue_size: usize,

    /// How long a message is kept (contract Q3).
    #[schemars(extend("x-allowed" = bounds::HISTORY_AGE.to_string()))]
    pub message_ttl: TextDuration,

    /// Whether topics have history (contract Q1).
    pub persistence: bool,
}

impl Default for Channels {
    fn default() -> Self {
        Self {
            forget_after: TextDuration::from_secs(3_600),
            history_memory: ByteSize::mib(256),
            idempotency_window: TextDuration::from_secs(300),
            rules: Vec::new(),
            slow_memory: ByteSize::mib(64),
        }
    }
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            max_queue_size: 1_000,
            message_ttl: TextDuration::from_secs(3_600),
            persistence: true,
        }
    }
}

const DEFAULT_AGE: TextDuration = TextDuration::from_secs(3_600);
const DEFAULT_BYTES: ByteSize = ByteSize::mib(4);

impl Channels {
    /// All rules in the form the shards ask, that of topics last.
    pub(in crate::config) fn check(
        &self,
        topics: &Topics,
        checker: &mut Checker,
    ) -> ChannelSettings {
        const KEY: &str = "channels.rules";
        if self.rules.len() > bounds::CHANNEL_RULES {
            checker.refuse(
                KEY,
                format!("{} rules", self.rules.len()),
                format!("at most {} rules are allowed", bounds::CHANNEL_RULES),
            );
        }
        let mut rules: Vec<ChannelRule> = self
            .rules
            .iter()
            .filter_map(|rule| rule.check(KEY, checker))
            .collect();
        rules.extend(topics.check(checker));
        ChannelSettings {
            rules: rules.into(),
            history_memory: checker.bytes(
                "channels.history_memory",
                self.history_memory,
                &bounds::HISTORY_MEMORY,
            ),
            slow_memory: checker.bytes(
                "channels.slow_memory",
                self.slow_memory,
                &bounds::SLOW_MEMORY,
            ),
            forget_after_ms: checker.milliseconds(
                "channels.forget_after",
                self.forget_after,
                &bounds::FORGET_AFTER,
            ),
            idempotency_window_ms: checker.milliseconds(
                "channels.idempotency_window",
                self.idempotency_window,
                &bounds::IDEMPOTENCY_WINDOW,
            ),
        }
    }
}

impl ChannelsRule {
    fn check(&self, key: &'static str, checker: &mut Checker) -> Option<ChannelRule> {
        let found = format!("channel = {:?}", self.channel);
        let mut refuse = |problem: String| checker.refuse(key, &found, problem);
        let channels: Pattern = match self.channel.parse() {
            Ok(pattern) => pattern,
            Err(error) => {
                refuse(format!("{error}"));
                return None;
            }
        };
        if self.channel.contains("{user}") {
            refuse("what is kept does not depend on who asks: no {user} here".to_owned());
        }
        let (age, bytes) = (
            self.max_age.unwrap_or(DEFAULT_AGE),
            self.max_bytes.unwrap_or(DEFAULT_BYTES),
        );
        let Some(max_messages) = self.max_messages else {
            if self.max_age.is_some() || self.max_bytes.is_some() || self.persistence.is_some() {
                refuse("history needs max_messages".to_owned());
            }
            match self.slow {
                None => {
                    refuse("a rule gives max_messages, for history, or slow, or both".to_owned())
                }
                Some(Slow::CatchUp) => {
                    refuse("slow = \"catch-up\" reads in the history: give max_messages".to_owned())
                }
                Some(_) => {}
            }
            return Some(ChannelRule {
                channels,
                history: None,
                slow: self.slow.map(Into::into).unwrap_or_default(),
            });
        };
        if !bounds::HISTORY_MESSAGES.allows(&max_messages) {
            refuse(format!("max_messages must be {}", bounds::HISTORY_MESSAGES));
        }
        if !bounds::HISTORY_AGE.allows(&age) {
            refuse(format!("max_age must be {}", bounds::HISTORY_AGE));
        }
        if !bounds::HISTORY_BYTES.allows(&bytes) {
            refuse(format!("max_bytes must be {}", bounds::HISTORY_BYTES));
        }
        Some(ChannelRule {
            channels,
            history: Some(HistoryRule {
                max_messages,
                max_age_ms: age.as_millis(),
                max_bytes: usize::try_from(bytes.get()).unwrap_or(usize::MAX),
                durable: self.persistence == Some(Persistence::Disk),
            }),
            slow: self.slow.map_or(SlowPolicy::CatchUp, Into::into),
        })
    }
}

impl Topics {
    fn check(&self, checker: &mut Checker) -> Option<ChannelRule> {
        let max_messages = checker.whole(
            "topics.max_queue_size",
            self.max_queue_size,
            &bounds::HISTORY_MESSAGES,
        );
        let max_age_ms =
            checker.milliseconds("topics.message_ttl", self.message_ttl, &bounds::HISTORY_AGE);
        self.persistence.then(|| ChannelRule {
            channels: format!("{TOPIC_PREFIX}*").parse().expect("a good pattern"),
            history: Some(HistoryRule {
                max_messages,
                max_age_ms,
                max_bytes: usize::try_from(DEFAULT_BYTES.get()).unwrap_or(usize::MAX),
                durable: false,
            }),
            slow: SlowPolicy::CatchUp,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Config;

    fn check(toml: &str) -> Result<ChannelSettings, String> {
        let config = Config::from_toml(toml).map_err(|faults| faults.to_string())?;
        let mut checker = Checker::default();
        let settings = config.channels.check(&config.topics, &mut checker);
        match checker.finish() {
            Ok(_) => Ok(settings),
            Err(faults) => Err(faults.to_string()),
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        assert_eq!(check("").unwrap(), ChannelSettings::default());
        let none = check("topics.persistence = false").unwrap();
        assert_eq!(none.history_of("topic:x"), None);
        let some = check("topics.max_queue_size = 5\ntopics.message_ttl = \"2m\"").unwrap();
        let history = some.history_of("topic:x").unwrap();
        assert_eq!((history.max_messages, history.max_age_ms), (5, 120_000));
    }

    #[test]
    fn rules_come_before_that_of_topics() {
        let settings = check(
            "[[channels.rules]]\nchannel = \"topic:prices\"\nslow = \"keep-latest\"\n\
             [[channels.rules]]\nchannel = \"room:*\"\nmax_messages = 7\nmax_age = \"1m\"\nmax_bytes = \"1MiB\"\npersistence = \"memory\"",
        )
        .unwrap();
        assert_eq!(settings.history_of("topic:prices"), None);
        assert_eq!(
            settings.slow_policy_of("topic:prices"),
            SlowPolicy::KeepLatest
        );
        assert!(settings.history_of("topic:other").is_some());
        let room = settings.history_of("room:1").unwrap();
        assert_eq!(
            (room.max_messages, room.max_age_ms, room.max_bytes),
            (7, 60_000, 1 << 20)
        );
        assert_eq!(settings.slow_policy_of("room:1"), SlowPolicy::CatchUp);
    }

    #[test]
    fn faults_of_rules_are_told() {
        for (rule, told) in [
            ("channel = \"a:{user}\"\nmax_messages = 1", "no {user} here"),
            ("channel = \"$x\"\nmax_messages = 1", "belong to the server"),
            ("channel = \"a\"", "max_messages, for history, or slow"),
            ("channel = \"a\"\nslow = \"catch-up\"", "give max_messages"),
            (
                "channel = \"a\"\nmax_age = \"1m\"\nslow = \"disconnect\"",
                "history needs max_messages",
            ),
            ("channel = \"a\"\nmax_messages = 0", "max_messages must be"),
            (
                "channel = \"a\"\nmax_messages = 1\nmax_age = \"0s\"",
                "max_age must be",
            ),
            (
                "channel = \"a\"\nmax_messages = 1\nmax_bytes = \"1B\"",
                "max_bytes must be",
            ),
            (
                "channel = \"a\"\nslow = \"wait\"",
                "must be tables with channel",
            ),
        ] {
            let faults = check(&format!("[[channels.rules]]\n{rule}")).unwrap_err();
            assert!(
                faults.contains("channels.rules") && faults.contains(told),
                "{rule}: {faults}"
            );
        }
    }
}
