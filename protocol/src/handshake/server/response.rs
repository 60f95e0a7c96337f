//! Saying yes: the 101 that begins the frames, and a small page.

use crate::{handshake::lists::is_token, websocket::deflate::Agreement};
use tungstenite::handshake::derive_accept_key;

/// Appends the 101 response that accepts an upgrade (RFC 6455 section 4.2.2).
///
/// `key` is [`super::Upgrade::key`]; `protocol` one of the offered subprotocols, which is left out if it is not a token;
/// `deflate` what [`negotiate`](crate::websocket::deflate::negotiate) made of the offered extensions.
pub fn write_accept(
    out: &mut Vec<u8>,
    key: &str,
    protocol: Option<&str>,
    deflate: Option<&Agreement>,
) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    );
    write_header(
        out,
        "Sec-WebSocket-Accept",
        &derive_accept_key(key.as_bytes()),
    );
    if let Some(protocol) = protocol.filter(|protocol| is_token(protocol)) {
        write_header(out, "Sec-WebSocket-Protocol", protocol);
    }
    if let Some(agreement) = deflate {
        out.extend_from_slice(b"Sec-WebSocket-Extensions: ");
        agreement.write(out);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a 200 response after which the connection is closed; without the body if `head_only` (for `HEAD`).
pub fn write_page(out: &mut Vec<u8>, content_type: &str, body: &[u8], head_only: bool) {
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\nConnection: close\r\n");
    write_body(out, content_type, body, head_only);
}

/// Appends the headers every answer with a body has, the empty line and the body.
pub(super) fn write_body(out: &mut Vec<u8>, content_type: &str, body: &[u8], head_only: bool) {
    write_header(out, "Content-Type", content_type);
    write_header(
        out,
        "Content-Length",
        itoa::Buffer::new().format(body.len()),
    );
    write_header(out, "X-Content-Type-Options", "nosniff");
    write_header(out, "Cache-Control", "no-store");
    out.extend_from_slice(b"\r\n");
    if !head_only {
        out.extend_from_slice(body);
    }
}

/// Appends one header line. Control characters are dropped from the value, so that none can begin another line.
pub(in crate::handshake) fn write_header(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend(value.bytes().filter(|byte| !byte.is_ascii_control()));
    out.extend_from_slice(b"\r\n");
}
