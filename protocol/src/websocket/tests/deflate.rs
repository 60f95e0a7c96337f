//! Compressed messages in frames: RSV1, fragments, limits, contexts.

use super::{
    End,
    samples::{Frame, encode},
};
use crate::websocket::{
    DecodeError, Decoder, Event, Lent, Role, Rules,
    deflate::{Deflater, InflateContext, Inflater},
    frame::{self, Kind},
};
use proptest::{collection::vec, prelude::*, sample::Index};
use std::sync::LazyLock;

const LIMIT: usize = 4096;
const SERVER: Rules = Rules {
    role: Role::Server,
    max_message_size: LIMIT,
};
/// RSV1.
const COMPRESSED: u8 = 0x40;

/// Decodes `bytes` that arrive in pieces ending at `ends`, with one inflater, and a context if `takeover`.
fn decode(bytes: &[u8], ends: &[usize], takeover: bool) -> (Vec<String>, End) {
    decode_limited(LIMIT, bytes, ends, takeover)
}

/// As `decode`, with messages of up to `limit` bytes.
fn decode_limited(
    limit: usize,
    bytes: &[u8],
    ends: &[usize],
    takeover: bool,
) -> (Vec<String>, End) {
    let rules = Rules {
        max_message_size: limit,
        ..SERVER
    };
    let mut bytes = bytes.to_vec();
    let mut decoder = Decoder::default();
    let mut inflater = Inflater::default();
    let mut context = takeover.then(InflateContext::default);
    let mut events = Vec::new();
    let mut start = 0;
    for &end in ends {
        loop {
            let available = end - start;
            let lent = Lent {
                inflater: &mut inflater,
                context: context.as_mut(),
            };
            let decoded = match decoder.decode_with(&rules, Some(lent), &mut bytes[start..end]) {
                Ok(decoded) => decoded,
                Err(error) => return (events, End::Failed(error)),
            };
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
        assert!(decoder.held_bytes() < 4096 + 2 * limit);
    }
    (events, End::Open)
}

/// In one piece, and byte by byte: the same.
fn decode_both(bytes: &[u8]) -> (Vec<String>, End) {
    let whole = decode(bytes, &[bytes.len()], false);
    let bytewise: Vec<_> = (0..=bytes.len()).collect();
    assert_eq!(decode(bytes, &bytewise, false), whole);
    whole
}

fn deflated(message: &[u8]) -> Vec<u8> {
    Deflater::new(6).deflate(message, 15).unwrap().to_vec()
}

fn frames(frames: &[(u8, &[u8])]) -> Vec<u8> {
    let frames: Vec<_> = frames
        .iter()
        .map(|(first, payload)| Frame::new(*first, *payload))
        .collect();
    encode(&frames)
}

#[test]
fn compressed_and_plain_messages_take_turns() {
    let text = "tick tock ".repeat(20);
    let compressed = deflated(text.as_bytes());
    let bytes = frames(&[
        (0xc1, &compressed),
        (0x81, b"plain"),
        (0xc2, &compressed),
        (0x82, b"plain"),
        (0xc1, &[0]),
    ]);
    let expected = [
        format!("{:?}", Event::Text(&text)),
        format!("{:?}", Event::Text("plain")),
        format!("{:?}", Event::Binary(text.as_bytes())),
        format!("{:?}", Event::Binary(b"plain")),
        format!("{:?}", Event::Text("")),
    ];
    assert_eq!(decode_both(&bytes), (expected.to_vec(), End::Open));
    let mut written = Vec::new();
    frame::write_client_deflated(&mut written, Kind::Text, &compressed, [1, 2, 3, 4]);
    assert_eq!(decode_both(&written).0, expected[..1]);
}

#[test]
fn a_compressed_message_is_cut_anywhere_and_control_frames_come_between() {
    let text = "tick tock ".repeat(20);
    let compressed = deflated(text.as_bytes());
    let (a, b) = compressed.split_at(compressed.len() / 2);
    let bytes = frames(&[(0x41, a), (0x89, b"?"), (0x00, b""), (0x80, b)]);
    let expected = vec![
        format!("{:?}", Event::Ping(b"?")),
        format!("{:?}", Event::Text(&text)),
    ];
    assert_eq!(decode_both(&bytes), (expected, End::Open));
}

#[test]
fn attack_rsv1_where_it_has_no_meaning() {
    let compressed = deflated(&[b'x'; 100]);
    let wrong = End::Failed(DecodeError::ReservedBits);
    // Not negotiated.
    let bytes = frames(&[(0xc1, &compressed)]);
    assert_eq!(super::decode_whole(&SERVER, &bytes).1, wrong);
    // On a control frame.
    for first in [0xc8, 0xc9, 0xca] {
        assert_eq!(decode_both(&frames(&[(first, b"")])).1, wrong);
    }
    // On a continuation, of a compressed message or not.
    let (a, b) = compressed.split_at(3);
    assert_eq!(decode_both(&frames(&[(0x41, a), (0xc0, b)])).1, wrong);
    assert_eq!(decode_both(&frames(&[(0x02, a), (0xc0, b)])).1, wrong);
    // Its two neighbours never have one; a reserved opcode stays one.
    for bits in [0x10, 0x20, 0x30, 0x50, 0x60, 0x70] {
        assert_eq!(decode_both(&frames(&[(0x81 | bits, b"")])).1, wrong);
    }
    assert_eq!(decode_both(&[0xc3, 0x80]).1, wrong);
}

#[test]
fn utf8_is_checked_in_what_was_inflated() {
    let bad = [&[b'x'; 100][..], &[0xff]].concat();
    let end = decode_both(&frames(&[(0xc1, &deflated(&bad))])).1;
    assert_eq!(end, End::Failed(DecodeError::InvalidUtf8));
    let (events, end) = decode_both(&frames(&[(0xc2, &deflated(&bad))]));
    assert_eq!((events.len(), end), (1, End::Open));
}

#[test]
fn the_limit_counts_what_was_inflated() {
    let exact = vec![b'x'; LIMIT];
    let (events, end) = decode_both(&frames(&[(0xc2, &deflated(&exact))]));
    assert_eq!((events.len(), end), (1, End::Open));
    let beyond = deflated(&vec![b'x'; LIMIT + 1]);
    let too_large = End::Failed(DecodeError::TooLarge { limit: LIMIT });
    assert_eq!(decode_both(&frames(&[(0xc2, &beyond)])).1, too_large);
    let (a, b) = beyond.split_at(5);
    assert_eq!(decode_both(&frames(&[(0x42, a), (0x80, b)])).1, too_large);
    // What does not shrink and was compressed all the same may be a little longer on the wire.
    let mut stored = vec![0];
    stored.extend_from_slice(&(LIMIT as u16).to_le_bytes());
    stored.extend_from_slice(&(!(LIMIT as u16)).to_le_bytes());
    stored.extend_from_slice(&exact);
    stored.push(0);
    let (events, end) = decode_both(&frames(&[(0xc2, &stored)]));
    assert_eq!((events.len(), end), (1, End::Open));
    // Not much longer, whatever it would inflate to: refused at the header, also on the sum.
    let most = LIMIT + LIMIT / 8 + 64;
    let header = |first: u8, len: usize| {
        let mut bytes = vec![first, 0xfe];
        bytes.extend_from_slice(&(len as u16).to_be_bytes());
        bytes
    };
    assert_eq!(decode_both(&header(0xc2, most)).1, End::Open);
    assert_eq!(decode_both(&header(0xc2, most + 1)).1, too_large);
    let begun = frames(&[(0x42, &[0; 100])]);
    let bytes = [begun.clone(), header(0x80, most - 100)].concat();
    assert_eq!(decode_both(&bytes).1, End::Open);
    let bytes = [begun, header(0x80, most - 99)].concat();
    assert_eq!(decode_both(&bytes).1, too_large);
    // A plain message is not given that room.
    assert_eq!(decode_both(&header(0x82, LIMIT + 1)).1, too_large);
}

#[test]
fn half_a_compressed_message_holds_what_was_received() {
    let mut decoder = Decoder::default();
    let mut inflater = Inflater::default();
    let mut bytes = frames(&[(0x41, &deflated(&[b'x'; LIMIT]))]);
    let received = bytes.len();
    let lent = Lent {
        inflater: &mut inflater,
        context: None,
    };
    let decoded = decoder
        .decode_with(&SERVER, Some(lent), &mut bytes)
        .unwrap();
    assert_eq!(decoded.event, None);
    assert!(decoder.held_bytes() < 256 + 2 * received);
    assert!(format!("{inflater:?}").contains("used: false"));
}

/// Bytes no compressor shortens.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Noise, and zeros behind it that make it so long: the more noise, the more bytes pass before it is seen to be too large.
fn late_bomb(noisy: usize, len: usize) -> Vec<u8> {
    static MIB_OF_ZEROS: LazyLock<Vec<u8>> = LazyLock::new(|| deflated(&vec![0; 1 << 20]));
    let zeros = len - noisy;
    let (times, rest) = (zeros >> 20, zeros & 0xf_ffff);
    let begin = [noise(noisy), vec![0; rest]].concat();
    // One stream, flushed between its parts.
    let mut bomb = Deflater::new(6)
        .deflate(&begin, 15)
        .map_or(Vec::new(), <[u8]>::to_vec);
    for _ in 0..times {
        bomb.extend_from_slice(&[0, 0, 0xff, 0xff]);
        bomb.extend_from_slice(&MIB_OF_ZEROS);
    }
    bomb
}

/// A bomb that comes slowly is refused at the mark behind which it is too large, not when it is whole: an eighth of the limit, a
/// fourth, a half, the limit.
#[test]
fn attack_deflate_bomb_in_pieces() {
    let limit = 64 << 10;
    for (noisy, mark) in [
        (0, 1 << 13),
        (9_000, 1 << 14),
        (20_000, 1 << 15),
        (40_000, 1 << 16),
    ] {
        // Zeros that would come to much more behind each mark, in 64 MiB.
        let bomb = late_bomb(noisy, noisy + 100 + (64 << 20));
        assert!(bomb.len() > mark + 200, "{}", bomb.len());
        let most = limit + limit / 8 + 64;
        let bytes = frames(&[(0x42, &bomb[..bomb.len().min(most)])]);
        let header = bytes.len() - bomb.len().min(most);
        let too_large = (Vec::new(), End::Failed(DecodeError::TooLarge { limit }));
        for piece in [1, 100, 1448, 5000] {
            let ends: Vec<_> = (0..=header + mark).step_by(piece).collect();
            let before: Vec<_> = ends
                .iter()
                .copied()
                .filter(|&end| end < header + mark)
                .collect();
            let (_, end) = decode_limited(limit, &bytes, &before, false);
            assert_eq!(end, End::Open, "{noisy}, {piece}");
            let there = [&before[..], &[header + mark]].concat();
            assert_eq!(decode_limited(limit, &bytes, &there, false), too_large);
        }
    }
    // What refers back to earlier messages is inflated once, when it is whole.
    let bomb = late_bomb(0, 100 + (16 << 20));
    let (front, back) = bomb.split_at(bomb.len() - 1);
    let bytes = frames(&[(0x42, front), (0x80, back)]);
    let whole: Vec<_> = (0..=bytes.len()).collect();
    let (begun, all) = (&whole[..bytes.len()], &whole[..]);
    assert_eq!(decode_limited(limit, &bytes, begun, true).1, End::Open);
    let too_large = End::Failed(DecodeError::TooLarge { limit });
    assert_eq!(decode_limited(limit, &bytes, all, true).1, too_large);
}

/// However it is cut, counted and gathered: the limit is allowed and one byte more is not.
#[test]
fn the_limit_is_allowed_in_pieces_too() {
    for limit in [9_000, 64 << 10, 300_000] {
        for noisy in [0, limit / 2, limit - limit / 16] {
            for (len, fits) in [(limit, true), (limit + 1, false)] {
                let bytes = frames(&[(0xc2, &late_bomb(noisy, len))]);
                for piece in [700, 5_000, bytes.len()] {
                    let mut ends: Vec<_> = (0..bytes.len()).step_by(piece).collect();
                    ends.push(bytes.len());
                    let (events, end) = decode_limited(limit, &bytes, &ends, false);
                    let expected = if fits {
                        End::Open
                    } else {
                        End::Failed(DecodeError::TooLarge { limit })
                    };
                    assert_eq!((events.len(), end), (usize::from(fits), expected));
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Message {
    text: bool,
    payload: String,
    compressed: bool,
    cuts: Vec<Index>,
    ping: bool,
}

fn message() -> impl Strategy<Value = Message> {
    let payload = prop_oneof!["\\PC{0,40}", "(abc|xyz){0,200}", "[ -~]{0,60}"];
    (
        any::<bool>(),
        payload,
        any::<bool>(),
        vec(any::<Index>(), 0..4),
        any::<bool>(),
    )
        .prop_map(|(text, payload, compressed, cuts, ping)| Message {
            text,
            payload,
            compressed,
            cuts,
            ping,
        })
}

/// The frames of one message whose payload is this; how many pings come between them.
fn fragment(out: &mut Vec<u8>, message: &Message, rsv1: u8, payload: &[u8]) -> usize {
    let mut cuts: Vec<_> = message
        .cuts
        .iter()
        .map(|cut| cut.index(payload.len() + 1))
        .collect();
    cuts.extend([0, payload.len()]);
    cuts.sort_unstable();
    let pieces = cuts.len() - 1;
    for (index, cut) in cuts.windows(2).enumerate() {
        let opcode = match index {
            0 if message.text => rsv1 | 1,
            0 => rsv1 | 2,
            _ => 0,
        };
        if index > 0 && message.ping {
            Frame::new(0x89, b"?").encode(out);
        }
        let fin = if index + 1 == pieces { 0x80 } else { 0 };
        Frame::new(fin | opcode, &payload[cut[0]..cut[1]]).encode(out);
    }
    if message.ping { pieces - 1 } else { 0 }
}

/// The frames of messages, and what should come of them.
fn stream(messages: &[Message], takeover: bool) -> (Vec<u8>, Vec<String>) {
    let mut deflater = Deflater::new(6);
    let mut context = deflater.new_context(15).unwrap();
    let (mut out, mut expected) = (Vec::new(), Vec::new());
    for message in messages {
        let payload = message.payload.as_bytes();
        let compressed = match (message.compressed, takeover) {
            (false, _) => None,
            (true, false) => deflater.deflate(payload, 15),
            (true, true) => deflater.deflate_with(&mut context, payload),
        };
        let rsv1 = if compressed.is_some() { COMPRESSED } else { 0 };
        let payload = compressed.unwrap_or(payload);
        let pings = fragment(&mut out, message, rsv1, payload);
        expected.extend((0..pings).map(|_| format!("{:?}", Event::Ping(b"?"))));
        expected.push(if message.text {
            format!("{:?}", Event::Text(&message.payload))
        } else {
            format!("{:?}", Event::Binary(message.payload.as_bytes()))
        });
    }
    (out, expected)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_compressed_and_cut_is_read(
        messages in vec(message(), 1..6),
        takeover in any::<bool>(),
        cuts in vec(any::<Index>(), 0..8),
    ) {
        let (bytes, expected) = stream(&messages, takeover);
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        prop_assert_eq!(decode(&bytes, &ends, takeover), (expected, End::Open));
    }

    #[test]
    fn any_split_gives_the_same_events_and_error(
        messages in vec(message(), 1..4),
        takeover in any::<bool>(),
        change in prop::option::of((any::<Index>(), any::<u8>())),
        cuts in vec(any::<Index>(), 0..8),
    ) {
        let (mut bytes, _) = stream(&messages, takeover);
        if let Some((at, byte)) = change {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let whole = decode(&bytes, &[bytes.len()], takeover);
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        prop_assert_eq!(&decode(&bytes, &ends, takeover), &whole);
        let bytewise: Vec<_> = (0..=bytes.len()).collect();
        prop_assert_eq!(&decode(&bytes, &bytewise, takeover), &whole);
    }

    /// Beyond the marks too, with pings between the fragments: where a bomb is found does not depend on how it is cut.
    #[test]
    fn a_bomb_is_found_at_the_same_byte_in_any_pieces(
        limit in 5_000usize..70_000,
        noisy in 0usize..60_000,
        zeros in prop_oneof![0usize..30_000, 0usize..20_000_000],
        fragments in vec(any::<Index>(), 0..5),
        change in prop::option::of((any::<Index>(), any::<u8>())),
        cuts in vec(any::<Index>(), 0..20),
        takeover in any::<bool>(),
    ) {
        let message = Message {
            text: false,
            payload: String::new(),
            compressed: true,
            cuts: fragments,
            ping: true,
        };
        let mut bytes = Vec::new();
        fragment(&mut bytes, &message, COMPRESSED, &late_bomb(noisy, noisy + zeros + 100));
        if let Some((at, byte)) = change {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let whole = decode_limited(limit, &bytes, &[bytes.len()], takeover);
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        prop_assert_eq!(&decode_limited(limit, &bytes, &ends, takeover), &whole);
        let bytewise: Vec<_> = (0..=bytes.len()).collect();
        prop_assert_eq!(&decode_limited(limit, &bytes, &bytewise, takeover), &whole);
    }
}
