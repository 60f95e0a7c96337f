//! `[handlers]`: the application's own message handlers, in a program that embeds the engine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::bounds;
use crate::config::check::Checker;
use crate::config::text::TextDuration;

/// The application's own message handlers, in a program that embeds the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Handlers {
    /// How long a handler may take, awaiting included. One that takes longer is given up where it awaits, and its client is told
    /// `Handler timeout`; what it did before stays done.
    #[schemars(extend("x-allowed" = bounds::HANDLER_TIMEOUT.to_string()))]
    pub timeout: TextDuration,
}

impl Default for Handlers {
    fn default() -> Self {
        Self {
            timeout: TextDuration::from_secs(30),
        }
    }
}

/// `[handlers]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerSettings {
    /// From the call until the handler is given up.
    pub timeout_ms: u64,
}

impl Handlers {
    pub(in crate::config) fn check(&self, checker: &mut Checker) -> HandlerSettings {
        HandlerSettings {
            timeout_ms: checker.milliseconds(
                "handlers.timeout",
                self.timeout,
                &bounds::HANDLER_TIMEOUT,
            ),
        }
    }
}
