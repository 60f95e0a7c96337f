//! Changing the configuration of a running engine.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use shardwire_shards::vocabulary::Command;

use super::builder::{environment, shard_settings};
use super::error::StartError;
use super::handle::EngineHandle;
use super::inbox::Item;
use super::live::Live;
use crate::config::{Config, Settings};

/// What became of a new configuration.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reloaded {
    /// Keys whose new value holds from now on.
    pub applied: Vec<String>,
    /// Keys whose new value needs a restart; the old one stays in force.
    pub needs_restart: Vec<String>,
    /// The configuration in force, checked; for whoever has something of his own to change (the log).
    pub settings: Settings,
}

impl EngineHandle {
    /// Takes over of a new configuration what can change while the engine runs (`docs/reference/config.md` says of each key
    /// whether it can), and tells what cannot. Connections live on; limits hold for what comes.
    ///
    /// # Errors
    /// [`StartError`], with everything that is wrong with the new configuration; the old one stays in force as a whole.
    pub fn reload(&self, config: &Config) -> Result<Reloaded, StartError> {
        let environment = environment()?;
        config.check_with_files(&environment)?;
        let (settings, routes, verifies, reloaded) = self.live(|live| {
            let (merged, applied, needs_restart) = live.config().with_live_keys_of(config);
            let settings = merged.check(&environment)?;
            let (routes, verifies) = (live.routes().clone(), live.verifies());
            *live = Live::new(merged, settings.clone(), routes.clone(), verifies);
            let reloaded = Reloaded {
                applied,
                needs_restart,
                settings: settings.clone(),
            };
            Ok::<_, StartError>((settings, routes, verifies, reloaded))
        })?;
        let max_outgoing = settings.connections.max_outgoing_message_size;
        self.inner
            .max_outgoing
            .store(max_outgoing, Ordering::Relaxed);
        let settings = Arc::new(shard_settings(&settings, routes, verifies));
        for shard in self.inner.placement.all() {
            self.insist(shard, || {
                Item::Command(Command::Settings(Arc::clone(&settings)))
            });
        }
        Ok(reloaded)
    }
}
