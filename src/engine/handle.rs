//! The engine as everybody outside its shards sees it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use shardwire_shards::NodeCount;
use shardwire_shards::notifications::NotificationSettings;
use shardwire_shards::placement::Placement;

use super::certificates::Certificates;
use super::ending::Endings;
use super::inbox::Inboxes;
use super::lifecycle::Threads;
use super::live::Live;
use super::phase::{Phase, PhaseFlag};
use crate::config::Secret;
use crate::runtime::Clock;
use crate::storage::{Health, Storage, StorageCounts};
use crate::telemetry::Watch;

/// A running engine. Cheap to clone; works from any thread and any async runtime; dropping it does not stop the engine.
///
/// | what | where |
/// | --- | --- |
/// | reaching clients: publish, broadcast, send, kick | `reach.rs` |
/// | inboxes: sending notifications, reading them | `notify.rs` |
/// | documents: read, edit, forget | `documents.rs` |
/// | asking: connections, channels, users, numbers | `inspect.rs` |
/// | leaving: drain, wait | `lifecycle.rs` |
/// | changing the configuration | `reload.rs` |
#[derive(Clone)]
pub struct EngineHandle {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) address: SocketAddr,
    pub(super) admin_address: Option<SocketAddr>,
    pub(super) placement: Placement,
    pub(super) inboxes: Inboxes,
    pub(super) node_count: NodeCount,
    pub(super) clock: Clock,
    pub(super) phase: PhaseFlag,
    pub(super) watch: Watch,
    /// Bytes a message of the embedding service may have; read for each of them, so not behind the lock of `live`.
    pub(super) max_outgoing: AtomicUsize,
    /// What can change while the engine runs.
    pub(super) live: Mutex<Live>,
    pub(super) threads: Mutex<Threads>,
    pub(super) endings: Endings,
    /// Where connections speak TLS.
    pub(super) certificates: Option<Certificates>,
    /// Where users have inboxes.
    pub(super) notifications: Option<NotificationSettings>,
    /// Where something is kept on disk.
    pub(super) storage: Option<Arc<Storage>>,
}

impl fmt::Debug for EngineHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineHandle")
            .field("address", &self.inner.address)
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}

impl EngineHandle {
    /// Where the engine listens; with port 0 in the configuration, the port it got.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.inner.address
    }

    /// Where the admin port listens, if `admin.address` is set.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.inner.admin_address
    }

    /// How many shards run.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.inner.placement.shards()
    }

    /// Connections now, those being closed included (contract M22).
    #[must_use]
    pub fn active_connections(&self) -> usize {
        self.inner.node_count.get()
    }

    /// Where the engine is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.inner.phase.get()
    }

    /// How the storage is: while it is not working, messages that are to be stored are refused, and everything else goes on. None when
    /// nothing is kept on disk.
    #[must_use]
    pub fn storage_health(&self) -> Option<Health> {
        self.inner.storage.as_ref().map(|storage| storage.health())
    }

    /// What the storage has done since the start. None when nothing is kept on disk.
    #[must_use]
    pub fn storage_counts(&self) -> Option<StorageCounts> {
        self.inner.storage.as_ref().map(|storage| storage.counts())
    }

    /// Whether new clients should be sent here: running, no shard stands still, and the storage has not failed (which only a restart
    /// mends; a full disk mends itself).
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.phase() == Phase::Running
            && !self.inner.watch.any_stalled()
            && self.storage_health() != Some(Health::Failed)
    }

    /// Shards that stand still: they have not given a sign of life for two seconds.
    #[must_use]
    pub fn stalled_shards(&self) -> Vec<u16> {
        let stalled = |shard: &u16| self.inner.watch.is_stalled(usize::from(*shard));
        (0..self.shards()).filter(stalled).collect()
    }

    /// The key to the admin port, if there is one, and whether others than this machine can reach that port.
    pub(crate) fn admin_access(&self) -> (Option<Secret>, bool) {
        self.live(|live| {
            let admin = &live.settings().admin;
            (admin.key.clone(), admin.is_public())
        })
    }

    /// Bytes one message of the embedding service may have (`connections.max_outgoing_message_size`).
    pub(crate) fn max_outgoing_message_size(&self) -> usize {
        self.inner.max_outgoing.load(Ordering::Relaxed)
    }

    pub(super) fn live<T>(&self, f: impl FnOnce(&mut Live) -> T) -> T {
        f(&mut self
            .inner
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner))
    }
}
