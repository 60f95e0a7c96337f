//! The engine: shards on their cores, started, reached, drained and joined.
//!
//! **Lives here:** [`Engine`] and its builder (`builder.rs`), [`EngineHandle`] for everybody outside (`handle.rs`), each shard's
//! inbox from outside (`inbox.rs`), a new certificate while it runs (`certificates.rs`), and the loop that joins one driver to one shard (`shard_loop/`).
//! **Does not:** decide anything about connections or channels (`shards/`), name the runtime's libraries (`runtime/`).
//! **Invariants:** one loop owns one shard and one driver; nobody else touches them; whoever puts work into a queue of a shard
//! rings its bell if it sleeps; phases only go forward: starting, running, draining, stopped.
//! **Called by:** `main.rs`, embedding services. **Calls:** `config/`, `runtime/`, `listen/`, `transport/`, `shards/`.
//! **Tests:** `tests/` at the root, over real sockets.

mod builder;
mod certificates;
mod ending;
mod error;
mod handle;
mod inbox;
mod shard_loop;

pub use builder::{Engine, EngineBuilder};
pub use error::{EngineError, PublishError, ReloadError, StartError};
pub use handle::{EngineHandle, Pending};
pub(crate) use inbox::Inboxes;
