//! Why a connection is no more.

use std::io;

use thiserror::Error;

/// Why a connection could not be opened or broke. The text is the "kind" under which a report counts it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Failure {
    /// Nobody listens there. The user checks address and server.
    #[error("connection refused (nobody listens there)")]
    Refused,
    /// No answer to the connection attempt within the connect timeout.
    #[error("connecting timed out")]
    ConnectTimeout,
    /// The kernel could not connect: out of ports, out of files, unreachable.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// TLS failed: a certificate that is not trusted, no common version, a broken record.
    #[error("TLS: {0}")]
    Tls(String),
    /// The server opened the WebSocket without the compression that was asked for: what is measured would not be what was meant.
    #[error("the server did not take the offer of permessage-deflate")]
    NotCompressed,
    /// No (whole) answer to the upgrade request within the connect timeout.
    #[error("no answer to the upgrade request in time")]
    HandshakeTimeout,
    /// The server answered the upgrade request with something else than a correct 101; holds its status line.
    #[error("handshake refused: {0}")]
    HandshakeRefused(String),
    /// The server ended the connection before it answered the upgrade request.
    #[error("connection ended during the handshake")]
    HandshakeEnded,
    /// The server closed with a close frame that we did not ask for.
    #[error("closed by the server with {code}{}", reason_text(.reason))]
    ClosedByServer { code: u16, reason: String },
    /// The connection ended without a close frame.
    #[error("connection ended without a close frame")]
    Ended,
    /// Reset or another socket error.
    #[error("connection broken: {0}")]
    Broken(io::ErrorKind),
    /// The server sent what a server must not send.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// The server did not answer our close frame within the close timeout.
    #[error("no answer to the close frame in time")]
    CloseTimeout,
}

fn reason_text(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(" \"{reason}\"")
    }
}

impl Failure {
    /// The failure of a connection attempt.
    pub fn of_connect(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Failure::Refused,
            io::ErrorKind::AddrNotAvailable => Failure::Connect(
                "no free local port for this destination (use --source-addresses)".to_owned(),
            ),
            _ => Failure::Connect(error.to_string()),
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// We asked for it and the server answered the close frame.
    Clean,
    /// We cut it, without a word.
    Cut,
    /// It was never open.
    NotOpened(Failure),
    /// It was open and broke.
    Broken(Failure),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_failure_says_what_happened() {
        let closed = |reason: &str| Failure::ClosedByServer {
            code: 1013,
            reason: reason.to_owned(),
        };
        assert_eq!(closed("").to_string(), "closed by the server with 1013");
        assert_eq!(
            closed("try later").to_string(),
            "closed by the server with 1013 \"try later\""
        );
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(Failure::of_connect(&refused), Failure::Refused);
    }
}
