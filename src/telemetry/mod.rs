//! What the engine tells about itself.
//!
//! - **Lives here**: setting up the log of the server binary. (Gathering the shards' numbers is for this room too, once there are some.)
//! - **Does not**: the events themselves; every room logs its own, through `tracing`, where it handles them.
//! - **Invariants**: standard output is never written to; a log that cannot be written never stops a shard; the library installs no
//!   subscriber by itself, because an embedding program has its own.
//! - **Called by** `main.rs`; calls nobody.
//! - **Tests**: beside the code.

pub mod log;
