//! A new certificate while the engine runs: looked for now and then, read, given to every shard.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;

use super::error::{ReloadError, StartError};
use super::handle::EngineHandle;
use super::inbox::Item;
use crate::config::{Faults, TlsSettings, read_pair};
use crate::listen::certificate::{Watch, server_config};

/// The pair of files that an engine's sessions are made with.
#[derive(Debug)]
pub(super) struct Certificates {
    watch: Mutex<Watch>,
    interval: Duration,
}

impl Certificates {
    /// Reads the pair for the first time.
    pub(super) fn read(settings: &TlsSettings) -> Result<(Self, Arc<ServerConfig>), StartError> {
        let watch = Watch::new(&settings.certificate, &settings.key);
        let config = config_of(&settings.certificate, &settings.key)?;
        let certificates = Self {
            watch: Mutex::new(watch),
            interval: settings.reload_interval,
        };
        Ok((certificates, config))
    }
}

fn config_of(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, PairError> {
    let pair = read_pair(certificate, key)?;
    Ok(server_config(pair)?)
}

/// Why a pair cannot be used.
#[derive(Debug)]
enum PairError {
    Files(Faults),
    Tls(rustls::Error),
}

impl From<Faults> for PairError {
    fn from(faults: Faults) -> Self {
        Self::Files(faults)
    }
}

impl From<rustls::Error> for PairError {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

impl From<PairError> for StartError {
    fn from(error: PairError) -> Self {
        match error {
            PairError::Files(faults) => Self::Config(faults),
            PairError::Tls(error) => Self::Tls(error.to_string()),
        }
    }
}

impl From<PairError> for ReloadError {
    fn from(error: PairError) -> Self {
        match error {
            PairError::Files(faults) => Self::Files(faults),
            PairError::Tls(error) => Self::Tls(error.to_string()),
        }
    }
}

impl EngineHandle {
    /// Reads the certificate and its key again (`listen.tls`) and, if they belong together, shows them to every client that connects
    /// from now on. Open connections stay as they are. The engine does the same by itself when it sees that the files have changed.
    ///
    /// # Errors
    /// [`ReloadError`]; the certificate in use stays in use.
    pub fn reload_certificate(&self) -> Result<(), ReloadError> {
        let certificates = self.inner.certificates.as_ref().ok_or(ReloadError::Plain)?;
        let mut watch = certificates
            .watch
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Seen now: the look that is due in a while need not read it again.
        watch.has_changed();
        self.use_pair(&watch)
    }

    /// Reads the pair if it has changed.
    fn look_for_a_new_pair(&self) {
        let Some(certificates) = &self.inner.certificates else {
            return;
        };
        let mut watch = certificates
            .watch
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if watch.has_changed() {
            // Told where it happened; the next change is tried again.
            let _ = self.use_pair(&watch);
        }
    }

    fn use_pair(&self, watch: &Watch) -> Result<(), ReloadError> {
        match config_of(watch.certificate(), watch.key()) {
            Ok(config) => {
                for shard in self.inner.placement.all() {
                    self.insist(shard, || Item::Certificate(Arc::clone(&config)));
                }
                tracing::info!(
                    certificate = %watch.certificate().display(),
                    "new certificate: clients that connect from now on see it"
                );
                Ok(())
            }
            Err(error) => {
                let error = ReloadError::from(error);
                for line in error.to_string().lines() {
                    tracing::error!("the new certificate is not used, the old one stays: {line}");
                }
                Err(error)
            }
        }
    }

    /// Starts to look at the files now and then, until the engine ends.
    pub(super) fn watch_certificates(&self) -> std::io::Result<()> {
        let Some(interval) = self
            .inner
            .certificates
            .as_ref()
            .map(|certificates| certificates.interval)
        else {
            return Ok(());
        };
        let engine = self.clone();
        std::thread::Builder::new()
            .name("certificates".to_owned())
            .spawn(move || {
                while !engine.inner.endings.wait_for_one_at_most(interval) {
                    engine.look_for_a_new_pair();
                }
            })
            .map(|_| ())
    }
}
