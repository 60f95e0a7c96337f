//! The client's side of the handshake.

use super::{
    head, lists,
    response::{self, Borrowed},
    server::write_header,
};
use crate::websocket::deflate::{AnswerError, Negotiated, Offer};
use tungstenite::handshake::derive_accept_key;

/// Longest head of a response that is taken, in bytes.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Most header lines of a response that are taken.
pub const MAX_HEADERS: usize = 64;

/// One opening handshake; remembers the key it sent.
#[derive(Clone, Debug)]
pub struct ClientHandshake {
    key: String,
}

/// The server did not open a WebSocket. The connection is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientHandshakeError {
    /// Not 101: the server refused, redirects or wants credentials. What follows the head may say more.
    #[error("the server answered with HTTP status {0}")]
    Status(u16),
    /// Not an HTTP/1.1 response.
    #[error("the answer is not HTTP: {0}")]
    Malformed(&'static str),
    /// The head is longer than [`MAX_HEAD_BYTES`] or has more than [`MAX_HEADERS`] lines.
    #[error("the head of the answer is too large")]
    TooLarge,
    /// 101, but `Upgrade` does not list `websocket` or `Connection` does not list `Upgrade`.
    #[error("the server switched to something that is not a WebSocket")]
    NotWebSocket,
    /// `Sec-WebSocket-Accept` does not fit the key: an answer to somebody else, or not a WebSocket server.
    #[error("the server's Sec-WebSocket-Accept does not fit the key")]
    WrongAccept,
    /// The server chose an extension that was not offered, or its parameters do not answer the offer.
    #[error(transparent)]
    Extension(#[from] AnswerError),
}

/// A server's answer that opens the WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Bytes of the answer's head. Those behind it are the first frames.
    pub head_len: usize,
    /// What holds if the server took the offer of permessage-deflate.
    pub deflate: Option<Negotiated>,
}

impl ClientHandshake {
    /// Begins a handshake with 16 random bytes, fresh for each connection (RFC 6455 section 4.1).
    pub fn new(random: [u8; 16]) -> ClientHandshake {
        ClientHandshake {
            key: base64(random),
        }
    }

    /// Appends the request.
    ///
    /// `host` as in a URL (with the port unless it is the default), `path_and_query` percent-encoded and beginning with `/`,
    /// `headers` further lines such as `Authorization`, `Origin` or `Sec-WebSocket-Protocol`. Control characters are
    /// dropped from all of them (and spaces from the target), so that no text can add a line.
    pub fn write_request(
        &self,
        out: &mut Vec<u8>,
        host: &str,
        path_and_query: &str,
        headers: &[(&str, &str)],
    ) {
        out.extend_from_slice(b"GET ");
        out.extend(
            path_and_query
                .bytes()
                .filter(|byte| byte.is_ascii_graphic() || *byte >= 0x80),
        );
        out.extend_from_slice(b" HTTP/1.1\r\n");
        write_header(out, "Host", host);
        out.extend_from_slice(b"Upgrade: websocket\r\nConnection: Upgrade\r\n");
        write_header(out, "Sec-WebSocket-Version", "13");
        write_header(out, "Sec-WebSocket-Key", &self.key);
        for (name, value) in headers.iter().filter(|(name, _)| lists::is_token(name)) {
            write_header(out, name, value);
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Checks the response at the front of `buffer`: `None` while its head is not whole, else the head's length. The
    /// bytes behind it are the first frames. For a request that offered no extension.
    ///
    /// # Errors
    ///
    /// See [`ClientHandshakeError`]; all are final.
    pub fn read_response(&self, buffer: &[u8]) -> Result<Option<usize>, ClientHandshakeError> {
        let accepted = self.read_answer(buffer, None)?;
        Ok(accepted.map(|accepted| accepted.head_len))
    }

    /// As [`read_response`](Self::read_response), for a request whose `Sec-WebSocket-Extensions` was written by this `offer`.
    ///
    /// # Errors
    ///
    /// See [`ClientHandshakeError`]; all are final.
    pub fn read_answer(
        &self,
        buffer: &[u8],
        offer: Option<Offer>,
    ) -> Result<Option<Accepted>, ClientHandshakeError> {
        response::with_head(buffer, |head| self.judge(&head, offer))
    }

    fn judge(
        &self,
        head: &Borrowed<'_, '_>,
        offer: Option<Offer>,
    ) -> Result<Accepted, ClientHandshakeError> {
        use ClientHandshakeError as Error;
        if head.status != 101 {
            return Err(Error::Status(head.status));
        }
        let values = |name| head::values(head.fields, name);
        if !head.is_http_1_1
            || !lists::any_lists(values("upgrade"), "websocket")
            || !lists::any_lists(values("connection"), "upgrade")
        {
            return Err(Error::NotWebSocket);
        }
        let mut accepts = values("sec-websocket-accept");
        let expected = derive_accept_key(self.key.as_bytes());
        if (accepts.next(), accepts.next()) != (Some(&expected), None) {
            return Err(Error::WrongAccept);
        }
        let mut extensions = values("sec-websocket-extensions")
            .flat_map(lists::quoted_items)
            .peekable();
        let deflate = match offer {
            Some(offer) => offer.check(extensions)?,
            None if extensions.peek().is_some() => return Err(AnswerError::NotOffered.into()),
            None => None,
        };
        Ok(Accepted {
            head_len: head.len,
            deflate,
        })
    }
}

/// RFC 4648 base64 of 16 bytes: 24 characters, the last two of them padding.
fn base64(bytes: [u8; 16]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    // Six bits a digit from the top; 128 bits are 21 digits and two bits, which count as the top of a 22nd.
    let number = u128::from_be_bytes(bytes);
    let digit = |index: u32| {
        let six = match index {
            0..21 => number >> (122 - 6 * index),
            _ => number << 4,
        };
        char::from(DIGITS[(six & 0x3f) as usize])
    };
    (0..22).map(digit).chain("==".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc() {
        assert_eq!(base64(*b"the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(base64([0; 16]), "AAAAAAAAAAAAAAAAAAAAAA==");
        assert_eq!(base64([0xff; 16]), "/////////////////////w==");
    }
}
