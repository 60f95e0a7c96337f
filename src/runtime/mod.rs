//! Where shardwire meets the operating system: cores, threads, clocks, listeners, and the driver
//! that moves bytes.
//!
//! **What lives here.** The [`Driver`] seam and its implementations: [`Uring`] (one raw io_uring per
//! shard, more where connections are direct descriptors) and [`Epoll`], where io_uring is denied; the shard's thread, with a glommio executor
//! under the ring ([`spawn_shard`]); the [`Clock`] and the [`Bell`]; the group of listeners that share a port and the kernel filter that
//! places connections by address; the checks before the start, and which cores there are.
//!
//! **What does not.** No WebSocket, no TLS, no shard state, no configuration: sizes and addresses
//! come in as plain values. Nothing here decides what a connection may do or where it lives.
//! Whoever uses [`Driver`] does the deciding, in `src/engine` and `src/transport`.
//!
//! **Invariants.**
//! - Only this room names glommio, io_uring and libc, and only here is there `unsafe`, each block
//!   with its argument.
//! - A stale [`SocketId`] reaches nobody: not by a call, not by a completion.
//! - A receive buffer is the kernel's or the caller's, never both. They are the only receive
//!   memory, a fixed amount per shard.
//! - The driver's own state is at most 24 bytes per socket, and it allocates nothing per socket.
//! - Once `Stopped` was reported, every byte of the stream is either delivered or still in the
//!   socket: a hand-off loses none.
//! - A shard blocks in one place only, [`Driver::wait`], and any thread can end that by its
//!   [`Bell`].
//!
//! **What is absent.** There is no asynchronous `accept`, `read` or `write` through glommio: its
//! sockets take ten system calls to wake for one message. Direct descriptors are not used where files
//! suffice: they cost as much, and hide the sockets from the operator.
//!
//! **Who calls in.** `src/engine` (start, join, checks), `src/listen` and `src/transport` (through
//! [`Driver`]). This room calls nobody of the house.
//!
//! **Tests.** Beside the code for tables and arithmetic; `tests/` in this room for everything that
//! needs real sockets on loopback, one file per behaviour. They run with the ring, with epoll where
//! `SHARDWIRE_SHARDS__DRIVER=epoll` is set, and with direct descriptors, three to a table, where
//! `SHARDWIRE_SHARDS__DIRECT_DESCRIPTORS=on` is; `TEST_QUIET_SOCKETS` makes every socket count as silent.

pub mod allocator;
pub mod bell;
pub mod clock;
pub mod cores;
pub mod driver;
pub mod epoll;
pub mod error;
pub mod listener;
pub mod preflight;
pub mod reuseport;
pub mod shard_driver;
pub mod shard_thread;
mod sockets;
pub mod uring;

#[cfg(test)]
mod tests;

pub use bell::Bell;
pub use clock::Clock;
pub use driver::{BufferId, Completion, Driver, DriverOptions, Outgoing, SocketId};
pub use epoll::Epoll;
pub use error::RuntimeError;
pub use listener::{accept_with_first_bytes, listen_group};
pub use preflight::PreflightError;
pub use reuseport::attach_ip_hash;
pub use shard_driver::{DriverKind, ShardDriver};
pub use shard_thread::{MAX_BLOCK, ShardLoop, ShardThread, spawn_shard};
pub use uring::Uring;
