//! What can change while the engine runs.

use crate::config::{Config, Settings};

/// The configuration in force.
#[derive(Debug)]
pub(super) struct Live {
    config: Config,
    settings: Settings,
}

impl Live {
    pub(super) fn new(config: Config, settings: Settings) -> Self {
        Self { config, settings }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn max_connections(&self) -> usize {
        self.settings.connections.max_connections
    }
}
