//! `[echo]`: the endpoint `/echo`, which sends every message back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The endpoint `/echo`, which sends every message back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Echo {
    /// Whether `/echo` sends every message back as it came, text or binary, without the JSON protocol: for conformance suites and load
    /// tests. On a public address it is free work for strangers, so it is off there unless switched on.
    #[schemars(extend("x-default" = "`true` when listening on loopback only, else `false`"))]
    pub enabled: Option<bool>,
}

/// `[echo]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EchoSettings {
    /// Whether it is served.
    pub enabled: bool,
}

impl Echo {
    pub(in crate::config) fn check(&self, on_loopback: bool) -> EchoSettings {
        EchoSettings {
            enabled: self.enabled.unwrap_or(on_loopback),
        }
    }
}
