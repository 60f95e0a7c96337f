//! Tests of the room as a whole.
#![allow(clippy::unwrap_used)]

mod attacks;
mod foreign;
mod policy;
mod splits;

use super::server::{Progress, Refusal, Request, RequestLimits, read_request};

/// A proper request for `/ws`, as a browser sends it, with these lines instead of or besides its own. An empty value leaves a
/// line out.
fn request_with(lines: &[(&str, &str)]) -> Vec<u8> {
    let own = [
        ("Host", "example.org:8080"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ];
    let mut text = String::from("GET /ws HTTP/1.1\r\n");
    for (name, value) in own {
        if !lines.iter().any(|(other, _)| *other == name) {
            text += &format!("{name}: {value}\r\n");
        }
    }
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    text.into_bytes()
}

/// The request of a buffer that holds a whole head.
fn read(buffer: &[u8]) -> Result<Request<'_>, Refusal> {
    match read_request(buffer, 0, &RequestLimits::default())? {
        Progress::Complete { request, head_len } => {
            assert!(buffer[..head_len].ends_with(b"\r\n\r\n"));
            Ok(request)
        }
        Progress::Incomplete { .. } => panic!("the head is whole"),
    }
}

/// Status and body of the answer to a head, 101 for one that may be accepted.
fn answer(buffer: &[u8]) -> (u16, String) {
    match read(buffer).and_then(|request| super::server::upgrade(&request).map(drop)) {
        Ok(()) => (101, String::new()),
        Err(refusal) => (refusal.status, refusal.body().to_owned()),
    }
}
