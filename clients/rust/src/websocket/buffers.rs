//! Bytes on their way in and out.

use crate::message::{CloseFrame, Message};
use shardwire_protocol::websocket::frame::{self, Kind};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::ReadBuf;

use super::compression::Compressed;
use crate::net::ByteStream;

/// How much is read at once.
const CHUNK: usize = 16 << 10;

/// Bytes received and not decoded yet.
#[derive(Debug)]
pub(super) struct ReadBuffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// All bytes ever received.
    total: u64,
}

impl ReadBuffer {
    /// A buffer that begins with what came behind the upgrade's answer.
    pub(super) fn with(early: &[u8]) -> ReadBuffer {
        let mut bytes = vec![0; CHUNK.max(early.len())].into_boxed_slice();
        bytes[..early.len()].copy_from_slice(early);
        ReadBuffer {
            bytes,
            start: 0,
            end: early.len(),
            total: early.len() as u64,
        }
    }

    pub(super) fn rest(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Reads once from `io`; call when empty. Zero bytes are its end.
    pub(super) fn poll_fill(
        &mut self,
        io: &mut dyn ByteStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        debug_assert!(self.is_empty(), "decoding takes all that was read");
        self.clear();
        let mut window = ReadBuf::new(&mut self.bytes);
        ready!(Pin::new(io).poll_read(cx, &mut window))?;
        self.end = window.filled().len();
        self.total += self.end as u64;
        Poll::Ready(Ok(self.end))
    }
}

/// Frames not written yet.
#[derive(Debug)]
pub(super) struct WriteBuffer {
    bytes: Vec<u8>,
    written: usize,
    limit: usize,
    /// Whether the stream may hold bytes of ours back (TLS does) until it is flushed.
    unflushed: bool,
}

impl WriteBuffer {
    pub(super) fn new(limit: usize) -> WriteBuffer {
        WriteBuffer {
            bytes: Vec::new(),
            written: 0,
            limit,
            unflushed: false,
        }
    }

    /// Whether another message may be added.
    pub(super) fn has_room(&self) -> bool {
        self.bytes.len() - self.written < self.limit.max(1)
    }

    pub(super) fn message(&mut self, message: &Message, compressed: Option<&mut Compressed>) {
        let (kind, payload) = match message {
            Message::Text(text) => (Kind::Text, text.as_bytes()),
            Message::Binary(bytes) => (Kind::Binary, &**bytes),
            Message::Ping(bytes) => return self.frame(Kind::Ping, bytes),
            Message::Pong(bytes) => return self.frame(Kind::Pong, bytes),
            Message::Close(None) => return self.frame(Kind::Close, &[]),
            Message::Close(Some(CloseFrame { code, reason })) => return self.close(*code, reason),
        };
        match compressed {
            Some(compressed) => compressed.write(&mut self.bytes, kind, payload),
            None => self.frame(kind, payload),
        }
    }

    pub(super) fn close(&mut self, code: u16, reason: &str) {
        self.frame(Kind::Close, &frame::close_payload(code, reason));
    }

    pub(super) fn frame(&mut self, kind: Kind, payload: &[u8]) {
        frame::write_client(&mut self.bytes, kind, payload, rand::random());
    }

    /// Writes and flushes all of it.
    pub(super) fn poll_drain(
        &mut self,
        io: &mut dyn ByteStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.written < self.bytes.len() {
            let count = ready!(Pin::new(&mut *io).poll_write(cx, &self.bytes[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            self.unflushed = true;
        }
        // What a burst needed is not kept for ever.
        self.bytes.clear();
        self.written = 0;
        self.bytes.shrink_to(self.limit);
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
