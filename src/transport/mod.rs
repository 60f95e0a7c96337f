//! Sockets of one shard: bytes in, outbox out.
//!
//! **Lives here:** what each socket is at the moment ([`SocketState`]), one coalesced write per connection and turn
//! (`flush.rs`), unfinished plain answers, the lingering close that lets a peer read our last words, and TLS (`tls/`).
//! **Does not:** what bytes mean (`protocol/`), what is to be sent (`shards/`), how the kernel is asked (`runtime/`).
//! **Invariants:** every adopted socket has one entry until it is closed or released; a lingering socket is read and thrown away, and
//! closed at a deadline; timeouts of one kind are equal, so their queues are in order of time.
//! **Called by:** `engine/shard_loop`. **Calls:** the driver, the shard's outbox.
//! **Tests:** `tests/closing.rs`, `tests/bad_input.rs` over real sockets.

mod flush;
mod sockets;
pub(crate) mod tls;

pub(crate) use flush::{Flushed, Written, flush, note_written, write_some};
pub(crate) use sockets::{
    Deadlines, HandingOff, Responding, SocketState, Sockets, Stage, Verifying, token_of,
};
