//! Leaving: drained, waited for, joined.

use std::sync::PoisonError;
use std::thread::JoinHandle;
use std::time::Duration;

use shardwire_shards::vocabulary::ShardId;

use super::error::EngineError;
use super::handle::EngineHandle;
use super::inbox::Item;
use super::phase::Phase;
use crate::admin::AdminThread;
use crate::runtime::ShardThread;

/// How close to each other connections are closed at most while the engine is emptied: a thousand a second, so that a small engine
/// is empty at once and a large one uses the window it was given.
const DRAIN_PACE: Duration = Duration::from_millis(1);

/// Every thread of an engine.
#[derive(Debug, Default)]
pub(super) struct Threads {
    pub(super) shards: Vec<ShardThread>,
    pub(super) watchdog: Option<JoinHandle<()>>,
    pub(super) admin: Option<AdminThread>,
}

impl EngineHandle {
    /// Empties the engine: not ready any more, no new connections; every client is told `{"type":"reconnect","delay":…}` and
    /// closed with code 4200 (come back at once) at its own moment within `shutdown.drain_window`; what waits is flushed; then
    /// the shards end. Returns as soon as every shard has been told; [`wait`](Self::wait) waits for the end.
    pub fn drain(&self) {
        let shutdown = self.live(|live| live.settings().shutdown.clone());
        let connections = u32::try_from(self.active_connections()).unwrap_or(u32::MAX);
        let window = shutdown.drain_window.min(DRAIN_PACE * connections);
        let deadline_ms = self
            .inner
            .clock
            .elapsed_ms()
            .saturating_add(as_ms(shutdown.drain_timeout));
        if self.inner.phase.advance(Phase::Draining) {
            tracing::info!(connections, ?window, "draining");
        }
        for shard in self.inner.placement.all() {
            self.insist(shard, || Item::Drain {
                window_ms: as_ms(window),
                deadline_ms,
            });
        }
    }

    /// Puts an item into a shard's inbox although it is full: rare and important, so rather wait for room than leave a shard
    /// out. A shard that has ended needs no telling, and one that stands still gets no more than `drain_timeout`.
    pub(super) fn insist(&self, shard: ShardId, item: impl FnOnce() -> Item) {
        let patience = self.live(|live| live.settings().shutdown.drain_timeout);
        let until_ms = self.inner.clock.elapsed_ms() + as_ms(patience);
        let mut item = item();
        while let Err(refused) = self.inner.inboxes.send(shard, item) {
            if self.inner.endings.any() || self.inner.clock.elapsed_ms() >= until_ms {
                return;
            }
            item = refused;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Blocks until the engine has ended: drained by [`drain`](Self::drain), or broken. When one shard broke, the others are
    /// drained, because a node without one of its shards would serve some names and not others.
    ///
    /// # Errors
    /// [`EngineError`] when a shard panicked or did not end, or when connections had to be cut after `drain_timeout`. Of
    /// several callers one gets the error.
    pub fn wait(&self) -> Result<(), EngineError> {
        self.inner.endings.wait_for_one();
        self.drain();
        let shutdown = self.live(|live| live.settings().shutdown.clone());
        let patience = shutdown.drain_timeout + shutdown.join_timeout;
        // Whoever else waits does so at this lock.
        self.with_threads(|threads| {
            let mut result = Ok(());
            for thread in threads.shards.drain(..) {
                if let Err(error) = thread.join(Some(patience)) {
                    tracing::error!(%error, "a shard did not end in order");
                    result = Err(EngineError::Shard(error));
                }
            }
            // Shards ask for nothing any more: what they have asked for is stored.
            if let Some(storage) = &self.inner.storage {
                storage.stop();
            }
            let connections = self.inner.node_count.get();
            if result.is_ok() && connections > 0 {
                result = Err(EngineError::Cut { connections });
            }
            self.inner.phase.advance(Phase::Stopped);
            if let Some(watchdog) = threads.watchdog.take() {
                // It ends with the first loop, and cannot panic but for a fault of ours, which it has logged.
                let _ = watchdog.join();
            }
            if let Some(admin) = threads.admin.take() {
                admin.stop();
            }
            result
        })
    }

    /// [`drain`](Self::drain), then [`wait`](Self::wait).
    ///
    /// # Errors
    /// As `wait`.
    pub fn drain_and_stop(&self) -> Result<(), EngineError> {
        self.drain();
        self.wait()
    }

    pub(super) fn with_threads<T>(&self, f: impl FnOnce(&mut Threads) -> T) -> T {
        f(&mut self
            .inner
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner))
    }
}

fn as_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
