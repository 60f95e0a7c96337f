//! TLS between the driver and everything that reads plaintext: ciphertext in, plaintext out, and back. No socket in here.
//!
//! **Lives here:** the session of one socket ([`Session`]), and writing a connection's outbox through it (`flush.rs`).
//! **Does not:** certificates and the choice of versions (`listen/certificate`), moving bytes (`runtime/`), deciding what a
//! session that failed or ended means for its connection (`engine/shard_loop`).
//! **Invariants:** an idle session holds rustls' keys and state and no buffer (about 2.3 KB in all, see
//! docs/decisions/0007-tls-sessions-without-buffers.md); of ciphertext that came it keeps less than one record, of ciphertext to
//! be sent at most what one write left over; sealed bytes leave in the order they were sealed; a session that failed says why
//! by an alert and is not used again.
//! **Placement:** a session is plain data and can change its thread. Under `user-hash` the user is known only from the
//! request, which is inside TLS, so the session moves with its socket, half a record included; handing off before the handshake would
//! need the name first. Under `ip-hash` the socket goes home before a byte is read, so the handshake is done there, and under
//! `accept` nothing moves. No placement makes a client shake hands twice.
//! **Called by:** `engine/shard_loop`. **Calls:** rustls, the driver and the shard's outbox (`flush.rs`).
//! **Tests:** `tests.rs` here, against rustls' client in memory; over real sockets in `tests/tls.rs` and `tests/foreign`.

mod flush;
mod session;
#[cfg(test)]
mod tests;

pub(crate) use flush::{Sealing, flush_sealed, send_unsent};
pub(crate) use session::{Progress, Session, SessionError};
