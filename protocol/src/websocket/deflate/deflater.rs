//! Shortening what is sent.

use super::{TAIL, WINDOW_BITS_MAX};
use std::fmt;
use zlib_rs::{Deflate, DeflateFlush, Status};

/// Smallest window of zlib-rs, which panics on a smaller one for a raw stream.
const ZLIB_BITS_MIN: u8 = 9;

/// How many windows it knows: 9 to 15.
const WINDOWS: usize = (WINDOW_BITS_MAX - ZLIB_BITS_MIN) as usize + 1;

/// Bytes of the working buffer that are kept between messages; a larger one is freed by [`Deflater::release`].
const KEPT_BYTES_MAX: usize = 256 << 10;

/// Compresses the messages of any number of connections, each message by itself; and, with a [`DeflateContext`] of its own,
/// those of a connection that may refer back.
///
/// Holds nothing until it is used, then one stream for each window size in use: 380 KB for the largest, which nearly all
/// clients take, 250 KB and more for the others. For a client whose window is smaller than a message one of the
/// others is needed; where the message fits into the client's window, the largest does, because nothing in it can be further
/// back than its beginning. zlib-rs has no window of 256 bytes, so a client that asks for that one gets longer messages plain.
pub struct Deflater {
    level: u8,
    streams: [Option<Deflate>; WINDOWS],
    out: Vec<u8>,
}

/// What one connection has sent, for later messages to refer to (context takeover, section 7.2.3.2): up to 380 KB of heap.
pub struct DeflateContext {
    stream: Deflate,
    window_bits: u8,
}

impl Deflater {
    /// `level` from 1 (fastest) to 9 (shortest); others are taken as the nearest of these.
    pub fn new(level: u8) -> Deflater {
        Deflater {
            level: level.clamp(1, 9),
            streams: [const { None }; WINDOWS],
            out: Vec::new(),
        }
    }

    /// Compresses one message by itself, for receivers with a window of at least `window_bits`. `None` when that does not make
    /// it shorter.
    pub fn deflate(&mut self, message: &[u8], window_bits: u8) -> Option<&[u8]> {
        let fits = message.len() <= 1 << window_bits.min(WINDOW_BITS_MAX);
        let window_bits = if fits { WINDOW_BITS_MAX } else { window_bits };
        let index = window_bits.checked_sub(ZLIB_BITS_MIN)?;
        let stream = self.streams.get_mut(usize::from(index))?;
        let stream = match stream {
            Some(stream) => {
                stream.reset();
                stream
            }
            None => stream.insert(new_stream(self.level, window_bits)),
        };
        compress(stream, message, &mut self.out)
    }

    /// Compresses one message that may refer back to what `context` has seen. `None` when that does not make it shorter: it
    /// must be sent plain then, and the next one begins anew, which a sender may do at any time.
    pub fn deflate_with(&mut self, context: &mut DeflateContext, message: &[u8]) -> Option<&[u8]> {
        let compressed = compress(&mut context.stream, message, &mut self.out);
        if compressed.is_none() {
            context.stream.reset();
        }
        compressed
    }

    /// A context with nothing in it. `None` for a window that zlib-rs does not have.
    pub fn new_context(&self, window_bits: u8) -> Option<DeflateContext> {
        if !(ZLIB_BITS_MIN..=WINDOW_BITS_MAX).contains(&window_bits) {
            return None;
        }
        Some(DeflateContext {
            stream: new_stream(self.level, window_bits),
            window_bits,
        })
    }

    /// Frees what a large message has made it hold.
    pub fn release(&mut self) {
        if self.out.len() > KEPT_BYTES_MAX {
            self.out = Vec::new();
        }
    }
}

impl DeflateContext {
    /// Heap a context of this window holds from the moment it is made, in bytes (zlib-rs's tables do not shrink with it).
    pub const fn heap_bytes(window_bits: u8) -> usize {
        248_976 + (4 << window_bits)
    }
}

fn new_stream(level: u8, window_bits: u8) -> Deflate {
    debug_assert!((ZLIB_BITS_MIN..=WINDOW_BITS_MAX).contains(&window_bits));
    Deflate::new(i32::from(level), false, window_bits)
}

/// The compressed message without its tail, in `out`; `None` if it is not shorter than `message`.
fn compress<'o>(stream: &mut Deflate, message: &[u8], out: &'o mut Vec<u8>) -> Option<&'o [u8]> {
    // No more than what would be of use, so that a message which does not shrink is given up early.
    let room = message.len() + TAIL.len();
    if out.len() < room {
        out.resize(room, 0);
    }
    let (read_before, written_before) = (stream.total_in(), stream.total_out());
    let status = stream.compress(message, &mut out[..room], DeflateFlush::SyncFlush);
    let read = stream.total_in() - read_before;
    let written = usize::try_from(stream.total_out() - written_before).ok()?;
    // A full buffer may be one that had more to take; then the message is not shorter by a single byte either.
    if status != Ok(Status::Ok) || read != message.len() as u64 || written >= room {
        return None;
    }
    let compressed = out[..written].strip_suffix(&TAIL)?;
    (compressed.len() < message.len()).then_some(compressed)
}

impl fmt::Debug for Deflater {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Deflater")
            .field("level", &self.level)
            .field("streams", &self.streams.iter().flatten().count())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for DeflateContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DeflateContext")
            .field("window_bits", &self.window_bits)
            .finish_non_exhaustive()
    }
}
