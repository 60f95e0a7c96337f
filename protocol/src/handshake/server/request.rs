//! Reading a request head that arrives in pieces.

use super::Refusal;
use crate::handshake::{
    head::{self, Field, Head, HeadError},
    lists,
};
use std::{borrow::Cow, fmt};

/// Default of [`RequestLimits::max_head_bytes`]: browsers with large cookies stay below, and it is what others use.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Default of [`RequestLimits::max_headers`]: browsers send about 15, a chain of proxies adds a handful.
pub const MAX_HEADERS: usize = 64;

/// How large a request head may be.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Bytes up to and including the empty line.
    pub max_head_bytes: usize,
    /// Header lines.
    pub max_headers: usize,
}

impl Default for RequestLimits {
    fn default() -> Self {
        RequestLimits {
            max_head_bytes: MAX_HEAD_BYTES,
            max_headers: MAX_HEADERS,
        }
    }
}

/// Outcome of one [`read_request`].
#[derive(Debug)]
pub enum Progress<'b> {
    /// The head is not whole. Call again with more bytes and this `scanned`.
    Incomplete {
        /// How many bytes were searched for the end of the head.
        scanned: usize,
    },
    /// The head is whole.
    Complete {
        /// The request, borrowed from the buffer.
        request: Request<'b>,
        /// Bytes of the head, its empty line included. Those behind it belong to the next protocol: keep them.
        head_len: usize,
    },
}

/// A request head. Borrowed from the buffer it came in.
pub struct Request<'b> {
    method: &'b str,
    target: &'b str,
    minor_version: u8,
    fields: Vec<Field<'b>>,
}

// By hand: a request carries credentials (Authorization, Cookie, query), which must not get into a log by accident.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path())
            .field(
                "headers",
                &self
                    .fields
                    .iter()
                    .map(|field| field.name)
                    .collect::<Vec<_>>(),
            )
            .finish_non_exhaustive()
    }
}

/// Reads the request head at the front of `buffer`.
///
/// `scanned` is where the last call stopped looking for its end (begin with 0), so no byte is searched twice; the head is
/// parsed once, when it is whole.
///
/// # Errors
///
/// A [`Refusal`] to write before closing: 400 for what is not HTTP (LF without CR, folded lines, a value that is not UTF-8,
/// not exactly one `Host` in HTTP/1.1), 431 for a head over the limits, 505 for a version that is not 1.0 or 1.1.
pub fn read_request<'b>(
    buffer: &'b [u8],
    scanned: usize,
    limits: &RequestLimits,
) -> Result<Progress<'b>, Refusal> {
    // A TLS greeting or other binary protocol would else be waited for until the deadline.
    if let Some(first) = buffer.first()
        && !first.is_ascii_alphabetic()
        && *first != b'\r'
    {
        return Err(Refusal::bad_request("not an HTTP request"));
    }
    let (head_len, lines) = match head::find_end(buffer, scanned, limits.max_head_bytes) {
        Ok(Head::Complete { len, lines }) => (len, lines),
        Ok(Head::Incomplete { scanned }) => return Ok(Progress::Incomplete { scanned }),
        Err(HeadError::TooLong) => return Err(Refusal::head_too_large()),
        Err(HeadError::BareLineFeed) => {
            return Err(Refusal::bad_request("a line does not end in CR LF"));
        }
    };
    let request = parse(&buffer[..head_len], lines, limits)?;
    Ok(Progress::Complete { request, head_len })
}

fn parse<'b>(head: &'b [u8], lines: usize, limits: &RequestLimits) -> Result<Request<'b>, Refusal> {
    let mut slots = head::header_slots(lines, limits.max_headers);
    let mut parsed = httparse::Request::new(&mut slots);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        // The empty line is there, but before the request line.
        Ok(httparse::Status::Partial) => return Err(Refusal::bad_request("no request line")),
        Err(error) => return Err(malformed(error)),
    }
    let (Some(method), Some(target), Some(minor_version)) =
        (parsed.method, parsed.path, parsed.version)
    else {
        return Err(Refusal::bad_request("no request line"));
    };
    let fields = head::fields(parsed.headers)
        .ok_or_else(|| Refusal::bad_request("a header value is not UTF-8"))?;
    let request = Request {
        method,
        target,
        minor_version,
        fields,
    };
    // RFC 9112 section 3.2; HTTP/1.0 has requests without.
    match request.headers("host").count() {
        1 => Ok(request),
        0 if minor_version == 0 => Ok(request),
        _ => Err(Refusal::bad_request("exactly one Host header is needed")),
    }
}

fn malformed(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::head_too_large(),
        httparse::Error::Version => Refusal::version_not_supported(),
        httparse::Error::HeaderName => Refusal::bad_request("invalid header name"),
        httparse::Error::HeaderValue => Refusal::bad_request("invalid header value"),
        _ => Refusal::bad_request("invalid request line"),
    }
}

impl<'b> Request<'b> {
    /// `GET`, `HEAD`, … as sent (methods are case-sensitive).
    pub fn method(&self) -> &'b str {
        self.method
    }

    /// Whether the request is HTTP/1.1 (else 1.0).
    pub fn is_http_1_1(&self) -> bool {
        self.minor_version == 1
    }

    /// The path as sent: without query, not percent-decoded.
    pub fn path(&self) -> &'b str {
        let target = self.origin_form();
        target.split_once('?').map_or(target, |(path, _)| path)
    }

    /// What follows the `?`, as sent; `None` without one.
    pub fn query(&self) -> Option<&'b str> {
        self.origin_form().split_once('?').map(|(_, query)| query)
    }

    /// The first value of `name` in the query, decoded as forms are (`%xx`, `+` for a space).
    ///
    /// `None` when there is none or it is not UTF-8. A `%` without two hex digits stands for itself.
    pub fn query_value(&self, name: &str) -> Option<Cow<'b, str>> {
        let pairs = self.query()?.split('&');
        let value = pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find(|(key, _)| form_decode(key).as_deref() == Some(name));
        form_decode(value?.1)
    }

    /// The first value of the header `name` (in any case).
    pub fn header(&self, name: &str) -> Option<&'b str> {
        self.headers(name).next()
    }

    /// The values of all lines of the header `name` (in any case), in order.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &'b str> {
        head::values(&self.fields, name)
    }

    /// All header lines, in order, each with its name as it was sent.
    pub fn fields(&self) -> impl Iterator<Item = (&'b str, &'b str)> {
        self.fields.iter().map(|field| (field.name, field.value))
    }

    /// Whether the request asks for a WebSocket: `Upgrade` lists it. What else is needed, [`super::upgrade()`] checks.
    pub fn wants_upgrade(&self) -> bool {
        lists::any_lists(self.headers("upgrade"), "websocket")
    }

    /// Whether a body follows the head, which nothing here reads.
    pub fn has_body(&self) -> bool {
        let is_zero = |value: &str| !value.is_empty() && value.bytes().all(|byte| byte == b'0');
        self.headers("transfer-encoding").next().is_some()
            || self.headers("content-length").any(|value| !is_zero(value))
    }

    /// The target from its path on: a proxy may send the absolute form (RFC 9112 section 3.2.2).
    fn origin_form(&self) -> &'b str {
        if self.target.starts_with('/') {
            return self.target;
        }
        match self.target.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |start| &rest[start..]),
            None => self.target,
        }
    }
}

/// Decodes a name or value of a form (WHATWG URL section 5.1); `None` when it is not UTF-8.
fn form_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => match after
                .first_chunk::<2>()
                .and_then(|[high, low]| hex(*high, *low))
            {
                Some(byte) => {
                    decoded.push(byte);
                    rest = &after[2..];
                }
                None => decoded.push(b'%'),
            },
            _ => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}
