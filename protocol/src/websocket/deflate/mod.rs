//! permessage-deflate (RFC 7692): agreeing on it, and the two directions of it.
//!
//! **What lives here.** The offer and its answer, in both roles ([`negotiate`], [`Offer`], [`Negotiated`]); [`Deflater`], which
//! shortens what is sent; [`Inflater`], which the [`Decoder`](super::Decoder) is lent for what is received.
//!
//! **What does not.** Which messages are worth compressing and how much memory contexts may take (`shards` decides); frames
//! (`frame`, and the decoder's rules for RSV1).
//!
//! **Invariants.**
//! * Without context takeover a message is compressed by itself: one [`Deflater`] and one [`Inflater`] serve any number of
//!   connections, and an idle connection holds nothing. Both allocate at first use.
//! * What is inflated is bounded while it is inflated: never more than the limit and one byte. A message by itself is counted before
//!   it is kept: what is too large makes nothing grow, and is seen to be too large while it is gathered. One that may refer back cannot
//!   be inflated twice, and costs the limit before it is refused.
//! * Whatever a peer offers, answers or compresses, nothing here panics: window sizes are checked before zlib-rs sees them,
//!   which asserts on a bad one.
//! * What is sent is never longer than what it stands for: [`Deflater`] gives nothing then, and the message goes out plain.
//!
//! **Who calls in.** `shards` and the engine's `listen` (server side), clients and load test (client side); calls zlib-rs.
//! **Tests**: in `tests/` here; with frames in `../tests/deflate.rs`; counted memory in `protocol/tests/codec_memory.rs`.

mod deflater;
mod inflater;
mod negotiation;
mod parameters;

#[cfg(test)]
mod tests;

pub use deflater::{DeflateContext, Deflater};
pub use inflater::{InflateContext, Inflater};
pub use negotiation::{Agreement, AnswerError, Direction, Negotiated, Offer, negotiate};

/// Largest window there is, as a power of two: 32 KiB (RFC 7692 section 7.1.2). What is inflated is inflated with this one,
/// because a larger window reads whatever a smaller one wrote.
pub const WINDOW_BITS_MAX: u8 = 15;

/// Smallest window a peer may ask for. zlib-rs has none that small: see [`Deflater`].
pub const WINDOW_BITS_MIN: u8 = 8;

/// What ends a flushed message and is left out on the wire (section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
