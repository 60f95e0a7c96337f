//! Tests of the room as a whole.
#![allow(clippy::unwrap_used)]

mod attacks;
mod basics;
mod deflate;
mod differential;
mod properties;
mod samples;

use super::{DecodeError, Decoder, Event, Rules};

/// How reading a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// More bytes could follow.
    Open,
    /// The peer closed; what follows does not count.
    Closed,
    Failed(DecodeError),
}

/// Decodes `bytes` as it arrives in pieces that end at `ends` (ascending), as a server loop does. Gives the events as text.
fn decode_pieces(rules: &Rules, bytes: &[u8], ends: &[usize]) -> (Vec<String>, End) {
    let mut bytes = bytes.to_vec();
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    let mut start = 0;
    for &end in ends {
        loop {
            let input = &mut bytes[start..end];
            let available = input.len();
            let decoded = match decoder.decode(rules, input) {
                Ok(decoded) => decoded,
                Err(error) => return (events, End::Failed(error)),
            };
            assert!(decoded.consumed <= available);
            // Else this loop would not end: whatever yields an event has consumed at least its last byte.
            assert!(decoded.consumed > 0 || (available == 0 && decoded.event.is_none()));
            start += decoded.consumed;
            match decoded.event {
                Some(event) => {
                    events.push(format!("{event:?}"));
                    if matches!(event, Event::Close(_)) {
                        return (events, End::Closed);
                    }
                }
                None if decoded.consumed == available => break,
                None => {}
            }
        }
        assert!(decoder.held_bytes() < 4096 + 2 * rules.max_message_size);
    }
    (events, End::Open)
}

/// The same in one piece.
fn decode_whole(rules: &Rules, bytes: &[u8]) -> (Vec<String>, End) {
    decode_pieces(rules, bytes, &[bytes.len()])
}
