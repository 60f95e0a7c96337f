//! `shardwire`: a sharded, thread-per-core WebSocket engine for services that hold very many live connections and must
//! answer fast. This crate WAITS: sockets, cores, clocks, and everybody outside.
//!
//! The house, in the direction data flows:
//!
//! | room | is |
//! | --- | --- |
//! | [`auth`] | who is at the other end: verifiers, and the threads they run on |
//! | [`config`] | what an operator writes, checked once into settings |
//! | [`engine`] | build, start, reach, drain, join: [`Engine`], [`EngineHandle`] |
//! | `runtime` | the only room that names glommio and io_uring: driver, shard threads, clock, bell, start-up checks |
//! | [`handlers`] | the application's seam: message handlers, middleware, hooks |
//! | `listen` | from an accepted socket to a connection, or to a plain HTTP answer |
//! | `transport` | sockets: bytes in, outbox out |
//! | [`storage`] | logs of channels that outlive the process: the store, and the thread it works on |
//! | `admin` | the port for operators: health, readiness, metrics, HTTP API |
//! | `testing` | with the feature of that name: an application's handlers on a simulated engine |
//! | [`telemetry`] | logs, metrics, the watchdog |
//!
//! What a connection may do, who gets what and in which order is decided in the crate `shardwire-shards`; what bytes mean, in
//! `shardwire-protocol`. `docs/architecture.md` walks a message through all of it.

mod admin;
pub mod auth;
pub mod config;
pub mod engine;
pub mod handlers;
mod listen;
pub mod runtime;
pub mod storage;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
mod transport;

pub use engine::{
    CloseError, DocumentError, Engine, EngineBuilder, EngineError, EngineHandle, Notification,
    NotificationPage, NotificationPages, NotifyError, Pending, PendingDocument, PendingEdit,
    PendingInbox, PendingNotification, PendingPresence, PendingPublication, PerShard, Phase,
    PresenceError, PublishError, ReloadError, Reloaded, StartError, StoredNotification, Unreached,
};
pub use handlers::{
    Context, Failure, FailureCause, FromMessage, HandlerError, Json, Message, Next, TagError,
};
pub use shardwire_protocol::text;
pub use shardwire_shards::permissions::{Access, Action};
pub use shardwire_shards::search;
pub use shardwire_shards::vocabulary::{
    Audience, Change, ChannelMembers, CloseCause, ConnectionId, DocumentText, Epoch,
    NotificationId, Position, Presence, PresenceChange, PublishOptions, SentNotification,
};
pub use storage::{Health as StorageHealth, StorageCounts};
