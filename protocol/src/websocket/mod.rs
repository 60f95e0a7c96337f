//! RFC 6455 frames: bytes to messages in place, messages to bytes.
//!
//! **What lives here.** [`Decoder`] (headers, masking, fragments, control frames, UTF-8, size limit), [`frame`] (writing),
//! [`mask()`], and [`deflate`] (permessage-deflate: agreeing on it, compressing, inflating).
//!
//! **What does not.** The close *handshake* (who answers, how long one waits: `shards` decides), ping timing, buffers of
//! sockets; which messages are worth compressing.
//!
//! **Invariants.**
//! * A data frame that is whole in the lent bytes is yielded in place: no copy, no allocation.
//! * What is held for a half-read message grows with bytes received, never with a length a peer announced.
//! * A decoder with nothing half-read holds no heap and is at most 64 bytes.
//! * The same bytes in other pieces give the same events, and an error at the same event.
//!
//! **Where bytes are kept while something is half-read:**
//!
//! ```text
//! header (at most 14 bytes)            inline in the Decoder
//! data payload, fragments              one contiguous buffer, unmasked and (text) already checked as UTF-8
//! control payload (at most 125 bytes)  beside it, since a control frame may come between two fragments
//! compressed message                   in that buffer as it came, but for its last piece; counted at some lengths on the way, and
//!                                      inflated at its end into the lent Inflater's
//! ```
//!
//! **Who calls in.** `shards` (server side), clients and load test (client side); calls [`crate::codes`] only.
//! **Tests**: beside the code, in `tests/` here (properties, attacks, comparison with tungstenite), and
//! `protocol/tests/allocations.rs`.

mod decoder;
pub mod deflate;
mod error;
pub mod frame;
mod gather;
mod header;
mod mask;

#[cfg(test)]
mod tests;

pub use decoder::Decoder;
pub use error::DecodeError;
pub use mask::mask;

/// Which end *we* are. A server requires masked input, a client unmasked input (RFC 6455 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We accepted the connection.
    Server,
    /// We opened it.
    Client,
}

/// What holds for many connections alike; lent to every call, so that it costs a connection nothing.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Which end we are.
    pub role: Role,
    /// Largest payload of one message, over all its fragments, in bytes. A larger one is refused at the header; a compressed
    /// one as soon as it is seen to inflate to more, or at the header if it is longer than a message of that size can be compressed to.
    pub max_message_size: usize,
}

/// What a connection that negotiated permessage-deflate is decoded with: see [`Decoder::decode_with`].
#[derive(Debug)]
pub struct Lent<'a> {
    /// One serves many connections.
    pub inflater: &'a mut deflate::Inflater,
    /// This connection's own, if its peer may refer back to earlier messages; always the same one then.
    pub context: Option<&'a mut deflate::InflateContext>,
}

impl Lent<'_> {
    /// The same, for one call.
    pub fn again(&mut self) -> Lent<'_> {
        Lent {
            inflater: &mut *self.inflater,
            context: self.context.as_deref_mut(),
        }
    }
}

/// Outcome of one [`Decoder::decode`].
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// How many bytes of the input were taken. They may have been unmasked and belong to `event` until it is dropped.
    pub consumed: usize,
    /// The message or control frame these bytes completed.
    pub event: Option<Event<'a>>,
}

/// Something whole that the peer sent. Borrowed from the input or from the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping, to be answered by a pong with the same payload (at most 125 bytes).
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The peer closes; nothing it sends after this counts, so the caller stops decoding. `None`: without a code.
    Close(Option<CloseFrame<'a>>),
}

/// Payload of a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseFrame<'a> {
    /// A code that may travel (see [`crate::codes::close::may_travel`]).
    pub code: u16,
    /// At most 123 bytes, often empty.
    pub reason: &'a str,
}
