//! `[presence]`: who is there, and how that is told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shardwire_shards::permissions::Pattern;
use shardwire_shards::presence::PresenceSettings;

use crate::config::bounds;
use crate::config::check::Checker;
use crate::config::text::{ByteSize, TextDuration};

/// Who is there: users, and members of channels. See the concepts of presence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Presence {
    /// How long changes of who is in a channel wait for each other when they are too many to be told one by one.
    #[schemars(extend("x-allowed" = bounds::BATCH_INTERVAL.to_string()))]
    pub batch_interval: TextDuration,

    /// Bytes per second that one subscriber is told at most of who is in one channel, the list it gets first included. Half of that is for
    /// changes, a quarter for bursts of them; a list longer than a quarter is not told, only its length.
    #[schemars(extend("x-allowed" = bounds::PRESENCE_BUDGET.to_string()))]
    pub budget: ByteSize,

    /// Channels in which it is known who is in them: patterns in which `*` stands for any text. Whoever may subscribes to
    /// `$presence:CHANNEL` to be told.
    #[schemars(extend("x-allowed" = "patterns of names of channels"))]
    pub channels: Vec<String>,

    /// How long a user whose last connection is gone (from the server, or from a channel) still counts as there (contract D6). One that
    /// comes back within that time has never been away.
    #[schemars(extend("x-allowed" = bounds::PRESENCE_GRACE.to_string()))]
    pub grace_period: TextDuration,

    /// How often a client that has nothing else to say is expected to send a `ping` message (contract R1). Clients read it in `hello`.
    #[schemars(extend("x-allowed" = bounds::PRESENCE_HEARTBEAT.to_string()))]
    pub heartbeat_interval: TextDuration,

    /// After how long without a message a user that has said something of itself counts as offline (contract R2). Pongs do not count:
    /// those tell that its machine is there.
    #[schemars(extend("x-allowed" = bounds::PRESENCE_HEARTBEAT.to_string()))]
    pub heartbeat_timeout: TextDuration,

    /// How long the presence of a user that is not there is kept (contract R3).
    #[schemars(extend("x-allowed" = bounds::STATUS_EXPIRATION.to_string()))]
    pub status_expiration: TextDuration,
}

impl Default for Presence {
    fn default() -> Self {
        Self {
            batch_interval: TextDuration::from_secs(1),
            budget: ByteSize::kib(32),
            channels: Vec::new(),
            grace_period: TextDuration::from_secs(10),
            heartbeat_interval: TextDuration::from_secs(30),
            heartbeat_timeout: TextDuration::from_secs(90),
            status_expiration: TextDuration::from_secs(300),
        }
    }
}

impl Presence {
    pub(in crate::config) fn check(&self, checker: &mut Checker) -> PresenceSettings {
        const KEY: &str = "presence.channels";
        if self.channels.len() > bounds::PRESENCE_PATTERNS {
            checker.refuse(
                KEY,
                format!("{} patterns", self.channels.len()),
                format!("at most {} patterns are allowed", bounds::PRESENCE_PATTERNS),
            );
        }
        let mut patterns = Vec::with_capacity(self.channels.len());
        for channel in &self.channels {
            match channel.parse::<Pattern>() {
                Ok(_) if channel.contains("{user}") => checker.refuse(
                    KEY,
                    format!("{channel:?}"),
                    "who is in a channel does not depend on who asks: no {user} here".to_owned(),
                ),
                Ok(pattern) => patterns.push(pattern),
                Err(error) => checker.refuse(KEY, format!("{channel:?}"), format!("{error}")),
            }
        }
        if self.heartbeat_interval >= self.heartbeat_timeout {
            checker.refuse_relation(
                "presence.heartbeat_interval",
                &["presence.heartbeat_timeout"],
                format!("\"{}\"", self.heartbeat_interval),
                format!(
                    "must be less than presence.heartbeat_timeout ({}), or everybody would be offline in between",
                    self.heartbeat_timeout
                ),
            );
        }
        PresenceSettings {
            channels: patterns.into(),
            grace_ms: checker.milliseconds(
                "presence.grace_period",
                self.grace_period,
                &bounds::PRESENCE_GRACE,
            ),
            heartbeat_interval_ms: checker.milliseconds(
                "presence.heartbeat_interval",
                self.heartbeat_interval,
                &bounds::PRESENCE_HEARTBEAT,
            ),
            heartbeat_timeout_ms: checker.milliseconds(
                "presence.heartbeat_timeout",
                self.heartbeat_timeout,
                &bounds::PRESENCE_HEARTBEAT,
            ),
            status_expiration_ms: checker.milliseconds(
                "presence.status_expiration",
                self.status_expiration,
                &bounds::STATUS_EXPIRATION,
            ),
            batch_interval_ms: checker.milliseconds(
                "presence.batch_interval",
                self.batch_interval,
                &bounds::BATCH_INTERVAL,
            ),
            budget_bytes: checker.bytes("presence.budget", self.budget, &bounds::PRESENCE_BUDGET),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Config;

    fn check(toml: &str) -> Result<PresenceSettings, String> {
        let config = Config::from_toml(toml).map_err(|faults| faults.to_string())?;
        let mut checker = Checker::default();
        let settings = config.presence.check(&mut checker);
        match checker.finish() {
            Ok(_) => Ok(settings),
            Err(faults) => Err(faults.to_string()),
        }
    }

    #[test]
    fn contract_r1_r2_r3_the_defaults_are_those_of_the_contract() {
        let settings = check("").unwrap();
        assert_eq!(settings, PresenceSettings::default());
        let (r1, r2) = (
            settings.heartbeat_interval_ms,
            settings.heartbeat_timeout_ms,
        );
        assert_eq!(
            (r1, r2, settings.status_expiration_ms),
            (30_000, 90_000, 300_000)
        );
    }

    #[test]
    fn channels_are_patterns_and_faults_are_told() {
        let settings = check("presence.channels = [\"room:*\", \"lobby\"]").unwrap();
        assert!(settings.covers("room:1") && settings.covers("lobby"));
        assert!(!settings.covers("other") && !settings.covers("$presence:lobby"));
        for (toml, told) in [
            ("channels = [\"$x\"]", "belong to the server"),
            ("channels = [\"a:{user}\"]", "no {user} here"),
            ("heartbeat_interval = \"90s\"", "must be less than"),
            ("budget = \"10B\"", "presence.budget"),
        ] {
            let faults = check(&format!("[presence]\n{toml}")).unwrap_err();
            assert!(faults.contains(told), "{toml}: {faults}");
        }
    }
}
