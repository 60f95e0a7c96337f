//! Heads made to hurt: each is answered as said, none panics or is waited for longer than needed.

use std::time::{Duration, Instant};

use super::{answer, request_with};
use crate::handshake::server::{
    MAX_HEAD_BYTES, MAX_HEADERS, Progress, RequestLimits, read_request,
};

fn status(buffer: &[u8]) -> Option<u16> {
    match read_request(buffer, 0, &RequestLimits::default()) {
        Ok(Progress::Complete { .. }) => Some(200),
        Ok(Progress::Incomplete { .. }) => None,
        Err(refusal) => Some(refusal.status),
    }
}

#[test]
fn attack_huge_headers() {
    let head_of = |len: usize| {
        let base = request_with(&[("X", "?")]).len();
        let head = request_with(&[("X", &"x".repeat(len - base + 1))]);
        assert_eq!(head.len(), len);
        head
    };
    assert_eq!(answer(&head_of(MAX_HEAD_BYTES)).0, 101);
    assert_eq!(answer(&head_of(MAX_HEAD_BYTES + 1)).0, 431);
    // Without an end it is refused once the limit is reached, not at the deadline.
    assert_eq!(
        status(&head_of(MAX_HEAD_BYTES + 1)[..MAX_HEAD_BYTES - 1]),
        None
    );
    assert_eq!(
        status(&head_of(MAX_HEAD_BYTES + 1)[..MAX_HEAD_BYTES]),
        Some(431)
    );
}

#[test]
fn attack_many_headers() {
    let head_of = |count: usize| {
        let lines = vec![("X", "?"); count - 5];
        request_with(&lines)
    };
    assert_eq!(answer(&head_of(MAX_HEADERS)).0, 101);
    assert_eq!(answer(&head_of(MAX_HEADERS + 1)).0, 431);
    assert_eq!(answer(&head_of(1000)).0, 431);
}

#[test]
fn two_readers_must_not_see_two_requests() {
    for head in [
        // LF without CR, and CR without LF.
        &b"GET / HTTP/1.1\nHost: a\n\n"[..],
        b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
        // Folded line.
        b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n",
        // Blanks around a name.
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        // Control characters.
        b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHo\0st: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n",
        // No name, no colon.
        b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nb\r\n\r\n",
    ] {
        assert_eq!(
            status(head),
            Some(400),
            "{:?}",
            String::from_utf8_lossy(head)
        );
    }
}

#[test]
fn what_is_not_http_is_refused_at_its_first_byte() {
    assert_eq!(status(b"\x16"), Some(400)); // TLS
    assert_eq!(status(b"\0"), Some(400));
    assert_eq!(status(b"\n"), Some(400));
    assert_eq!(status(b"{\"type\":\"ping\"}"), Some(400));
    assert_eq!(status(b""), None);
    assert_eq!(status(b"\r\n\r\n"), Some(400));
    assert_eq!(status(b"GET /\r\n\r\n"), Some(400));
    assert_eq!(status(b"GET\r\n\r\n"), Some(400));
    assert_eq!(status(b"PRI * HTTP/2.0\r\n\r\n"), Some(505));
    assert_eq!(status(b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n"), Some(400));
}

#[test]
fn attack_bytes_pipelined_behind_the_handshake() {
    let mut buffer = request_with(&[]);
    let head = buffer.len();
    buffer.extend_from_slice(b"\x81\x80\0\0\0\0\n\r\n\r\n\xff");
    match read_request(&buffer, 0, &RequestLimits::default()).unwrap() {
        Progress::Complete { head_len, .. } => assert_eq!(head_len, head),
        Progress::Incomplete { .. } => panic!("the head is whole"),
    }
}

/// A head that comes byte by byte is searched once: each reading goes on where the one before ended.
#[test]
fn attack_a_head_parsed_anew_on_every_read() {
    let head = request_with(&[("X", &"x".repeat(MAX_HEAD_BYTES / 2))]);
    let mut scanned = 0;
    for end in 0..head.len() {
        match read_request(&head[..end], scanned, &RequestLimits::default()).unwrap() {
            Progress::Incomplete { scanned: so_far } => {
                assert!(so_far + 4 >= end, "{so_far} of {end}");
                scanned = so_far;
            }
            Progress::Complete { .. } => panic!("the head is not whole"),
        }
    }
}

/// Sixteen times the head takes about sixteen times as long, whatever is in it; 256 times would be quadratic.
#[test]
fn attack_quadratic_header_parsing() {
    for filling in [
        ",",
        ";",
        "\"",
        "a,",
        "a;b=\"\\\"\",",
        " ",
        "permessage-deflate,",
    ] {
        let time_of = |len: usize| {
            let value = filling.repeat(len / filling.len());
            let head = request_with(&[
                ("Connection", &format!("{value},Upgrade")),
                ("Sec-WebSocket-Extensions", &value),
                ("Sec-WebSocket-Protocol", &value),
            ]);
            // The shortest of several: the others were disturbed.
            (0..7)
                .map(|_| {
                    let begin = Instant::now();
                    for _ in 0..8 {
                        let _ = answer(&head);
                    }
                    begin.elapsed()
                })
                .min()
                .unwrap()
        };
        let (short, long) = (time_of(300), time_of(4_800));
        assert!(
            long < short * 96 + Duration::from_millis(2),
            "{filling:?}: {short:?}, {long:?}"
        );
    }
}
