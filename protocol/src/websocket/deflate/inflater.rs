//! Reading what a peer compressed.

use super::{TAIL, WINDOW_BITS_MAX};
use crate::websocket::DecodeError;
use std::fmt;
use zlib_rs::{Inflate, InflateFlush, Status};

/// The tail, and a final block with nothing in it. A message that is whole ends where that block can begin, and the
/// stream then ends exactly behind it; so one that was cut off is found out. Without takeover the stream has no further use.
const TAIL_AND_END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];

/// Ends of a stream inside one message that are taken. A sender that cannot flush ends the stream once (section 7.2.3.4).
/// Each begin of another costs time and may cost the peer only two bytes.
const ENDS_MAX: usize = 16;

/// First size of the buffer that is inflated into.
const FIRST_BYTES: usize = 4 << 10;

/// Bytes of that buffer that are kept between messages; a larger one is freed by [`Inflater::release`].
const KEPT_BYTES_MAX: usize = 256 << 10;

/// Furthest that a compressed message can refer back (RFC 1951).
const HISTORY_BYTES: usize = 1 << WINDOW_BITS_MAX;

/// Inflates the messages of any number of connections, each message by itself; and, with an [`InflateContext`] of its own,
/// those of a connection that may refer back. Lent to [`Decoder::decode_with`](crate::websocket::Decoder::decode_with).
///
/// Holds nothing until it is used, then 48 KB and a buffer for the message.
#[derive(Default)]
pub struct Inflater {
    stream: Option<Inflate>,
    out: Vec<u8>,
}

/// What one connection has received, for later messages to refer to (context takeover, section 7.2.3.2): 48 KB of heap. Must
/// live as long as its connection.
pub struct InflateContext(Inflate);

impl Default for InflateContext {
    fn default() -> Self {
        InflateContext(new_stream())
    }
}

impl InflateContext {
    /// Heap a context holds from the moment it is made, in bytes; the same for any window.
    pub const HEAP_BYTES: usize = 47_568;
}

impl Inflater {
    /// Inflates one message, its tail left out, to at most `limit` bytes.
    pub(crate) fn inflate(
        &mut self,
        context: Option<&mut InflateContext>,
        message: &[u8],
        limit: usize,
    ) -> Result<&[u8], DecodeError> {
        let mut sink = Sink {
            out: &mut self.out,
            len: 0,
            limit,
        };
        match context {
            Some(context) => sink.message(&mut context.0, message, &TAIL, true)?,
            None => {
                let stream = self.stream.get_or_insert_with(new_stream);
                stream.reset(false);
                sink.message(stream, message, &TAIL_AND_END, false)?;
            }
        }
        let len = sink.len;
        Ok(&self.out[..len])
    }

    /// Frees what a large message has made it hold.
    pub fn release(&mut self) {
        if self.out.len() > KEPT_BYTES_MAX {
            self.out = Vec::new();
        }
    }
}

fn new_stream() -> Inflate {
    Inflate::new(false, WINDOW_BITS_MAX)
}

/// Where a message is inflated into.
struct Sink<'o> {
    /// All of it initialised, `len` of it the message.
    out: &'o mut Vec<u8>,
    len: usize,
    limit: usize,
}

impl Sink<'_> {
    fn message(
        &mut self,
        stream: &mut Inflate,
        message: &[u8],
        tail: &[u8],
        takeover: bool,
    ) -> Result<(), DecodeError> {
        let mut rest = message;
        for _ in 0..ENDS_MAX {
            let Some(left) = self.feed(stream, rest)? else {
                // As it should be: the stream goes on behind the message.
                let complete = match self.feed(stream, tail)? {
                    // Whether the message was cut off cannot be known while its stream goes on.
                    None => takeover,
                    Some(left) => !takeover && left.is_empty(),
                };
                return if complete {
                    Ok(())
                } else {
                    Err(DecodeError::Inflate)
                };
            };
            stream.reset(false);
            if takeover && self.len > 0 {
                // The new stream may still refer to what the old one wrote. Of that, this message is at hand.
                let history = &self.out[self.len.saturating_sub(HISTORY_BYTES)..self.len];
                stream
                    .set_dictionary(history)
                    .map_err(|_| DecodeError::Inflate)?;
            }
            if left.is_empty() {
                // A sender that forgets the empty block behind its last one (section 7.2.3.4); nothing is missing.
                return Ok(());
            }
            rest = left;
        }
        Err(DecodeError::Inflate)
    }

    /// Inflates `input`: `None` when all of it was taken, else what is left behind the end of the stream.
    fn feed<'i>(
        &mut self,
        stream: &mut Inflate,
        mut input: &'i [u8],
    ) -> Result<Option<&'i [u8]>, DecodeError> {
        loop {
            let room = self.room(input.len())?;
            let (read_before, written_before) = (stream.total_in(), stream.total_out());
            let status = stream
                .decompress(
                    input,
                    &mut self.out[self.len..self.len + room],
                    InflateFlush::SyncFlush,
                )
                .map_err(|_| DecodeError::Inflate)?;
            // Both are differences of at most the lengths handed in.
            let read = (stream.total_in() - read_before) as usize;
            let written = (stream.total_out() - written_before) as usize;
            input = &input[read..];
            self.len += written;
            if status == Status::StreamEnd {
                self.check()?;
                return Ok(Some(input));
            }
            if written < room {
                // It stopped for want of input, not of room.
                if !input.is_empty() {
                    return Err(DecodeError::Inflate);
                }
                return Ok(None);
            }
        }
    }

    /// Makes room for at least one byte, one byte beyond the limit included: how many there is room for.
    fn room(&mut self, input: usize) -> Result<usize, DecodeError> {
        self.check()?;
        let most = self.limit.saturating_add(1);
        if self.out.len() == self.len {
            let wanted = self.len.saturating_mul(2).max(input.saturating_mul(4));
            let size = wanted.max(FIRST_BYTES).min(most);
            if size > KEPT_BYTES_MAX {
                // At once, because growing by doubling holds the old and the new buffer for a moment: a bomb would cost twice
                // the limit. What is reserved and not written to takes addresses, no memory.
                self.out.reserve_exact(most - self.out.len());
            }
            self.out.resize(size, 0);
        }
        Ok(self.out.len().min(most) - self.len)
    }

    fn check(&self) -> Result<(), DecodeError> {
        if self.len > self.limit {
            return Err(DecodeError::TooLarge { limit: self.limit });
        }
        Ok(())
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Inflater")
            .field("used", &self.stream.is_some())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for InflateContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("InflateContext")
    }
}
