//! The engine: shards on their cores, started, reached, drained and joined.
//!
//! **Lives here:** [`Engine`] and its builder (`builder.rs`), [`EngineHandle`] for everybody outside (`handle.rs`, and a file for
//! each kind of thing it does), each shard's inbox from outside (`inbox.rs`), a new certificate while it runs (`certificates.rs`), and
//! the loop that joins one driver to one shard (`shard_loop/`).
//! **Does not:** decide anything about connections or channels (`shards/`), name the runtime's libraries (`runtime/`).
//! **Invariants:** one loop owns one shard and one driver; nobody else touches them; whoever puts work into a queue of a shard
//! rings its bell if it sleeps; phases only go forward: starting, running, draining, stopped.
//! **Called by:** `main.rs`, `admin/`, embedding services. **Calls:** `config/`, `admin/` (starting it), `telemetry/`, `runtime/`, `listen/`, `transport/`, `shards/`.
//! **Tests:** `tests/` at the root, over real sockets.

mod builder;
mod certificates;
mod documents;
mod ending;
mod error;
mod handle;
mod inbox;
mod inspect;
mod lifecycle;
mod live;
mod notify;
mod pending;
mod phase;
mod presence;
mod reach;
mod reload;
mod shard_loop;
#[cfg(feature = "testing")]
mod simulated;
mod storing;

pub use builder::{Engine, EngineBuilder};
pub use error::{
    CloseError, DocumentError, EngineError, NotifyError, PresenceError, PublishError, ReloadError,
    StartError,
};
pub use handle::EngineHandle;
pub(crate) use inbox::{Inboxes, Item};
pub use notify::{
    Notification, NotificationPage, NotificationPages, PendingInbox, PendingNotification,
    StoredNotification, Unreached,
};
pub use pending::{Pending, PendingDocument, PendingEdit, PendingPublication, PerShard};
pub use phase::Phase;
pub use presence::PendingPresence;
pub(crate) use reach::check_code;
pub use reload::Reloaded;
#[cfg(feature = "testing")]
pub(crate) use simulated::Simulated;
