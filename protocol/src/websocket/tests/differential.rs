//! The same bytes through tungstenite's `WebSocketContext`: the same events, or both fail, except where we are knowingly
//! different:
//!
//! | case | tungstenite | here |
//! | --- | --- | --- |
//! | length not in its shortest form | takes it | 1002 |
//! | close code that may not travel | yields a close of 1002 "Protocol violation" | 1002 |
//! | close code 1014 (IANA: bad gateway) | the same | takes it |
//! | fault in a frame that is not whole | waits for the rest | fails at once |

use super::{
    End, decode_whole,
    samples::{LIMIT, encode, frames},
};
use crate::websocket::{CloseFrame, DecodeError, Event, Role, Rules};
use proptest::{collection::vec, prelude::*, sample::Index};
use std::io::{self, Read, Write};
use tungstenite::{
    Error, Message,
    error::ProtocolError,
    protocol::{Role as TheirRole, WebSocketConfig, WebSocketContext},
};

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

#[derive(Debug, PartialEq)]
enum TheirEnd {
    Open,
    Closed,
    Failed(String),
}

fn theirs(role: Role, bytes: &[u8]) -> (Vec<String>, TheirEnd) {
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
    let mut events = Vec::new();
    loop {
        let message = match context.read(&mut peer) {
            Ok(message) => message,
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                return (events, TheirEnd::Open);
            }
            Err(error) => return (events, TheirEnd::Failed(error.to_string())),
        };
        let event = match &message {
            Message::Text(text) => Event::Text(text.as_str()),
            Message::Binary(bytes) => Event::Binary(bytes),
            Message::Ping(bytes) => Event::Ping(bytes),
            Message::Pong(bytes) => Event::Pong(bytes),
            Message::Close(Some(frame)) if frame.reason.as_str() == "Protocol violation" => {
                return (events, TheirEnd::Failed("close code".into()));
            }
            Message::Close(frame) => Event::Close(frame.as_ref().map(|frame| CloseFrame {
                code: frame.code.into(),
                reason: frame.reason.as_str(),
            })),
            Message::Frame(_) => unreachable!("reading never yields raw frames"),
        };
        events.push(format!("{event:?}"));
        if matches!(event, Event::Close(_)) {
            return (events, TheirEnd::Closed);
        }
    }
}

/// Compares both on `bytes`; `whole` says that they end where a frame ends.
fn compare(role: Role, bytes: &[u8], whole: bool) -> Result<(), TestCaseError> {
    let rules = Rules {
        role,
        max_message_size: LIMIT,
    };
    let (our_events, our_end) = decode_whole(&rules, bytes);
    let (their_events, their_end) = theirs(role, bytes);
    // A control frame has no longer form, so that a length not in its shortest form reads as too long there.
    if let End::Failed(DecodeError::LengthNotMinimal | DecodeError::LongControl) = our_end {
        prop_assert_eq!(&our_events[..], &their_events[..our_events.len()]);
        return Ok(());
    }
    if our_events
        .last()
        .is_some_and(|event| event.contains("CloseFrame { code: 1014,"))
    {
        prop_assert_eq!(&our_events[..our_events.len() - 1], &their_events[..]);
        return Ok(());
    }
    prop_assert_eq!(&our_events, &their_events, "{:?} {:?}", our_end, their_end);
    let same = match (&our_end, &their_end) {
        (End::Open, TheirEnd::Open) | (End::Closed, TheirEnd::Closed) => true,
        (End::Failed(_), TheirEnd::Failed(_)) => true,
        (End::Failed(_), TheirEnd::Open) => !whole,
        _ => false,
    };
    prop_assert!(same, "{:?} {:?}", our_end, their_end);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whole_frames(frames in frames()) {
        compare(Role::Server, &encode(&frames), true)?;
    }

    #[test]
    fn whole_frames_to_a_client(mut frames in frames(), masked in prop::option::of(any::<Index>())) {
        let masked = masked.map(|at| at.index(frames.len().max(1)));
        for (index, frame) in frames.iter_mut().enumerate() {
            frame.key = frame.key.filter(|_| masked == Some(index));
        }
        compare(Role::Client, &encode(&frames), true)?;
    }

    #[test]
    fn frames_with_bytes_changed(
        frames in frames(),
        changes in vec((any::<Index>(), any::<u8>()), 1..3),
        cut in any::<Index>(),
    ) {
        let mut bytes = encode(&frames);
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        bytes.truncate(cut.index(bytes.len() + 1).max(bytes.len() / 2));
        compare(Role::Server, &bytes, false)?;
    }
}
