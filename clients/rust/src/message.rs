//! What travels: messages, and how a connection ends.

use bytes::Bytes;
use shardwire_protocol::codes::close::{self, Advice};
use std::fmt;

/// One WebSocket message, or a control frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Binary data.
    Binary(Bytes),
    /// A ping. A received one has been answered already; one to send may have at most 125 bytes.
    Ping(Bytes),
    /// A pong; at most 125 bytes.
    Pong(Bytes),
    /// The end: nothing follows. `None`: without a code.
    Close(Option<CloseFrame>),
}

impl Message {
    /// A text message.
    pub fn text(text: impl Into<String>) -> Message {
        Message::Text(text.into())
    }

    /// A binary message.
    pub fn binary(bytes: impl Into<Bytes>) -> Message {
        Message::Binary(bytes.into())
    }

    /// The text, if this is a text message.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Message::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Payload in bytes; a close counts its code and reason.
    pub fn len(&self) -> usize {
        match self {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
            Message::Close(frame) => frame.as_ref().map_or(0, |frame| 2 + frame.reason.len()),
        }
    }

    /// Whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this is text or binary data, not a control frame.
    pub fn is_data(&self) -> bool {
        matches!(self, Message::Text(_) | Message::Binary(_))
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Message {
        Message::text(text)
    }
}

impl From<String> for Message {
    fn from(text: String) -> Message {
        Message::Text(text)
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Message {
        Message::Binary(bytes)
    }
}

/// Code and reason of a close frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    /// A code that may travel (RFC 6455 section 7.4).
    pub code: u16,
    /// At most 123 bytes; a longer one is cut when it is sent.
    pub reason: String,
}

impl CloseFrame {
    /// A code and its reason.
    pub fn new(code: u16, reason: impl Into<String>) -> CloseFrame {
        CloseFrame {
            code,
            reason: reason.into(),
        }
    }
}

/// How a connection ended. Exactly one for each connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The peer's close code; 1005 if its close frame had none, 1006 if the connection was cut without one.
    pub code: u16,
    /// The peer's reason, or what went wrong here.
    pub reason: String,
}

impl Ending {
    pub(crate) fn new(code: u16, reason: impl Into<String>) -> Ending {
        Ending {
            code,
            reason: reason.into(),
        }
    }

    pub(crate) fn by_frame(frame: Option<CloseFrame>) -> Ending {
        match frame {
            Some(frame) => Ending::new(frame.code, frame.reason),
            None => Ending::new(close::NO_STATUS, ""),
        }
    }

    pub(crate) fn cut(why: impl fmt::Display) -> Ending {
        Ending::new(close::ABNORMAL, why.to_string())
    }

    /// Whether close frames were exchanged.
    pub fn is_clean(&self) -> bool {
        self.code != close::ABNORMAL
    }

    /// What a client should do now, by the class of the code.
    pub fn advice(&self) -> Advice {
        close::advice(self.code)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "closed with {}", self.code)?;
        let reason = match self.reason.as_str() {
            "" => close::word(self.code),
            reason => reason,
        };
        match reason {
            "" => Ok(()),
            reason => write!(formatter, ": {reason}"),
        }
    }
}
