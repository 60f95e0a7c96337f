//! What can change while the engine runs.

use shardwire_shards::ApplicationRoutes;

use crate::config::{Config, Settings};

/// The configuration in force.
#[derive(Debug)]
pub(super) struct Live {
    config: Config,
    settings: Settings,
    /// What the application handles; it never changes.
    routes: ApplicationRoutes,
    /// Whether clients are verified; that never changes either.
    verifies: bool,
}

impl Live {
    pub(super) fn new(
        config: Config,
        settings: Settings,
        routes: ApplicationRoutes,
        verifies: bool,
    ) -> Self {
        Self {
            config,
            settings,
            routes,
            verifies,
        }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn routes(&self) -> &ApplicationRoutes {
        &self.routes
    }

    pub(super) fn verifies(&self) -> bool {
        self.verifies
    }

    pub(super) fn max_connections(&self) -> usize {
        self.settings.connections.max_connections
    }
}
