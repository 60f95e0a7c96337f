//! Any bytes as frames: in any pieces the same messages, and the same as tungstenite reads.
//!
//! The comparison knows where we differ on purpose:
//!
//! | case | tungstenite | here |
//! | --- | --- | --- |
//! | length not in its shortest form | takes it | 1002 |
//! | close code that may not travel | yields a close of 1002 "Protocol violation" | 1002 |
//! | close code 1014 (IANA: bad gateway) | the same | takes it |
//! | fault in a frame that is not whole | waits for the rest | fails at once |
//!
//! `protocol/src/websocket/tests/differential.rs` compares streams that are made of frames, and so knows when one must fail.

use std::io::{self, Read, Write};

use shardwire_protocol::websocket::{DecodeError, Role, Rules};
use tungstenite::error::ProtocolError;
use tungstenite::protocol::{Role as TheirRole, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

use crate::reading::{End, Extension, Heard, read};

/// Largest message, in bytes: small enough to be reached, large enough for lengths of 16 bits.
const LIMIT: usize = 1000;

/// What tungstenite says to a close code that may not travel.
const THEIR_REASON: &str = "Protocol violation";

/// The first byte says who reads, and how long the pieces are.
pub fn frames(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else {
        return;
    };
    let (rules, piece) = reader(choice);
    let whole = in_any_pieces(&rules, Extension::None, bytes, piece);
    compare(rules.role, bytes, whole);
}

/// As [`frames`], for a connection that negotiated permessage-deflate.
pub fn compressed_frames(data: &[u8]) {
    let Some((&[choice, takeover], bytes)) = data.split_first_chunk() else {
        return;
    };
    let (rules, piece) = reader(choice);
    let takeover = takeover & 1 == 1;
    in_any_pieces(&rules, Extension::Deflate { takeover }, bytes, piece);
}

fn reader(choice: u8) -> (Rules, usize) {
    let role = match choice & 1 {
        0 => Role::Server,
        _ => Role::Client,
    };
    let rules = Rules {
        role,
        max_message_size: LIMIT,
    };
    (rules, usize::from(choice >> 1) + 1)
}

fn in_any_pieces(
    rules: &Rules,
    extension: Extension,
    bytes: &[u8],
    piece: usize,
) -> (Vec<Heard>, End) {
    let whole = read(rules, extension, bytes, usize::MAX);
    assert_eq!(read(rules, extension, bytes, piece), whole);
    if bytes.len() < 512 {
        assert_eq!(read(rules, extension, bytes, 1), whole);
    }
    whole
}

/// A peer that has sent these bytes and swallows what it is sent.
struct Peer<'a>(&'a [u8]);

impl Read for Peer<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Peer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
enum TheirEnd {
    Open,
    Closed,
    Failed,
}

fn theirs(role: Role, bytes: &[u8]) -> (Vec<Heard>, TheirEnd) {
    let role = match role {
        Role::Server => TheirRole::Server,
        Role::Client => TheirRole::Client,
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(256)
        .max_message_size(Some(LIMIT))
        .max_frame_size(Some(LIMIT));
    let mut context = WebSocketContext::new(role, Some(config));
    let mut peer = Peer(bytes);
    let mut heard = Vec::new();
    loop {
        let message = match context.read(&mut peer) {
            Ok(message) => message,
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                return (heard, TheirEnd::Open);
            }
            Err(_) => return (heard, TheirEnd::Failed),
        };
        heard.push(match message {
            Message::Text(text) => Heard::Text(text.as_str().to_owned()),
            Message::Binary(bytes) => Heard::Binary(bytes.to_vec()),
            Message::Ping(bytes) => Heard::Ping(bytes.to_vec()),
            Message::Pong(bytes) => Heard::Pong(bytes.to_vec()),
            Message::Close(frame) => {
                let frame = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                heard.push(Heard::Close(frame));
                return (heard, TheirEnd::Closed);
            }
            Message::Frame(_) => unreachable!("reading never yields raw frames"),
        });
    }
}

fn compare(role: Role, bytes: &[u8], ours: (Vec<Heard>, End)) {
    let (mut heard, end) = ours;
    let (mut they_heard, their_end) = theirs(role, bytes);
    // A control frame has no longer form, so that a length not in its shortest form reads as too long there.
    if let End::Failed(DecodeError::LengthNotMinimal | DecodeError::LongControl) = end {
        assert!(they_heard.starts_with(&heard), "{heard:?} {they_heard:?}");
        return;
    }
    let refused_code = Heard::Close(Some((1002, THEIR_REASON.to_owned())));
    if they_heard.last() == Some(&refused_code) && heard.last() != Some(&refused_code) {
        match heard.last() {
            Some(Heard::Close(Some((1014, _)))) => {
                heard.pop();
            }
            _ => assert!(
                matches!(end, End::Failed(DecodeError::CloseCode(_))),
                "they refuse a close code: {end:?}"
            ),
        }
        they_heard.pop();
        assert_eq!(heard, they_heard);
        return;
    }
    assert_eq!(heard, they_heard, "{end:?} {their_end:?}");
    let same = matches!(
        (&end, &their_end),
        (End::Open, TheirEnd::Open)
            | (End::Closed, TheirEnd::Closed)
            | (End::Failed(_), TheirEnd::Failed | TheirEnd::Open)
    );
    assert!(same, "{end:?} {their_end:?}");
}
