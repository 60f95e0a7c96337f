//! Frames on their way out.

use rand::RngExt;
use shardwire_protocol::websocket::deflate::{Deflater, WINDOW_BITS_MAX};
use shardwire_protocol::websocket::frame::{self, Kind};

/// Most bytes that may wait for one connection because its server does not read; beyond it nothing is sent on it.
pub const MAX_UNSENT: usize = 4 * 1024 * 1024;

/// Masking keys: a small generator, seeded from the system's, because a server must not be able to foresee them and
/// asking the system for each would cost more than the frame.
pub struct Masks(u64);

impl Masks {
    /// A generator with a random seed.
    pub fn new() -> Self {
        Self(rand::rng().random::<u64>() | 1)
    }

    /// The next key (xorshift64*).
    pub fn next(&mut self) -> [u8; 4] {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32).to_le_bytes()
    }
}

/// Where a handler puts frames for the connection it is called for; they leave together, in one write.
pub struct Outgoing<'a> {
    pub(super) buffer: &'a mut Vec<u8>,
    pub(super) masks: &'a mut Masks,
    /// On a connection that negotiated it.
    pub(super) deflater: Option<&'a mut Deflater>,
    pub(super) finish: bool,
    pub(super) stop_reading: bool,
}

impl Outgoing<'_> {
    /// A text frame. `payload` must be UTF-8; it is taken as bytes because senders patch stamps into it.
    pub fn text(&mut self, payload: &[u8]) {
        self.message(Kind::Text, payload);
    }

    /// A binary frame.
    pub fn binary(&mut self, payload: &[u8]) {
        self.message(Kind::Binary, payload);
    }

    /// A ping; `payload` is at most 125 bytes.
    pub fn ping(&mut self, payload: &[u8]) {
        frame::write_client(self.buffer, Kind::Ping, payload, self.masks.next());
    }

    /// Begins the close handshake once the frames before it are out. [`Client::send`](super::Client::send) ignores it.
    pub fn finish(&mut self) {
        self.finish = true;
    }

    /// Reads nothing more from this connection, which stays open. [`Client::send`](super::Client::send) ignores it.
    pub fn stop_reading(&mut self) {
        self.stop_reading = true;
    }

    /// Compressed, if that was negotiated and makes it shorter.
    fn message(&mut self, kind: Kind, payload: &[u8]) {
        let key = self.masks.next();
        let deflater = self.deflater.as_mut();
        match deflater.and_then(|deflater| deflater.deflate(payload, WINDOW_BITS_MAX)) {
            Some(deflated) => frame::write_client_deflated(self.buffer, kind, deflated, key),
            None => frame::write_client(self.buffer, kind, payload, key),
        }
    }

    pub(super) fn pong(&mut self, payload: &[u8]) {
        frame::write_client(self.buffer, Kind::Pong, payload, self.masks.next());
    }

    /// A close frame; `code` `None` is a close frame without a body.
    pub(super) fn close(&mut self, code: Option<u16>) {
        let body = code.map(u16::to_be_bytes);
        let body = body.as_ref().map_or(&[][..], |bytes| &bytes[..]);
        frame::write_client(self.buffer, Kind::Close, body, self.masks.next());
    }
}
