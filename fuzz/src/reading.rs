//! A stream of frames read as a connection does, in pieces.

use shardwire_protocol::websocket::deflate::{InflateContext, Inflater};
use shardwire_protocol::websocket::{DecodeError, Decoder, Event, Lent, Rules};

/// A message or control frame, owned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Event<'_>> for Heard {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Heard::Text(text.to_owned()),
            Event::Binary(bytes) => Heard::Binary(bytes.to_vec()),
            Event::Ping(bytes) => Heard::Ping(bytes.to_vec()),
            Event::Pong(bytes) => Heard::Pong(bytes.to_vec()),
            Event::Close(frame) => {
                Heard::Close(frame.map(|frame| (frame.code, frame.reason.to_owned())))
            }
        }
    }
}

/// How reading a stream ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// More bytes could follow.
    Open,
    /// The peer closed; what follows does not count.
    Closed,
    Failed(DecodeError),
}

/// Whether permessage-deflate was negotiated, and may refer back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extension {
    None,
    Deflate { takeover: bool },
}

/// Reads `bytes` as they arrive in pieces of at most `piece` bytes.
pub(crate) fn read(
    rules: &Rules,
    extension: Extension,
    bytes: &[u8],
    piece: usize,
) -> (Vec<Heard>, End) {
    let mut inflater = Inflater::default();
    let mut context = match extension {
        Extension::Deflate { takeover: true } => Some(InflateContext::default()),
        _ => None,
    };
    let mut decoder = Decoder::default();
    let mut heard = Vec::new();
    let mut bytes = bytes.to_vec();
    for piece in bytes.chunks_mut(piece) {
        let mut rest = piece;
        // Once more when all is taken: that frees what a gathered message held.
        loop {
            let lent = (extension != Extension::None).then_some(Lent {
                inflater: &mut inflater,
                context: context.as_mut(),
            });
            let decoded = match decoder.decode_with(rules, lent, rest) {
                Ok(decoded) => decoded,
                Err(error) => return (heard, End::Failed(error)),
            };
            let (consumed, event) = (decoded.consumed, decoded.event.map(Heard::from));
            assert!(consumed <= rest.len(), "took more than there is");
            assert!(
                consumed > 0 || (rest.is_empty() && event.is_none()),
                "took nothing"
            );
            rest = &mut rest[consumed..];
            match event {
                Some(event) => {
                    let closed = matches!(event, Heard::Close(_));
                    heard.push(event);
                    if closed {
                        return (heard, End::Closed);
                    }
                }
                None if rest.is_empty() => break,
                None => {}
            }
        }
        // A compressed message may be longer than the limit by an eighth; a growing vector has at most twice what it holds.
        let most = 4096 + 3 * rules.max_message_size;
        assert!(decoder.held_bytes() <= most, "holds too much");
    }
    (heard, End::Open)
}
