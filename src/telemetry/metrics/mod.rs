//! The engine's numbers, as Prometheus reads them.
//!
//! - **Lives here**: the list of all families of metrics (`families.rs`, those of the storage in `storage.rs`), and their text (`text.rs`).
//! - **Does not**: counting (`shards/`, `engine/shard_loop`), asking the shards (`engine/`), serving (`admin/`).
//! - **Invariants**: text and reference page come from one list; names are `shardwire_<room>_<noun>_<unit>`; label values are
//!   constants, so that no client can make a series; a shard that did not answer has no numbers but `shard_up` 0.
//! - **Tests**: `reference.rs` keeps `docs/reference/metrics.md` in step; `text.rs` reads back what it writes; the official
//!   Python parser reads it in `tests/foreign/test_operations.py`.

mod families;
#[cfg(test)]
mod reference;
mod storage;
mod text;

use std::time::Duration;

use super::ShardReport;
use crate::engine::Phase;
use crate::storage::{Health, StorageCounts};

/// What the engine says at one moment, ready to be written.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// One for each shard, in order.
    pub shards: Vec<ShardStatus>,
    /// Where the engine is in its life.
    pub phase: Phase,
    /// Since it was started.
    pub uptime: Duration,
    /// Connections of the whole node.
    pub connections: usize,
    /// How many there may be.
    pub max_connections: usize,
    /// How the storage is, and what it has done; none: nothing is kept on disk.
    pub storage: Option<(Health, StorageCounts)>,
}

/// One shard at one moment.
#[derive(Clone, Debug, Default)]
pub struct ShardStatus {
    /// Its numbers; none: it did not answer in time.
    pub report: Option<ShardReport>,
    /// The watchdog has seen it stand still.
    pub stalled: bool,
}

impl Snapshot {
    /// The text format of Prometheus, version 0.0.4.
    #[must_use]
    pub fn to_text(&self) -> String {
        text::write(self)
    }
}

/// The content type of [`Snapshot::to_text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
