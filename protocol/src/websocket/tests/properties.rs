//! What holds for any stream.

use super::{
    decode_pieces, decode_whole,
    samples::{LIMIT, encode, frames},
};
use crate::websocket::{
    Role, Rules,
    frame::{self, Kind},
};
use proptest::{collection::vec, prelude::*, sample::Index};

const SERVER: Rules = Rules {
    role: Role::Server,
    max_message_size: LIMIT,
};

fn cut(len: usize, cuts: &[Index]) -> Vec<usize> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(len + 1)).collect();
    ends.push(len);
    ends.sort_unstable();
    ends
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_split_gives_the_same_events_and_error(
        frames in frames(),
        cuts in vec(any::<Index>(), 0..12),
        kept in any::<Index>(),
        change in prop::option::of((any::<Index>(), any::<u8>())),
    ) {
        let mut bytes = encode(&frames);
        if let Some((at, byte)) = change && !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let whole = decode_whole(&SERVER, &bytes);
        prop_assert_eq!(&decode_pieces(&SERVER, &bytes, &cut(bytes.len(), &cuts)), &whole);
        let bytewise: Vec<_> = (0..=bytes.len()).collect();
        prop_assert_eq!(&decode_pieces(&SERVER, &bytes, &bytewise), &whole);
        // A stream that breaks off has told the beginning of the same story.
        let (events, _) = decode_pieces(&SERVER, &bytes, &[kept.index(bytes.len() + 1)]);
        prop_assert_eq!(&events[..], &whole.0[..events.len()]);
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..300), client in any::<bool>()) {
        let role = if client { Role::Client } else { Role::Server };
        let rules = Rules { role, max_message_size: LIMIT };
        let bytewise: Vec<_> = (0..=bytes.len()).collect();
        prop_assert_eq!(decode_whole(&rules, &bytes), decode_pieces(&rules, &bytes, &bytewise));
    }

    #[test]
    fn what_is_written_is_read(
        text in "\\PC{0,100}|[a-z]{100,300}",
        binary in vec(any::<u8>(), 0..300),
        ping in vec(any::<u8>(), 0..126),
        code in 3000u16..5000,
        key in any::<[u8; 4]>(),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let payload = frame::close_payload(code, &text);
        let written = [
            (Kind::Text, text.as_bytes()),
            (Kind::Binary, &binary),
            (Kind::Ping, &ping),
            (Kind::Pong, &ping),
            (Kind::Close, &payload),
        ];
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        for (kind, payload) in written {
            frame::write_client(&mut to_server, kind, payload, key);
            frame::write_server(&mut to_client, kind, payload);
        }
        let reason = &text[..text.floor_char_boundary(frame::MAX_REASON)];
        let expected = [
            format!("Text({text:?})"),
            format!("Binary({binary:?})"),
            format!("Ping({ping:?})"),
            format!("Pong({ping:?})"),
            format!("Close(Some(CloseFrame {{ code: {code}, reason: {reason:?} }}))"),
        ];
        let limit = 400;
        for (role, bytes) in [(Role::Server, to_server), (Role::Client, to_client)] {
            let rules = Rules { role, max_message_size: limit };
            let (events, _) = decode_pieces(&rules, &bytes, &cut(bytes.len(), &cuts));
            prop_assert_eq!(&events[..], &expected[..]);
        }
    }
}
