//! permessage-deflate of one connection (RFC 7692).
//!
//! Streams that keep nothing between messages are shared by all connections of a thread; a connection holds memory of its own
//! only if contexts were agreed on.

use crate::options::Compression;
use shardwire_protocol::websocket::{
    DecodeError, Decoder, Lent, Rules,
    deflate::{DeflateContext, Deflater, InflateContext, Inflater, Negotiated},
    frame::{self, Kind},
};
use std::{cell::RefCell, fmt};

use super::reading::owned;
use crate::message::Message;

thread_local! {
    static INFLATER: RefCell<Inflater> = RefCell::default();
    /// One for each level in use.
    static DEFLATERS: RefCell<[Option<Deflater>; 10]> = const { RefCell::new([const { None }; 10]) };
}

/// What this connection has agreed on, and what it remembers.
pub(super) struct Compressed {
    options: Compression,
    negotiated: Negotiated,
    inflate: Option<InflateContext>,
    /// Made when the first message is compressed.
    deflate: Option<DeflateContext>,
}

impl Compressed {
    pub(super) fn new(options: Compression, negotiated: Negotiated) -> Compressed {
        Compressed {
            inflate: negotiated.receive.takeover.then(InflateContext::default),
            deflate: None,
            options,
            negotiated,
        }
    }

    /// The next message in `input`, and how many bytes were taken.
    pub(super) fn decode(
        &mut self,
        decoder: &mut Decoder,
        rules: &Rules,
        input: &mut [u8],
    ) -> Result<(usize, Option<Message>), DecodeError> {
        INFLATER.with_borrow_mut(|inflater| {
            let lent = Lent {
                inflater,
                context: self.inflate.as_mut(),
            };
            let decoded = decoder.decode_with(rules, Some(lent), input)?;
            let result = (decoded.consumed, decoded.event.map(owned));
            inflater.release();
            Ok(result)
        })
    }

    /// Appends a message, compressed if it is longer than the threshold and that makes it shorter.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
        let mask = rand::random();
        if payload.len() <= self.options.threshold {
            return frame::write_client(out, kind, payload, mask);
        }
        let level = self.options.level.clamp(1, 9);
        let send = self.negotiated.send;
        DEFLATERS.with_borrow_mut(|deflaters| {
            let deflater =
                deflaters[usize::from(level)].get_or_insert_with(|| Deflater::new(level));
            if send.takeover && self.deflate.is_none() {
                self.deflate = deflater.new_context(send.window_bits);
            }
            let shorter = match &mut self.deflate {
                Some(context) => deflater.deflate_with(context, payload),
                None => deflater.deflate(payload, send.window_bits),
            };
            match shorter {
                Some(shorter) => frame::write_client_deflated(out, kind, shorter, mask),
                None => frame::write_client(out, kind, payload, mask),
            }
            deflater.release();
        });
    }
}

impl fmt::Debug for Compressed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.negotiated.fmt(formatter)
    }
}
