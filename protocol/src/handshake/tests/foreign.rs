//! Both sides against each other, and each against tungstenite's.

use crate::{
    handshake::{
        client::{ClientHandshake, ClientHandshakeError},
        server::{Progress, RequestLimits, read_request, upgrade, write_accept},
    },
    websocket::deflate::{AnswerError, Offer, negotiate},
};
use std::io::{self, Read, Write};

/// Our server's answer to the bytes of a request.
fn serve(request: &[u8], protocol: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    match read_request(request, 0, &RequestLimits::default()).unwrap() {
        Progress::Complete { request, .. } => {
            let upgrade = upgrade(&request).unwrap();
            let agreement = negotiate(upgrade.extensions.iter().copied(), true);
            write_accept(&mut out, upgrade.key, protocol, agreement.as_ref());
        }
        Progress::Incomplete { .. } => panic!("the request is whole"),
    }
    out
}

/// A peer that answers when it has been written to.
struct Peer<F> {
    written: Vec<u8>,
    answer: Vec<u8>,
    respond: F,
}

impl<F: FnMut(&[u8]) -> Vec<u8>> Read for Peer<F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.written.is_empty() {
            self.answer = (self.respond)(&std::mem::take(&mut self.written));
        }
        let len = (&self.answer[..]).read(into)?;
        self.answer.drain(..len);
        Ok(len)
    }
}

impl<F> Write for Peer<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn tungstenites_client_takes_our_answer() {
    let peer = Peer {
        written: Vec::new(),
        answer: Vec::new(),
        respond: |request: &[u8]| serve(request, None),
    };
    tungstenite::client("ws://example.org:81/ws?a=b", peer).unwrap();
}

// The shape of the callback is tungstenite's.
#[allow(clippy::result_large_err)]
#[test]
fn tungstenites_server_takes_our_request() {
    let handshake = ClientHandshake::new([9; 16]);
    let mut request = Vec::new();
    handshake.write_request(
        &mut request,
        "example.org:81",
        "/ws?a=b",
        &[("Origin", "http://x")],
    );
    let mut peer = Peer {
        written: Vec::new(),
        answer: request,
        respond: |_: &[u8]| Vec::new(),
    };
    let mut seen = None;
    let callback = |request: &tungstenite::handshake::server::Request, response| {
        seen = Some((
            request.uri().to_string(),
            request.headers()["origin"].clone(),
        ));
        Ok(response)
    };
    let socket = tungstenite::accept_hdr(&mut peer, callback).unwrap();
    drop(socket);
    assert_eq!(
        seen.unwrap(),
        ("/ws?a=b".to_owned(), "http://x".parse().unwrap())
    );
    assert_eq!(
        handshake.read_response(&peer.written),
        Ok(Some(peer.written.len()))
    );
}

#[test]
fn our_client_and_server_agree_in_any_pieces() {
    let handshake = ClientHandshake::new(*b"0123456789abcdef");
    let mut request = Vec::new();
    handshake.write_request(
        &mut request,
        "[::1]:8080",
        "/ws",
        &[("Sec-WebSocket-Protocol", "chat")],
    );
    let mut answer = serve(&request, Some("chat"));
    let head = answer.len();
    answer.extend_from_slice(b"\x81\x02hi");
    for end in 0..head {
        assert_eq!(handshake.read_response(&answer[..end]), Ok(None), "{end}");
    }
    assert_eq!(handshake.read_response(&answer), Ok(Some(head)));
}

#[test]
fn no_text_of_the_caller_adds_a_line() {
    let handshake = ClientHandshake::new([1; 16]);
    let mut request = Vec::new();
    let headers = [("A\r\nB", "dropped"), ("C", "d\r\nE: f")];
    handshake.write_request(&mut request, "h\r\nX: y", "/ a\r\nZ: z", &headers);
    let text = String::from_utf8(request).unwrap();
    assert_eq!(text.lines().count(), 8, "{text}");
    assert!(text.starts_with("GET /aZ:z HTTP/1.1\r\nHost: hX: y\r\n"));
    assert!(text.ends_with("C: dE: f\r\n\r\n"));
}

#[test]
fn client_and_server_agree_on_compression() {
    let handshake = ClientHandshake::new([1; 16]);
    for takeover in [false, true] {
        let offer = Offer { takeover };
        let mut value = Vec::new();
        offer.write(&mut value);
        let headers = [("Sec-WebSocket-Extensions", str::from_utf8(&value).unwrap())];
        let mut request = Vec::new();
        handshake.write_request(&mut request, "a", "/", &headers);
        let answer = serve(&request, None);
        let accepted = handshake
            .read_answer(&answer, Some(offer))
            .unwrap()
            .unwrap();
        assert_eq!(accepted.head_len, answer.len());
        let negotiated = accepted.deflate.unwrap();
        assert_eq!(
            (negotiated.send.takeover, negotiated.receive.takeover),
            (takeover, takeover)
        );
        // Half an answer is none yet; one to somebody who offered nothing is refused.
        assert_eq!(
            handshake.read_answer(&answer[..answer.len() - 1], Some(offer)),
            Ok(None)
        );
        assert_eq!(
            handshake.read_response(&answer),
            Err(ClientHandshakeError::Extension(AnswerError::NotOffered))
        );
    }
    let mut request = Vec::new();
    handshake.write_request(&mut request, "a", "/", &[]);
    let accepted = handshake.read_answer(&serve(&request, None), Some(Offer::default()));
    assert_eq!(accepted.unwrap().unwrap().deflate, None);
}

#[test]
fn answers_that_open_no_websocket() {
    use ClientHandshakeError::*;
    let handshake = ClientHandshake::new([1; 16]);
    let mut request = Vec::new();
    handshake.write_request(&mut request, "a", "/", &[]);
    let good = String::from_utf8(serve(&request, None)).unwrap();
    let read = |answer: &str| handshake.read_response(answer.as_bytes());
    assert_eq!(read(&good), Ok(Some(good.len())));
    assert_eq!(
        read("HTTP/1.1 400 Bad Request\r\n\r\nExpected WebSocket"),
        Err(Status(400))
    );
    assert_eq!(
        read("HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n"),
        Err(Status(302))
    );
    assert_eq!(
        read(&good.replace("Upgrade: websocket", "Upgrade: h2c")),
        Err(NotWebSocket)
    );
    assert_eq!(
        read(&good.replace("Connection: Upgrade", "Connection: close")),
        Err(NotWebSocket)
    );
    assert_eq!(
        read(&good.replace("HTTP/1.1", "HTTP/1.0")),
        Err(NotWebSocket)
    );
    assert_eq!(
        ClientHandshake::new([2; 16]).read_response(good.as_bytes()),
        Err(WrongAccept)
    );
    let with = |line: &str| good.replacen("\r\n", &format!("\r\n{line}\r\n"), 1);
    assert_eq!(read(&with("Sec-WebSocket-Accept: x")), Err(WrongAccept));
    assert_eq!(
        read(&with("Sec-WebSocket-Extensions: permessage-deflate")),
        Err(Extension(AnswerError::NotOffered))
    );
    assert!(matches!(read("SSH-2.0-x\r\n\r\n"), Err(Malformed(_))));
    assert!(matches!(
        read("HTTP/1.1 101 x\nA: b\n\n"),
        Err(Malformed(_))
    ));
    assert_eq!(
        read(&with(&format!("X: {}", "x".repeat(17_000)))),
        Err(TooLarge)
    );
    assert_eq!(read(&with(&["X: y"; 70].join("\r\n"))), Err(TooLarge));
}
