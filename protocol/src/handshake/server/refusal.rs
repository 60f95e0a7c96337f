//! Saying no in HTTP.

use smallvec::SmallVec;
use std::{borrow::Cow, fmt};

/// A request that is not served: an HTTP answer after which the connection is closed.
///
/// The body is a short text for the person at the other end; nothing of the server's inside is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    body: Cow<'static, str>,
    headers: SmallVec<[(&'static str, Cow<'static, str>); 1]>,
}

impl Refusal {
    /// A refusal with `status` and the text `body`.
    pub fn new(status: u16, body: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal {
            status,
            body: body.into(),
            headers: SmallVec::new(),
        }
    }

    /// Adds a header. `value` must be free of control characters: those that are not are dropped when written.
    pub fn with_header(
        mut self,
        name: &'static str,
        value: impl Into<Cow<'static, str>>,
    ) -> Refusal {
        self.headers.push((name, value.into()));
        self
    }

    /// 400 with the reason.
    pub fn bad_request(reason: &'static str) -> Refusal {
        Refusal::new(400, reason)
    }

    /// 400 `Expected WebSocket` (contract M21).
    pub fn expected_websocket() -> Refusal {
        Refusal::new(400, "Expected WebSocket")
    }

    /// 401: credentials are missing or wrong.
    pub fn unauthorized() -> Refusal {
        Refusal::new(401, "Authentication failed")
    }

    /// 403 with the reason.
    pub fn forbidden(reason: &'static str) -> Refusal {
        Refusal::new(403, reason)
    }

    /// 404.
    pub fn not_found() -> Refusal {
        Refusal::new(404, "Not found")
    }

    /// 405 with `Allow: GET`.
    pub fn method_not_allowed() -> Refusal {
        Refusal::new(405, "Method not allowed").with_header("Allow", "GET")
    }

    /// 408: the head did not come in time.
    pub fn request_timeout() -> Refusal {
        Refusal::new(408, "Request timeout")
    }

    /// 426 with the version this server speaks (RFC 6455 section 4.4).
    pub fn upgrade_required() -> Refusal {
        Refusal::new(426, "WebSocket version 13 is needed")
            .with_header("Sec-WebSocket-Version", "13")
            .with_header("Upgrade", "websocket")
    }

    /// 429: the address or user has too many connections or opens them too fast; it may try after `retry_after` seconds.
    pub fn too_many_requests(reason: &'static str, retry_after: u32) -> Refusal {
        Refusal::new(429, reason).with_header("Retry-After", retry_after.to_string())
    }

    /// 431: the head is longer or has more lines than the limits.
    pub fn head_too_large() -> Refusal {
        Refusal::new(431, "Request header fields too large")
    }

    /// 503: the server takes no more connections for now; the client may try after `retry_after` seconds.
    pub fn unavailable(reason: &'static str, retry_after: u32) -> Refusal {
        Refusal::new(503, reason).with_header("Retry-After", retry_after.to_string())
    }

    /// 505: neither HTTP/1.0 nor 1.1.
    pub fn version_not_supported() -> Refusal {
        Refusal::new(505, "HTTP version not supported")
    }

    /// The text for the person at the other end.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// Appends the whole HTTP/1.1 response.
    pub fn write(&self, out: &mut Vec<u8>) {
        // An `Upgrade` header has to be named in `Connection` (RFC 9110 section 7.8).
        let upgrade = self.headers.iter().any(|(name, _)| *name == "Upgrade");
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(itoa::Buffer::new().format(self.status).as_bytes());
        out.push(b' ');
        out.extend_from_slice(phrase(self.status).as_bytes());
        out.extend_from_slice(if upgrade {
            b"\r\nConnection: close, Upgrade\r\n".as_slice()
        } else {
            b"\r\nConnection: close\r\n".as_slice()
        });
        for (name, value) in &self.headers {
            super::response::write_header(out, name, value);
        }
        super::response::write_body(
            out,
            "text/plain; charset=utf-8",
            self.body.as_bytes(),
            false,
        );
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.status, self.body)
    }
}

impl std::error::Error for Refusal {}

/// Reason phrase of the statuses that are sent; others go without, which RFC 9112 section 4 allows.
fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
