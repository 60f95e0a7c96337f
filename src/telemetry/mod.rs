//! What the engine tells about itself.
//!
//! - **Lives here**: setting up the log of the server binary (`log.rs`); one shard's numbers as it tells them (`report.rs`,
//!   `turns.rs`); the text that Prometheus reads (`metrics/`); who notices that a shard stands still (`watchdog.rs`).
//! - **Does not**: the events themselves (every room logs its own, through `tracing`, where it handles them); counting (the
//!   shards do); serving the text (`admin/`).
//! - **Invariants**: standard output is never written to; a log that cannot be written never stops a shard; the library installs no
//!   subscriber by itself, because an embedding program has its own; every label value is a constant; a shard that does not
//!   answer in time is told as down, not left out.
//! - **Called by** `main.rs`, `engine/`, `admin/`; calls nobody.
//! - **Tests**: beside the code, `tests/admin.rs` over HTTP.

pub mod log;
pub mod metrics;
mod report;
mod turns;
mod watchdog;

pub use report::{ShardReport, Work};
pub use turns::{BOUNDS_NS, TurnTimes};
pub(crate) use watchdog::{Watch, Watchdog};
