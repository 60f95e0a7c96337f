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

/// First size of the buffer that is inflated into, and least size of one that is counted in.
const FIRST_BYTES: usize = 4 << 10;

/// Bytes of that buffer that are kept between messages; a larger one is freed by [`Inflater::release`].
const KEPT_BYTES_MAX: usize = 256 << 10;

/// Furthest that a compressed message can refer back (RFC 1951).
const HISTORY_BYTES: usize = 1 << WINDOW_BITS_MAX;

/// Inflates the messages of any number of connections, each message by itself; and, with an [`InflateContext`] of its own,
/// those of a connection that may refer back. Lent to [`Decoder::decode_with`](crate::websocket::Decoder::decode_with).
///
/// Holds nothing until it is used, then 48 KB and a buffer for the message. That buffer grows for a message by itself only once it
/// is known how long the message is, and that it is within the limit: what does not fit is inflated over what was there, and counted;
/// then once more, into a buffer of its size. So a message that is too large costs no memory at all, whatever it would inflate to, and
/// one that fits the buffer is inflated once.
#[derive(Default)]
pub struct Inflater {
    stream: Option<Inflate>,
    /// All of it initialised.
    out: Vec<u8>,
    handled_bytes: u64,
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
    /// Inflates one message, its tail left out, to at most `limit` bytes. It came in two parts, of which any may be empty.
    pub(crate) fn inflate(
        &mut self,
        context: Option<&mut InflateContext>,
        parts: [&[u8]; 2],
        limit: usize,
    ) -> Result<&[u8], DecodeError> {
        let len = match context {
            // It cannot be inflated a second time: what its stream refers back to has moved on by then.
            Some(context) => {
                let mut sink = Sink::new(&mut self.out, limit, Full::Grow, &mut self.handled_bytes);
                sink.message(&mut context.0, parts, Some(&TAIL))?;
                sink.len
            }
            None => {
                let mut len = self.by_itself(parts, Some(&TAIL_AND_END), limit)?;
                if len > self.out.len() {
                    self.make_room(len, limit);
                    len = self.by_itself(parts, Some(&TAIL_AND_END), limit)?;
                }
                len
            }
        };
        // The same bytes are as long the second time.
        self.out.get(..len).ok_or(DecodeError::Inflate)
    }

    /// Whether a message by itself that begins with these two parts is larger than `limit`, whatever follows. Nothing is kept. What else
    /// may be wrong with it is not found here: where it does not go on yet, it may go on as it should.
    pub(crate) fn exceeds(&mut self, parts: [&[u8]; 2], limit: usize) -> bool {
        let counted = self.by_itself(parts, None, limit);
        matches!(counted, Err(DecodeError::TooLarge { .. }))
    }

    /// Bytes that went in and bytes that came out so far, those that were only counted included: what its work is reckoned by.
    pub fn handled_bytes(&self) -> u64 {
        self.handled_bytes
    }

    /// Frees what a large message has made it hold.
    pub fn release(&mut self) {
        if self.out.len() > KEPT_BYTES_MAX {
            self.out = Vec::new();
        }
    }

    /// How long the message is. It is in the buffer if it fits there.
    fn by_itself(
        &mut self,
        parts: [&[u8]; 2],
        tail: Option<&[u8]>,
        limit: usize,
    ) -> Result<usize, DecodeError> {
        if self.out.is_empty() {
            self.out.resize(FIRST_BYTES, 0);
        }
        let stream = self.stream.get_or_insert_with(new_stream);
        stream.reset(false);
        let mut sink = Sink::new(&mut self.out, limit, Full::Wrap, &mut self.handled_bytes);
        sink.message(stream, parts, tail)?;
        Ok(sink.len)
    }

    /// A buffer for `len` bytes, `limit` at most. A small one is rounded up, so that messages that become longer little by little are
    /// inflated twice six times and not each time; a large one is freed soon.
    fn make_room(&mut self, len: usize, limit: usize) {
        let size = if len > KEPT_BYTES_MAX {
            len
        } else {
            len.next_power_of_two().min(limit)
        };
        // The old one first: what is in it is of no use, and both at once would be more than was counted.
        self.out = Vec::new();
        self.out = vec![0; size];
    }
}

fn new_stream() -> Inflate {
    Inflate::new(false, WINDOW_BITS_MAX)
}

/// What is done when the buffer is full and the message goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Full {
    /// It grows.
    Grow,
    /// It is written from its beginning again: the message is only counted from there on.
    Wrap,
}

/// Where a message is inflated into.
struct Sink<'o> {
    /// All of it initialised.
    out: &'o mut Vec<u8>,
    /// Where the next byte of the message is written.
    at: usize,
    /// Bytes of the message so far.
    len: usize,
    limit: usize,
    full: Full,
    handled_bytes: &'o mut u64,
}

impl<'o> Sink<'o> {
    fn new(out: &'o mut Vec<u8>, limit: usize, full: Full, handled_bytes: &'o mut u64) -> Self {
        Sink {
            out,
            at: 0,
            len: 0,
            limit,
            full,
            handled_bytes,
        }
    }

    /// Inflates a message, or without a tail the beginning of one.
    fn message(
        &mut self,
        stream: &mut Inflate,
        mut parts: [&[u8]; 2],
        tail: Option<&[u8]>,
    ) -> Result<(), DecodeError> {
        let takeover = self.full == Full::Grow;
        for _ in 0..ENDS_MAX {
            if !self.feed(stream, &mut parts[0])? && !self.feed(stream, &mut parts[1])? {
                // As it should be: the stream goes on behind the message.
                let Some(mut tail) = tail else {
                    return Ok(());
                };
                let ended = self.feed(stream, &mut tail)?;
                // Whether the message was cut off cannot be known while its stream goes on.
                let complete = ended != takeover && tail.is_empty();
                return if complete {
                    Ok(())
                } else {
                    Err(DecodeError::Inflate)
                };
            }
            stream.reset(false);
            if takeover && self.len > 0 {
                // The new stream may still refer to what the old one wrote. Of that, this message is at hand.
                let history = &self.out[self.len.saturating_sub(HISTORY_BYTES)..self.len];
                stream
                    .set_dictionary(history)
                    .map_err(|_| DecodeError::Inflate)?;
            }
            if parts.iter().all(|part| part.is_empty()) {
                // A sender that forgets the empty block behind its last one (section 7.2.3.4); nothing is missing.
                return Ok(());
            }
        }
        Err(DecodeError::Inflate)
    }

    /// Inflates what is left of `input` and takes it from there; true when the stream ends, perhaps before all is taken.
    fn feed(&mut self, stream: &mut Inflate, input: &mut &[u8]) -> Result<bool, DecodeError> {
        if input.is_empty() {
            return Ok(false);
        }
        loop {
            let room = self.room(input.len())?;
            let (read_before, written_before) = (stream.total_in(), stream.total_out());
            let status = stream.decompress(
                input,
                &mut self.out[self.at..self.at + room],
                InflateFlush::SyncFlush,
            );
            // Both are differences of at most the lengths handed in.
            let read = (stream.total_in() - read_before) as usize;
            let written = (stream.total_out() - written_before) as usize;
            *input = &input[read..];
            self.at += written;
            self.len += written;
            *self.handled_bytes += (read + written) as u64;
            let Ok(status) = status else {
                // What came before the fault counts first: else it would matter whether both are in one part.
                self.check()?;
                return Err(DecodeError::Inflate);
            };
            if status == Status::StreamEnd {
                self.check()?;
                return Ok(true);
            }
            if written < room {
                // It stopped for want of input, not of room.
                if !input.is_empty() {
                    return Err(DecodeError::Inflate);
                }
                return Ok(false);
            }
        }
    }

    /// Makes room for at least one byte, one byte beyond the limit included: how many there is room for.
    fn room(&mut self, input: usize) -> Result<usize, DecodeError> {
        self.check()?;
        if self.at == self.out.len() {
            match self.full {
                Full::Grow => self.grow(input),
                Full::Wrap => self.at = 0,
            }
        }
        let most = self.limit.saturating_add(1) - self.len;
        Ok((self.out.len() - self.at).min(most))
    }

    fn grow(&mut self, input: usize) {
        let most = self.limit.saturating_add(1);
        let wanted = self.len.saturating_mul(2).max(input.saturating_mul(4));
        let size = wanted.max(FIRST_BYTES).min(most);
        if size > KEPT_BYTES_MAX {
            // At once, because growing by doubling holds the old and the new buffer for a moment: a bomb would cost twice
            // the limit. What is reserved and not written to takes addresses, no memory.
            self.out.reserve_exact(most - self.out.len());
        }
        self.out.resize(size, 0);
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
