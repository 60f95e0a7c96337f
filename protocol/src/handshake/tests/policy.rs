//! What is accepted, what is refused, and how the answers look.

use super::{answer, read, request_with};
use crate::{
    handshake::server::{Refusal, upgrade, write_accept, write_page},
    websocket::deflate::negotiate,
};

#[test]
fn a_proper_upgrade() {
    let buffer = request_with(&[
        ("Sec-WebSocket-Protocol", "chat, bearer.abc"),
        ("sec-websocket-protocol", "stream"),
        (
            "Sec-WebSocket-Extensions",
            "permessage-deflate; client_max_window_bits, x; y=\"1,2\"",
        ),
        ("Origin", "https://example.org"),
    ]);
    let request = read(&buffer).unwrap();
    assert_eq!(
        (request.method(), request.path(), request.query()),
        ("GET", "/ws", None)
    );
    assert_eq!(request.header("ORIGIN"), Some("https://example.org"));
    assert_eq!(request.header("cookie"), None);
    assert!(request.wants_upgrade() && request.is_http_1_1() && !request.has_body());
    let upgrade = upgrade(&request).unwrap();
    assert_eq!(upgrade.key, "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(upgrade.protocols[..], ["chat", "bearer.abc", "stream"]);
    assert_eq!(
        upgrade.extensions[..],
        ["permessage-deflate; client_max_window_bits", "x; y=\"1,2\""]
    );
}

#[test]
fn legal_requests_that_some_servers_refuse() {
    for lines in [
        &[("Connection", "keep-alive"), ("connection", "Upgrade")][..],
        &[("Connection", "keep-alive,\tUpgrade")],
        &[("Connection", "keep-alive, upgrade ,")],
        &[("Upgrade", "h2c, websocket")],
        &[("Upgrade", "h2c"), ("upgrade", "WebSocket")],
        &[("Content-Length", "0")],
        &[("X-Empty", " "), ("X-Umlaut", "ü")],
        &[("Sec-WebSocket-Extensions", "constructor; =; \"")],
    ] {
        assert_eq!(answer(&request_with(lines)).0, 101, "{lines:?}");
    }
    // A line's end before the request line (RFC 9112 section 2.2).
    assert_eq!(answer(&[b"\r\n", &request_with(&[])[..]].concat()).0, 101);
}

#[test]
fn refused_upgrades() {
    for (status, lines) in [
        (400, &[("Upgrade", "")][..]),
        (400, &[("Upgrade", "h2c")]),
        (400, &[("Upgrade", "websockets")]),
        (400, &[("Connection", "")]),
        (400, &[("Connection", "keep-alive")]),
        (400, &[("Host", "")]),
        (400, &[("Host", "a"), ("host", "b")]),
        (400, &[("Host", "a"), ("Host", "a")]),
        (426, &[("Sec-WebSocket-Version", "")]),
        (426, &[("Sec-WebSocket-Version", "8")]),
        (426, &[("Sec-WebSocket-Version", "13, 8")]),
        (426, &[("Sec-WebSocket-Version", "013")]),
        (
            400,
            &[
                ("Sec-WebSocket-Version", "13"),
                ("Sec-WebSocket-Version", "13"),
            ],
        ),
        (400, &[("Sec-WebSocket-Key", "")]),
        (400, &[("Sec-WebSocket-Key", "short==")]),
        (400, &[("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZTA=")]),
        (400, &[("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j*Q==")]),
        (
            400,
            &[
                ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ],
        ),
        (400, &[("Content-Length", "5")]),
        (400, &[("Content-Length", "-1")]),
        (400, &[("Transfer-Encoding", "chunked")]),
    ] {
        assert_eq!(answer(&request_with(lines)).0, status, "{lines:?}");
    }
    let buffer = request_with(&[]);
    let text = str::from_utf8(&buffer).unwrap();
    assert_eq!(answer(text.replacen("GET", "POST", 1).as_bytes()).0, 405);
    assert_eq!(answer(text.replacen("GET", "get", 1).as_bytes()).0, 405);
    assert_eq!(answer(text.replacen("1.1", "1.0", 1).as_bytes()).0, 400);
    assert_eq!(
        answer(text.replacen("HTTP/1.1", "HTTP/2.0", 1).as_bytes()).0,
        505
    );
}

#[test]
fn not_an_upgrade_expects_a_websocket() {
    // Contract M21.
    let expected = (400, "Expected WebSocket".to_owned());
    assert_eq!(answer(b"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n"), expected);
    assert_eq!(
        answer(b"POST /ws HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
        expected
    );
}

#[test]
fn targets() {
    let target = |target: &str| {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
        let request = read(&head).unwrap();
        (
            request.path().to_owned(),
            request.query().map(str::to_owned),
        )
    };
    let of = |path: &str, query: Option<&str>| (path.to_owned(), query.map(str::to_owned));
    assert_eq!(target("/"), of("/", None));
    assert_eq!(target("/a%20b?x=/y?z"), of("/a%20b", Some("x=/y?z")));
    assert_eq!(target("/?"), of("/", Some("")));
    assert_eq!(target("/a?u=http://b/c"), of("/a", Some("u=http://b/c")));
    assert_eq!(target("http://a:1/ws?q"), of("/ws", Some("q")));
    assert_eq!(target("http://a"), of("/", None));
    assert_eq!(target("*"), of("*", None));
}

#[test]
fn query_values() {
    let head = b"GET /?a=1&b=x%20y+z&a=2&%63=%C3%BC&bad=%ff&odd=%zz%4&empty&=&e%20f=g HTTP/1.1\r\nHost: a\r\n\r\n";
    let request = read(head).unwrap();
    let value = |name| request.query_value(name).map(|value| value.into_owned());
    assert_eq!(value("a").as_deref(), Some("1"));
    assert_eq!(value("b").as_deref(), Some("x y z"));
    assert_eq!(value("c").as_deref(), Some("ü"));
    assert_eq!(value("bad"), None);
    assert_eq!(value("odd").as_deref(), Some("%zz%4"));
    assert_eq!(value("empty").as_deref(), Some(""));
    assert_eq!(value("e f").as_deref(), Some("g"));
    assert_eq!(value("none"), None);
}

#[test]
fn debug_shows_no_credentials() {
    let buffer = request_with(&[("Authorization", "Bearer s3cret"), ("Cookie", "s3cret")]);
    let text = String::from_utf8(buffer)
        .unwrap()
        .replacen("/ws", "/ws?token=s3cret", 1);
    assert!(!format!("{:?}", read(text.as_bytes()).unwrap()).contains("s3cret"));
}

#[test]
fn answers_are_proper_http() {
    let mut out = Vec::new();
    Refusal::expected_websocket().write(&mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: 18\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n\r\nExpected WebSocket"
    );

    let mut out = Vec::new();
    Refusal::upgrade_required().write(&mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("HTTP/1.1 426 Upgrade Required\r\nConnection: close, Upgrade\r\n"));
    assert!(text.contains("\r\nSec-WebSocket-Version: 13\r\n"));
    assert!(text.contains("\r\nUpgrade: websocket\r\n"));

    let mut out = Vec::new();
    Refusal::unavailable("full", 7)
        .with_header("X-A", "b\r\nX-C: d")
        .write(&mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("\r\nRetry-After: 7\r\n"));
    assert!(text.contains("\r\nX-A: bX-C: d\r\n"));

    let mut out = Vec::new();
    let agreement = negotiate(["permessage-deflate; server_max_window_bits=10"], true);
    write_accept(
        &mut out,
        "dGhlIHNhbXBsZSBub25jZQ==",
        Some("chat"),
        agreement.as_ref(),
    );
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n\r\n"
    );

    let (mut page, mut head) = (Vec::new(), Vec::new());
    write_page(&mut page, "text/html; charset=utf-8", b"<p>", false);
    write_page(&mut head, "text/html; charset=utf-8", b"<p>", true);
    assert_eq!(page, [&head[..], b"<p>"].concat());
    assert!(
        String::from_utf8(head)
            .unwrap()
            .contains("\r\nContent-Length: 3\r\n")
    );
}
