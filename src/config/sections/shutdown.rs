//! `[shutdown]`: how long leaving may take.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::bounds;
use crate::config::check::Checker;
use crate::config::text::TextDuration;

/// How long leaving may take: first the connections, then the shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// How long connections get, from the signal on, to be told, closed one after the other (`drain_window`), take what waits for
    /// them and answer the close frame (4200, come back at once); then they are cut. Whoever starts the engine must wait longer than this and `join_timeout` together before it kills:
    /// `TimeoutStopSec=` of systemd, `terminationGracePeriodSeconds` of Kubernetes.
    #[schemars(extend("x-live" = true, "x-allowed" = bounds::DRAIN_TIMEOUT.to_string()))]
    pub drain_timeout: TextDuration,

    /// Over how long the closes are spread, so that not all clients come back to the other nodes in the same moment. Every client that
    /// speaks JSON is told at once when its moment comes (`{"type":"reconnect","delay":…}`). Connections are never closed more slowly
    /// than a thousand a second needs: an engine with 200 connections takes 200 ms of the window, whatever it is. At most
    /// `drain_timeout`; leave `connections.close_timeout` of it for the last to answer.
    #[schemars(extend("x-live" = true, "x-allowed" = bounds::DRAIN_TIMEOUT.to_string(), "x-default" = "half of `drain_timeout`"))]
    pub drain_window: Option<TextDuration>,

    /// How long shards get to end once their connections are gone; one that does not is reported and left behind.
    #[schemars(extend("x-live" = true, "x-allowed" = bounds::JOIN_TIMEOUT.to_string()))]
    pub join_timeout: TextDuration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            drain_timeout: TextDuration::from_secs(10),
            drain_window: None,
            join_timeout: TextDuration::from_secs(5),
        }
    }
}

/// `[shutdown]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutdownSettings {
    /// From the order to drain until connections are cut.
    pub drain_timeout: Duration,
    /// Over how long the closes are spread; at most `drain_timeout`.
    pub drain_window: Duration,
    /// From the cut until a shard that has not ended is left behind.
    pub join_timeout: Duration,
}

impl Shutdown {
    pub(in crate::config) fn check(
        &self,
        close_timeout: TextDuration,
        checker: &mut Checker,
    ) -> ShutdownSettings {
        let half = TextDuration::from_millis(self.drain_timeout.as_millis() / 2);
        let window = self.drain_window.unwrap_or(half);
        let settings = ShutdownSettings {
            drain_window: checker.duration("shutdown.drain_window", window, &bounds::DRAIN_TIMEOUT),
            drain_timeout: checker.duration(
                "shutdown.drain_timeout",
                self.drain_timeout,
                &bounds::DRAIN_TIMEOUT,
            ),
            join_timeout: checker.duration(
                "shutdown.join_timeout",
                self.join_timeout,
                &bounds::JOIN_TIMEOUT,
            ),
        };
        if window > self.drain_timeout {
            checker.refuse_relation(
                "shutdown.drain_window",
                &["shutdown.drain_timeout"],
                format!("\"{window}\""),
                format!(
                    "must be at most shutdown.drain_timeout ({}), which cuts what is left",
                    self.drain_timeout
                ),
            );
        }
        if self.drain_timeout < close_timeout {
            // No fault: a short drain is a choice, but one with a consequence that the other key hides.
            checker.note(format!(
                "shutdown.drain_timeout ({}) is shorter than connections.close_timeout ({close_timeout}): on shutdown it cuts the wait for close frames short",
                self.drain_timeout,
            ));
        }
        settings
    }
}
