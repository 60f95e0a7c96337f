//! One short test per thing the decoder and the writers do.

use crate::websocket::{
    CloseFrame, DecodeError, Decoded, Decoder, Event, Role, Rules,
    frame::{self, Kind},
};

const SERVER: Rules = Rules {
    role: Role::Server,
    max_message_size: 1 << 20,
};
const CLIENT: Rules = Rules {
    role: Role::Client,
    max_message_size: 1 << 20,
};
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

#[test]
fn a_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 64, "{}", size_of::<Decoder>());
    assert_eq!(Decoder::default().held_bytes(), 0);
}

#[test]
fn a_whole_text_frame_is_yielded_in_place() {
    let mut input = Vec::new();
    frame::write_client(&mut input, Kind::Text, "Grüße".as_bytes(), KEY);
    let len = input.len();
    let range = input.as_ptr_range();
    let mut decoder = Decoder::default();
    let decoded = decoder.decode(&SERVER, &mut input).unwrap();
    assert_eq!(
        decoded,
        Decoded {
            consumed: len,
            event: Some(Event::Text("Grüße"))
        }
    );
    let Some(Event::Text(text)) = decoded.event else {
        unreachable!()
    };
    assert!(range.contains(&text.as_ptr()));
    assert_eq!(decoder.held_bytes(), 0);
}

#[test]
fn the_client_reads_what_the_server_writes() {
    for len in [0, 1, 125, 126, 65_535, 65_536] {
        let payload = vec![b'x'; len];
        let mut input = Vec::new();
        frame::write_server(&mut input, Kind::Binary, &payload);
        assert_eq!(input.len(), frame::header_len(len) + len);
        let mut decoder = Decoder::default();
        let decoded = decoder.decode(&CLIENT, &mut input).unwrap();
        assert_eq!(decoded.event, Some(Event::Binary(&payload)));
    }
}

#[test]
fn a_ping_between_two_fragments_comes_first() {
    let mut input = vec![0x01, 2, b'a', b'b'];
    frame::write_server(&mut input, Kind::Ping, b"?");
    input.extend_from_slice(&[0x80, 1, b'c']);
    let mut decoder = Decoder::default();
    let mut rest = &mut input[..];
    let mut events = Vec::new();
    while !rest.is_empty() {
        let Decoded { consumed, event } = decoder.decode(&CLIENT, rest).unwrap();
        events.extend(event.map(|event| format!("{event:?}")));
        rest = &mut std::mem::take(&mut rest)[consumed..];
    }
    assert_eq!(events, ["Ping([63])", "Text(\"abc\")"]);
    assert!(
        decoder.held_bytes() > 0,
        "the yielded message is still lent"
    );
    assert_eq!(
        decoder.decode(&CLIENT, &mut []),
        Ok(Decoded {
            consumed: 0,
            event: None
        })
    );
    assert_eq!(decoder.held_bytes(), 0);
}

#[test]
fn a_header_alone_costs_no_heap() {
    let mut input = Vec::new();
    frame::write_client(&mut input, Kind::Binary, &[7; 70_000], KEY);
    let mut decoder = Decoder::default();
    for byte in &mut input[..14] {
        let decoded = decoder.decode(&SERVER, std::slice::from_mut(byte)).unwrap();
        assert_eq!(
            decoded,
            Decoded {
                consumed: 1,
                event: None
            }
        );
        assert_eq!(decoder.held_bytes(), 0);
    }
    // And the payload, when it comes whole, is still yielded in place.
    let range = input.as_ptr_range();
    let decoded = decoder.decode(&SERVER, &mut input[14..]).unwrap();
    let Some(Event::Binary(bytes)) = decoded.event else {
        panic!("{decoded:?}")
    };
    assert_eq!(bytes, [7; 70_000]);
    assert!(range.contains(&bytes.as_ptr()));
}

#[test]
fn close_frames() {
    let close = |code: u16, reason: &str| {
        let mut input = Vec::new();
        frame::write_close(&mut input, code, reason);
        let mut decoder = Decoder::default();
        match decoder.decode(&CLIENT, &mut input).unwrap().event {
            Some(Event::Close(frame)) => {
                frame.map(|CloseFrame { code, reason }| (code, reason.to_owned()))
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(close(1000, "bye"), Some((1000, "bye".into())));
    assert_eq!(close(1005, "never travels"), None);
    // 123 bytes fall into the middle of the 62nd "ß".
    assert_eq!(close(4103, &"ß".repeat(100)), Some((4103, "ß".repeat(61))));
}

#[test]
fn text_with_a_length_known_afterwards() {
    for len in [0, 1, 125, 126, 300, 65_535, 65_536, 70_000] {
        let payload = "y".repeat(len);
        let mut expected = b"before".to_vec();
        frame::write_server(&mut expected, Kind::Text, payload.as_bytes());
        let mut found = b"before".to_vec();
        frame::write_text_with(&mut found, |out| out.extend_from_slice(payload.as_bytes()));
        assert_eq!(found, expected, "{len}");
    }
}

#[test]
fn errors_name_their_close_code_and_fit_a_close_frame() {
    let too_large = DecodeError::TooLarge { limit: 65_536 };
    assert_eq!(too_large.close_code(), 1009);
    assert!(too_large.to_string().contains("65536 bytes"));
    assert_eq!(DecodeError::InvalidUtf8.close_code(), 1007);
    assert_eq!(DecodeError::NotMasked.close_code(), 1002);
    let longest = DecodeError::TooLarge { limit: usize::MAX }.to_string();
    assert!(longest.len() <= frame::MAX_REASON);
}
