//! Why opening failed, and why an open connection failed.

use crate::{message::Ending, token::TokenError};
use shardwire_protocol::codes::close::Advice;
use shardwire_protocol::handshake::client::ClientHandshakeError;
use shardwire_protocol::websocket::DecodeError;
use std::{io, sync::Arc, time::Duration};

/// A connection could not be opened. Nothing is left behind. [`ConnectError::advice`] tells whether to try again.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL cannot be connected to. The caller mends it.
    #[error("not a WebSocket URL: {0}")]
    Url(String),
    /// An option or the environment names something unusable (a header, a proxy). The operator mends it.
    #[error("{0}")]
    Options(String),
    /// [`ConnectOptions::token`](crate::ConnectOptions::token) gave none.
    #[error(transparent)]
    Token(TokenError),
    /// Name lookup or TCP failed. Usually passes.
    #[error("cannot connect: {0}")]
    Io(Arc<io::Error>),
    /// TLS failed: certificate, name or protocol. Rarely passes by itself.
    #[error("TLS failed: {0}")]
    Tls(Arc<io::Error>),
    /// The proxy refused the tunnel or does not speak HTTP.
    #[error("the proxy refuses the tunnel: {0}")]
    Proxy(String),
    /// The server answered the upgrade with another HTTP status than 101.
    #[error("the server refuses with HTTP status {status}")]
    Refused {
        /// The status.
        status: u16,
        /// `Retry-After`, if the server sent it, in seconds or as a date; an hour at most.
        retry_after: Option<Duration>,
    },
    /// What answered is no WebSocket server.
    #[error(transparent)]
    Handshake(ClientHandshakeError),
    /// The server chose a subprotocol that was not offered.
    #[error("the server chose the subprotocol {0:?}, which was not offered")]
    Subprotocol(String),
    /// Opening took longer than [`ConnectOptions::connect_timeout`](crate::ConnectOptions::connect_timeout).
    #[error("not open within {0:?}")]
    TimedOut(Duration),
}

impl ConnectError {
    /// What to do now, in the words of the close codes.
    pub fn advice(&self) -> Advice {
        match self {
            ConnectError::Url(_) | ConnectError::Options(_) => Advice::DoNotComeBack,
            ConnectError::Token(TokenError::Later(_)) => Advice::ComeBack,
            ConnectError::Token(TokenError::Never(_)) => Advice::NewTokenFirst,
            ConnectError::Io(_) | ConnectError::Tls(_) | ConnectError::Proxy(_) => Advice::ComeBack,
            ConnectError::TimedOut(_) => Advice::ComeBack,
            ConnectError::Refused { status, .. } => match status {
                429 | 503 => Advice::ComeBackLate,
                401 | 407 => Advice::NewTokenFirst,
                408 | 425 | 500..=599 => Advice::ComeBack,
                _ => Advice::DoNotComeBack,
            },
            ConnectError::Handshake(_) | ConnectError::Subprotocol(_) => Advice::DoNotComeBack,
        }
    }

    /// How long the server asks to be left alone (`Retry-After`).
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            ConnectError::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> ConnectError {
        ConnectError::Io(Arc::new(error))
    }
}

/// An open connection failed or has ended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection has ended: nothing more can be sent. The caller opens a new one.
    #[error("{0}")]
    Ended(Ending),
    /// Reading or writing the socket failed, or it ended without a close frame. The caller opens a new one.
    #[error("the connection was cut: {0}")]
    Cut(Arc<io::Error>),
    /// The peer broke RFC 6455 or [`ConnectOptions::max_message_size`](crate::ConnectOptions::max_message_size); it was
    /// told so in a close frame.
    #[error("the peer broke the protocol: {0}")]
    Protocol(DecodeError),
    /// The peer did not finish the close handshake in time.
    #[error("the peer did not answer the close within {0:?}")]
    CloseTimedOut(Duration),
    /// No pong in time.
    #[error("no pong within {0:?}")]
    PongTimedOut(Duration),
    /// The queue of messages to send is full ([`Connection::try_send`](crate::Connection::try_send)). Wait and try again.
    #[error("the queue of messages to send is full")]
    QueueFull,
    /// A control frame may carry 125 bytes only. The caller sends less.
    #[error("a control frame cannot carry {0} bytes")]
    ControlTooLong(usize),
}

impl Error {
    pub(crate) fn cut(error: io::Error) -> Error {
        Error::Cut(Arc::new(error))
    }

    pub(crate) fn eof() -> Error {
        Error::cut(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "ended without a close frame",
        ))
    }

    /// The ending this error is.
    pub fn ending(&self) -> Ending {
        match self {
            Error::Ended(ending) => ending.clone(),
            other => Ending::cut(other),
        }
    }
}
