//! Bytes made to hurt, one test per case.

use super::{End, decode_pieces, decode_whole, samples::Frame};
use crate::websocket::{DecodeError, Decoder, Event, Role, Rules};

const LIMIT: usize = 65_536;
const SERVER: Rules = Rules {
    role: Role::Server,
    max_message_size: LIMIT,
};
const CLIENT: Rules = Rules {
    role: Role::Client,
    max_message_size: LIMIT,
};

/// How a server ends after `bytes`.
fn server_end(bytes: &[u8]) -> End {
    let whole = decode_whole(&SERVER, bytes);
    let bytewise: Vec<_> = (0..=bytes.len()).collect();
    assert_eq!(decode_pieces(&SERVER, bytes, &bytewise), whole);
    whole.1
}

fn frame_bytes(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Frame::new(first, payload).encode(&mut out);
    out
}

#[test]
fn attack_64_bit_lengths() {
    let with_u64 = |first: u8, length: u64| {
        let mut bytes = vec![first, 0xff];
        bytes.extend_from_slice(&length.to_be_bytes());
        server_end(&bytes)
    };
    let too_large = End::Failed(DecodeError::TooLarge { limit: LIMIT });
    assert_eq!(
        with_u64(0x82, 1 << 63),
        End::Failed(DecodeError::LengthHighBit)
    );
    assert_eq!(
        with_u64(0x82, u64::MAX),
        End::Failed(DecodeError::LengthHighBit)
    );
    assert_eq!(with_u64(0x82, u64::MAX >> 1), too_large);
    assert_eq!(with_u64(0x82, LIMIT as u64 + 1), too_large);
    assert_eq!(with_u64(0x02, LIMIT as u64 + 1), too_large);
    assert_eq!(with_u64(0x82, LIMIT as u64), End::Open);
    assert_eq!(
        with_u64(0x82, 65_535),
        End::Failed(DecodeError::LengthNotMinimal)
    );
    assert_eq!(
        with_u64(0x82, 0),
        End::Failed(DecodeError::LengthNotMinimal)
    );
    for (length, end) in [
        (125u16, End::Failed(DecodeError::LengthNotMinimal)),
        (126, End::Open),
    ] {
        let [high, low] = length.to_be_bytes();
        assert_eq!(server_end(&[0x82, 0xfe, high, low]), end);
    }
    // Near the largest number, on top of a message in progress: the sum must not wrap.
    let huge = Rules {
        role: Role::Client,
        max_message_size: usize::MAX,
    };
    let mut bytes = vec![0x02, 1, b'x', 0x80, 127];
    bytes.extend_from_slice(&(u64::MAX >> 1).to_be_bytes());
    let mut decoder = Decoder::default();
    assert_eq!(decoder.decode(&huge, &mut bytes).unwrap().consumed, 3);
    assert_eq!(decoder.decode(&huge, &mut bytes[3..]).unwrap().consumed, 10);
    assert!(
        decoder
            .decode(&huge, &mut [0; 100])
            .unwrap()
            .event
            .is_none()
    );
    assert!(decoder.held_bytes() < 1000, "{}", decoder.held_bytes());
}

#[test]
fn attack_big_length_announced_nothing_sent() {
    let rules = Rules {
        role: Role::Client,
        max_message_size: 1 << 30,
    };
    let mut input = vec![0x82, 127];
    input.extend_from_slice(&(1u64 << 30).to_be_bytes());
    input.extend_from_slice(&[0; 1000]);
    let mut decoder = Decoder::default();
    let decoded = decoder.decode(&rules, &mut input).unwrap();
    assert_eq!((decoded.consumed, decoded.event), (1010, None));
    assert!(decoder.held_bytes() < 1500, "{}", decoder.held_bytes());
}

#[test]
fn attack_endless_continuation_frames() {
    let mut decoder = Decoder::default();
    let mut sent = 0;
    let error = loop {
        let first = if sent == 0 { 0x02 } else { 0x00 };
        let mut bytes = frame_bytes(first, &[0; 1000]);
        match decoder.decode(&SERVER, &mut bytes) {
            Ok(decoded) => assert_eq!(decoded.event, None),
            Err(error) => break error,
        }
        sent += 1000;
        assert!(sent <= LIMIT && decoder.held_bytes() <= LIMIT + 512);
    };
    assert_eq!(error, DecodeError::TooLarge { limit: LIMIT });
    assert_eq!(sent, LIMIT / 1000 * 1000);
}

#[test]
fn attack_tiny_or_empty_fragments() {
    // Autobahn 9.3.1: 4 MiB in fragments of 64 bytes.
    const SIZE: usize = 4 << 20;
    let rules = Rules {
        role: Role::Server,
        max_message_size: SIZE,
    };
    let mut decoder = Decoder::default();
    for index in 0..SIZE / 64 {
        let first = if index == 0 { 0x01 } else { 0x00 };
        let mut bytes = frame_bytes(first, &[b'x'; 64]);
        assert_eq!(decoder.decode(&rules, &mut bytes).unwrap().event, None);
    }
    // And empty ones, which add nothing.
    let before = decoder.held_bytes();
    for _ in 0..1000 {
        assert_eq!(
            decoder
                .decode(&rules, &mut frame_bytes(0, b""))
                .unwrap()
                .event,
            None
        );
    }
    assert_eq!(decoder.held_bytes(), before);
    assert!(before <= SIZE + 512);
    let mut end = frame_bytes(0x80, b"");
    let Some(Event::Text(text)) = decoder.decode(&rules, &mut end).unwrap().event else {
        panic!("the message is whole")
    };
    assert_eq!(text.len(), SIZE);
    decoder.decode(&rules, &mut []).unwrap();
    assert_eq!(decoder.held_bytes(), 0);
}

#[test]
fn the_limit_itself_is_allowed() {
    let whole = frame_bytes(0x82, &vec![1; LIMIT]);
    assert_eq!(decode_whole(&SERVER, &whole).0.len(), 1);
    let mut parts = frame_bytes(0x02, &vec![1; LIMIT - 1]);
    parts.extend(frame_bytes(0x80, &[1]));
    assert_eq!(decode_whole(&SERVER, &parts).0.len(), 1);
    parts.truncate(parts.len() - 7);
    parts.extend(frame_bytes(0x80, &[1, 1]));
    assert_eq!(
        server_end(&parts),
        End::Failed(DecodeError::TooLarge { limit: LIMIT })
    );
    // Control frames do not count.
    let mut parts = frame_bytes(0x02, &vec![1; LIMIT]);
    parts.extend(frame_bytes(0x89, &[1; 125]));
    assert_eq!(
        decode_whole(&SERVER, &parts),
        (vec![format!("Ping({:?})", [1; 125])], End::Open)
    );
}

#[test]
fn attack_bad_control_frames() {
    for first in [0x08, 0x09, 0x0a] {
        assert_eq!(
            server_end(&frame_bytes(first, b"")),
            End::Failed(DecodeError::FragmentedControl)
        );
    }
    for first in [0x88, 0x89, 0x8a] {
        let end = server_end(&frame_bytes(first, &[b'x'; 126]));
        assert_eq!(end, End::Failed(DecodeError::LongControl));
    }
    assert_eq!(
        server_end(&frame_bytes(0x88, &[3])),
        End::Failed(DecodeError::CloseTooShort)
    );
    let bad_reason = [&1000u16.to_be_bytes()[..], b"\xce\xba\xe1\xbd"].concat();
    assert_eq!(
        server_end(&frame_bytes(0x88, &bad_reason)),
        End::Failed(DecodeError::InvalidUtf8)
    );
}

#[test]
fn attack_close_codes() {
    for code in [
        0u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        let end = server_end(&frame_bytes(0x88, &code.to_be_bytes()));
        assert_eq!(end, End::Failed(DecodeError::CloseCode(code)));
        assert_eq!(DecodeError::CloseCode(code).close_code(), 1002);
    }
    for code in [1000u16, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4999] {
        assert_eq!(
            server_end(&frame_bytes(0x88, &code.to_be_bytes())),
            End::Closed
        );
    }
}

#[test]
fn reserved_bits_and_opcodes() {
    for bits in [0x10, 0x20, 0x40, 0x70] {
        for first in [0x81, 0x01, 0x89] {
            assert_eq!(
                server_end(&[first | bits]),
                End::Failed(DecodeError::ReservedBits)
            );
        }
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert_eq!(
            server_end(&[0x80 | opcode]),
            End::Failed(DecodeError::ReservedOpcode(opcode))
        );
    }
}

#[test]
fn attack_unmasked_client_frame() {
    assert_eq!(
        server_end(&[0x81, 0x00]),
        End::Failed(DecodeError::NotMasked)
    );
    let end = decode_whole(&CLIENT, &[0x81, 0x80]).1;
    assert_eq!(end, End::Failed(DecodeError::Masked));
}

#[test]
fn fragments_out_of_order() {
    assert_eq!(
        server_end(&frame_bytes(0x80, b"x")),
        End::Failed(DecodeError::UnexpectedContinuation)
    );
    assert_eq!(
        server_end(&frame_bytes(0x00, b"")),
        End::Failed(DecodeError::UnexpectedContinuation)
    );
    for first in [0x01, 0x02, 0x81, 0x82] {
        let bytes = [frame_bytes(0x01, b"a"), frame_bytes(first, b"b")].concat();
        assert_eq!(
            server_end(&bytes),
            End::Failed(DecodeError::ExpectedContinuation)
        );
    }
    // After the end of a message the next continuation has none again.
    let bytes = [
        frame_bytes(0x01, b"a"),
        frame_bytes(0x80, b"b"),
        frame_bytes(0x80, b"c"),
    ]
    .concat();
    assert_eq!(
        decode_whole(&SERVER, &bytes),
        (
            vec!["Text(\"ab\")".into()],
            End::Failed(DecodeError::UnexpectedContinuation)
        )
    );
}

#[test]
fn attack_invalid_utf8_across_fragments() {
    // How many bytes of the text are needed to know that it is bad.
    for (text, needed) in [
        (&b"\xff"[..], 1),
        (b"\x80", 1),
        (b"\xc0\xaf", 1),
        (b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80", 7), // surrogate
        (b"\xf4\x8f\xbf\xbf\xf4\x90\x80\x80", 6), // above U+10FFFF
        (b"\xf0\x80\x80\x80", 2),                 // overlong
        (b"abc\xf8\x88\x80\x80\x80", 4),
        (b"ab\xe1\xbdc", 5),
    ] {
        let frame = frame_bytes(0x81, text);
        let header = frame.len() - text.len();
        for pieces in [
            vec![header + needed - 1, header + needed],
            (0..=header + needed).collect(),
        ] {
            let (before, last) = pieces.split_at(pieces.len() - 1);
            assert_eq!(
                decode_pieces(&SERVER, &frame, before),
                (vec![], End::Open),
                "{text:x?}"
            );
            let at_last = decode_pieces(&SERVER, &frame, &[before, last].concat());
            // A frame that is not whole has to fail early; a whole one fails anyway.
            assert_eq!(
                at_last.1,
                End::Failed(DecodeError::InvalidUtf8),
                "{text:x?}"
            );
        }
        // The same over fragments of one byte.
        let fragments: Vec<_> = text
            .iter()
            .enumerate()
            .map(|(index, byte)| frame_bytes(if index == 0 { 0x01 } else { 0x00 }, &[*byte]))
            .collect();
        assert_eq!(
            decode_whole(&SERVER, &fragments[..needed - 1].concat()).1,
            End::Open
        );
        let end = decode_whole(&SERVER, &fragments[..needed].concat()).1;
        assert_eq!(end, End::Failed(DecodeError::InvalidUtf8), "{text:x?}");
    }
    // A character that the message does not finish.
    let end = server_end(
        &[
            frame_bytes(0x01, "ä".as_bytes()),
            frame_bytes(0x80, b"\xc3"),
        ]
        .concat(),
    );
    assert_eq!(end, End::Failed(DecodeError::InvalidUtf8));
    assert_eq!(
        server_end(&frame_bytes(0x81, b"a\xf0\x9f\x98")),
        End::Failed(DecodeError::InvalidUtf8)
    );
}

#[test]
fn attack_ping_flood() {
    let mut bytes = frame_bytes(0x89, &[7; 125]).repeat(1000);
    let mut decoder = Decoder::default();
    let mut rest = &mut bytes[..];
    while !rest.is_empty() {
        let decoded = decoder.decode(&SERVER, rest).unwrap();
        assert_eq!(decoded.event, Some(Event::Ping(&[7; 125])));
        let consumed = decoded.consumed;
        assert_eq!(decoder.held_bytes(), 0);
        rest = &mut std::mem::take(&mut rest)[consumed..];
    }
}
