//! `[page]`: the page at `/`, on which a newcomer sees the engine work.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The page at `/`, on which a newcomer sees the engine work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Page {
    /// Whether `/` shows the built-in page: chat rooms, a shared document, notifications, and the connections per shard. On a public address
    /// it is off unless switched on.
    #[schemars(extend("x-default" = "`true` when listening on loopback only, else `false`"))]
    pub enabled: Option<bool>,
}

/// `[page]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageSettings {
    /// Whether it is served.
    pub enabled: bool,
}

impl Page {
    pub(in crate::config) fn check(&self, on_loopback: bool) -> PageSettings {
        PageSettings {
            enabled: self.enabled.unwrap_or(on_loopback),
        }
    }
}
