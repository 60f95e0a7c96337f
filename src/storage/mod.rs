//! What must outlive the process: logs of channels, inboxes and documents, kept on disk so that nothing acknowledged is lost when the node is killed.
//!
//! **Lives here:** the [`Store`] seam (`store.rs`), what is kept (`record.rs`), the store on disk (`disk/`) and the one in memory, for
//! tests (`memory.rs`); the thread they run on (`thread.rs`), and each shard's end of it (`link.rs`).
//! **Does not:** decide what is kept, for how long, and what an offset means: that are the rooms of `shards/`. It stores, in order, and
//! says when.
//! **Invariants:** *Stored* is said only of what a sync of the disk has covered, and never after an error of the disk. Requests of one
//! shard are carried out in their order, and answered in it, each exactly once. A shard never waits for the disk. What cannot be
//! read back whole is reported with its place and never passed over: such a store does not open, and such a log is not given out.
//! **Called by:** `engine/` (opens, restores, stops), `engine/shard_loop` (requests and answers). **Calls:** nobody of the house but
//! the shards' vocabulary.
//! **Tests:** `tests/` in this room: against a naive model, damage byte by byte, a full disk, kill -9; over sockets in
//! `tests/storage.rs` at the root.

mod bounds;
mod disk;
mod error;
mod link;
#[cfg(any(test, feature = "testing"))]
mod memory;
mod record;
mod store;
#[cfg(test)]
mod tests;
mod thread;

pub use disk::{DiskOptions, DiskStore};
pub use error::{Damage, StorageError};
pub use link::{StorageLink, restored};
#[cfg(feature = "testing")]
pub(crate) use {link::operation, memory::MemoryStore};

pub use record::{LogKind, LogName, Operation, Record, SavedLog};
pub use store::{CommitError, ReadError, Store};
pub use thread::{Health, Storage, StorageCounts};
