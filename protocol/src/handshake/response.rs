//! The head of any HTTP/1.1 response: what a refused client reads its reason from (`Retry-After`), what a proxy answers to
//! CONNECT, and what a health check asks for.

use super::{
    client::{ClientHandshakeError, MAX_HEAD_BYTES, MAX_HEADERS},
    head::{self, Field, Head, HeadError},
};

/// One response's head, in its buffer.
pub(super) struct Borrowed<'f, 'b> {
    pub(super) status: u16,
    /// Whether it says HTTP/1.1, and not 1.0.
    pub(super) is_http_1_1: bool,
    /// Bytes, the empty line included.
    pub(super) len: usize,
    pub(super) fields: &'f [Field<'b>],
}

/// Reads the head at the front of `buffer` and gives it to `judge`: `None` while it is not whole.
pub(super) fn with_head<T>(
    buffer: &[u8],
    judge: impl FnOnce(Borrowed<'_, '_>) -> Result<T, ClientHandshakeError>,
) -> Result<Option<T>, ClientHandshakeError> {
    use ClientHandshakeError as Error;
    let (len, lines) = match head::find_end(buffer, 0, MAX_HEAD_BYTES) {
        Ok(Head::Complete { len, lines }) => (len, lines),
        Ok(Head::Incomplete { .. }) => return Ok(None),
        Err(HeadError::TooLong) => return Err(Error::TooLarge),
        Err(HeadError::BareLineFeed) => {
            return Err(Error::Malformed("a line does not end in CR LF"));
        }
    };
    let mut slots = head::header_slots(lines, MAX_HEADERS);
    let mut response = httparse::Response::new(&mut slots);
    match response.parse(&buffer[..len]) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Error::Malformed("no status line")),
        Err(httparse::Error::TooManyHeaders) => return Err(Error::TooLarge),
        Err(_) => return Err(Error::Malformed("invalid head")),
    }
    let fields = head::fields(response.headers).ok_or(Error::Malformed("a value is not UTF-8"))?;
    judge(Borrowed {
        status: response.code.ok_or(Error::Malformed("no status"))?,
        is_http_1_1: response.version == Some(1),
        len,
        fields: &fields,
    })
    .map(Some)
}

/// Status and header lines of one response, copied out of the buffer: responses are rare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status, such as 101 or 503.
    pub status: u16,
    /// Bytes of the head, its empty line included: what follows is the body, or the tunnel.
    pub len: usize,
    fields: Vec<(String, String)>,
}

impl ResponseHead {
    /// Reads the head at the front of `buffer`: `None` while it is not whole.
    ///
    /// # Errors
    ///
    /// [`ClientHandshakeError::Malformed`] or [`ClientHandshakeError::TooLarge`]; both are final. The status is not judged.
    pub fn read(buffer: &[u8]) -> Result<Option<ResponseHead>, ClientHandshakeError> {
        let copied = |head: Borrowed<'_, '_>| ResponseHead {
            status: head.status,
            len: head.len,
            fields: head
                .fields
                .iter()
                .map(|field| (field.name.to_owned(), field.value.to_owned()))
                .collect(),
        };
        with_head(buffer, |head| Ok(copied(head)))
    }

    /// Value of the first line called `name`, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self
            .fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))?;
        Some(value)
    }

    /// Values of all lines called `name`, in any case, in order.
    pub fn headers<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h str> {
        self.fields
            .iter()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const REFUSED: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\nbody";

    #[test]
    fn a_refusal_is_read_whole_at_any_split() {
        let len = REFUSED.len() - 4;
        for end in 0..len {
            assert_eq!(ResponseHead::read(&REFUSED[..end]), Ok(None), "{end}");
        }
        let head = ResponseHead::read(REFUSED).unwrap().unwrap();
        assert_eq!((head.status, head.len), (503, len));
        assert_eq!(head.header("retry-after"), Some("7"));
        assert_eq!(head.headers("Set-Cookie").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(head.header("location"), None);
    }

    #[test]
    fn what_is_not_http_or_too_long_is_refused() {
        assert_eq!(
            ResponseHead::read(b"SSH-2.0-x\r\n\r\n"),
            Err(ClientHandshakeError::Malformed("invalid head"))
        );
        let endless = vec![b'a'; MAX_HEAD_BYTES];
        assert_eq!(
            ResponseHead::read(&endless),
            Err(ClientHandshakeError::TooLarge)
        );
    }
}
