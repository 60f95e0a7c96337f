//! From an accepted socket to a WebSocket connection, or to a plain HTTP answer.
//!
//! **Lives here:** collecting the upgrade request (`upgrade.rs`), and what proxies say before or in it (`proxies.rs`); which path means
//! what (`routes.rs`), which pages' scripts may come (`origins.rs`), the page at `/` (`page.rs`); the certificate of `wss://`
//! (`certificate/`).
//! **Does not:** grammar and policy of HTTP and of proxies' headers (`protocol/`), TLS sessions (`transport/tls`), binding and steering
//! (`runtime/`), moving sockets between shards (`engine/`).
//! **Invariants:** who the client is, is told by the socket, or by proxies the operator trusts and nobody else; a request is at most 16 KiB and has one absolute deadline from accept; a request is scanned once; every
//! request is answered, a refused one with proper HTTP; nothing of a connection exists before its upgrade was answered.
//! **Called by:** `engine/shard_loop`. **Calls:** `protocol/handshake`. **Tests:** below and `tests/bad_input.rs`.

pub(crate) mod certificate;
mod origins;
mod page;
mod proxies;
mod routes;
mod upgrade;

pub(crate) use origins::Origins;
pub(crate) use proxies::{Introducing, Introduction, Proxies};
pub(crate) use routes::Routes;
pub(crate) use upgrade::{Arrival, Upgrading};

/// Sockets of one shard that may be in the middle of their upgrade at once. Each may hold 16 KiB, and half a record of TLS as well, so
/// this bounds what strangers can make a shard hold to 64 MiB, with TLS to 150; a crowd that connects at once waits in the kernel's
/// backlog before that.
pub(crate) const UPGRADING_MAX: usize = 4096;

/// How many of them one address may have whose request is still being read: a quarter, so that nobody alone keeps everybody else out
/// until the patience for upgrades ends. Many for an honest crowd behind one address, since each of them is done within a round trip.
/// Trusted proxies may have all.
pub(crate) const UPGRADING_PER_ADDRESS_MAX: usize = UPGRADING_MAX / 4;

/// Milliseconds a closed socket is read on so that the peer can take our last words (RFC 6455, 7.1.1, without a reset that
/// would throw them away).
pub(crate) const LINGER_MS: u64 = 2000;

/// Milliseconds a peer may take for a plain answer that its socket did not take at once. Answers are small enough for the kernel to take
/// them whole, unless it was given very small buffers: this is what a peer that never reads can hold then.
pub(crate) const RESPONDING_MS: u64 = 10_000;
