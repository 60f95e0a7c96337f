//! `[log]`: what the engine tells its operator.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the engine tells its operator, on standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// One line per event, for eyes (`"text"`) or for programs (`"json"`).
    pub format: LogFormat,

    /// The least important events that are still told. Nothing is told per message above `"trace"`, which only debug builds contain.
    /// The variable `RUST_LOG` goes before it, and can choose by module: `RUST_LOG=info,shardwire::listen=debug`.
    #[schemars(extend("x-live" = true))]
    pub level: LogLevel,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: LogLevel::Info,
        }
    }
}

/// How important an event must be to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogLevel {
    /// Nothing at all.
    Off,
    /// What somebody must look at.
    Error,
    /// What somebody should look at.
    Warn,
    /// What happens once in a while: start, stop, drain.
    Info,
    /// What happens per connection.
    Debug,
    /// What happens per message.
    Trace,
}

impl fmt::Display for LogLevel {
    /// As it is written in a configuration, which is also how a `RUST_LOG` filter spells it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        })
    }
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogFormat {
    /// For eyes.
    Text,
    /// One JSON object per line.
    Json,
}

/// `[log]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// The least important events that are told.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

impl Log {
    pub(in crate::config) fn check(&self) -> LogSettings {
        LogSettings {
            level: self.level,
            format: self.format,
        }
    }
}
