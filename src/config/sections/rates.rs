//! `[rates]`: how fast one may send, and how fast connections may come.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::check::Checker;
use crate::config::text::{Amount, ByteSize, Bytes, Count, Rate, TextDuration};

/// How fast one may send, and how fast connections may come (contract D22). A message beyond a rate has no effect and is answered
/// `Rate limit exceeded` (contract W6). Each rate is a token bucket: `"100/s burst 500"` lets 100 messages per second through in the
/// long run, and 500 at once after a silence; without `burst`, what one period brings. The rates of messages hold for `/ws`. When any of
/// them is changed in a running engine, all buckets begin full again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// Payload bytes of one connection's messages. The burst must hold the largest message.
    #[schemars(extend("x-live" = true, "x-allowed" = "a size per time such as \"1MiB/s burst 4MiB\", or \"unlimited\""))]
    pub connection_bytes: Rate<Bytes>,

    /// Messages of one connection, WebSocket pings included.
    #[schemars(extend("x-live" = true, "x-allowed" = COUNT))]
    pub connection_messages: Rate<Count>,

    /// Messages of all connections from one IP address; IPv6 addresses count by their first 64 bits. Exact for connections that live on
    /// one shard, as all of an IPv4 address do under `shards.placement = "ip-hash"`; several shards may together let through one
    /// burst more each, which is charged: over any longer time the rate holds.
    #[schemars(extend("x-live" = true, "x-allowed" = COUNT))]
    pub ip_messages: Rate<Count>,

    /// Connections the node admits, over all shards. One more is refused with 503 and `Retry-After`, before its credentials are looked
    /// at.
    #[schemars(extend("x-live" = true, "x-allowed" = COUNT))]
    pub new_connections: Rate<Count>,

    /// How many messages of one connection may be refused before it is closed with 4104, because it goes on although it is told.
    #[schemars(extend("x-live" = true, "x-allowed" = COUNT))]
    pub refused_messages: Rate<Count>,

    /// Messages of all connections of one user. Exact for connections that live on one shard, as all of a user do under
    /// `shards.placement = "user-hash"`; otherwise as for `ip_messages`.
    #[schemars(extend("x-live" = true, "x-allowed" = COUNT))]
    pub user_messages: Rate<Count>,
}

const COUNT: &str =
    "a number per time such as \"100/s\", \"600/m\" or \"100/s burst 500\", or \"unlimited\"";

impl Default for Rates {
    fn default() -> Self {
        Self {
            connection_bytes: Rate::Unlimited,
            connection_messages: Rate::Unlimited,
            ip_messages: Rate::Unlimited,
            new_connections: Rate::Unlimited,
            refused_messages: Rate::per(100, TextDuration::from_secs(10)),
            user_messages: Rate::Unlimited,
        }
    }
}

/// One rate, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateSettings {
    /// Tokens per period; at least 1.
    pub count: u64,
    /// At least 1.
    pub period_ms: u64,
    /// Tokens at once; at least 1.
    pub burst: u64,
}

/// `[rates]`, checked. `None` is unlimited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RatesSettings {
    /// Bytes of one connection.
    pub connection_bytes: Option<RateSettings>,
    /// Messages of one connection.
    pub connection_messages: Option<RateSettings>,
    /// Messages from one address.
    pub ip_messages: Option<RateSettings>,
    /// Connections of the node.
    pub new_connections: Option<RateSettings>,
    /// Refused messages of one connection.
    pub refused_messages: Option<RateSettings>,
    /// Messages of one user.
    pub user_messages: Option<RateSettings>,
}

impl Rates {
    pub(in crate::config) fn check(
        &self,
        max_message_size: ByteSize,
        checker: &mut Checker,
    ) -> RatesSettings {
        if let Rate::AtMost { burst, .. } = self.connection_bytes
            && burst < max_message_size.get()
        {
            checker.refuse_relation(
                "rates.connection_bytes",
                &["connections.max_message_size"],
                format!("\"{}\"", self.connection_bytes),
                format!(
                    "the burst must hold the largest message: at least connections.max_message_size ({max_message_size})"
                ),
            );
        }
        RatesSettings {
            connection_bytes: settings(self.connection_bytes),
            connection_messages: settings(self.connection_messages),
            ip_messages: settings(self.ip_messages),
            new_connections: settings(self.new_connections),
            refused_messages: settings(self.refused_messages),
            user_messages: settings(self.user_messages),
        }
    }
}

fn settings<A: Amount>(rate: Rate<A>) -> Option<RateSettings> {
    match rate {
        Rate::Unlimited => None,
        Rate::AtMost {
            amount,
            period,
            burst,
            ..
        } => Some(RateSettings {
            count: amount,
            period_ms: period.as_millis(),
            burst,
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn contract_d22_the_burst_of_bytes_holds_a_message() {
        let check = |rate: &str, message: u64| {
            let rates = Rates {
                connection_bytes: rate.parse().unwrap(),
                ..Rates::default()
            };
            let mut checker = Checker::default();
            let settings = rates.check(ByteSize::kib(message), &mut checker);
            checker.finish().map(|_| settings)
        };
        let settings = check("32KiB/s burst 64KiB", 64).unwrap();
        assert_eq!(
            settings.connection_bytes,
            Some(RateSettings {
                count: 32 << 10,
                period_ms: 1_000,
                burst: 64 << 10
            })
        );
        assert_eq!(settings.user_messages, None);
        let faults = check("32KiB/s", 64).unwrap_err();
        assert!(faults.to_string().contains("rates.connection_bytes"));
    }
}
