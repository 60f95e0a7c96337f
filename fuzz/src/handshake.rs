//! Any bytes as an upgrade request, or as the answer to one.

use shardwire_protocol::handshake::client::ClientHandshake;
use shardwire_protocol::handshake::response::ResponseHead;
use shardwire_protocol::handshake::server::{
    Progress, Refusal, Request, RequestLimits, read_request, upgrade, write_accept,
};
use shardwire_protocol::websocket::deflate::{Offer, negotiate};

/// Small enough to be reached.
const LIMITS: RequestLimits = RequestLimits {
    max_head_bytes: 1024,
    max_headers: 16,
};

/// Headers of a 101 without subprotocol and extension.
const ACCEPT_HEADERS: usize = 3;

/// The first byte says which of the two, and how long the pieces are.
pub fn handshake(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else {
        return;
    };
    let piece = usize::from(choice >> 1) + 1;
    if choice & 1 == 0 {
        request(bytes, piece);
    } else {
        answer(bytes, piece);
    }
}

/// In any pieces the same request or refusal, and either has a proper answer.
fn request(bytes: &[u8], piece: usize) {
    let whole = outcome(bytes, bytes.len().max(1));
    assert_eq!(outcome(bytes, piece), whole);
    match read_request(bytes, 0, &LIMITS) {
        Ok(Progress::Incomplete { scanned }) => {
            assert!(scanned <= bytes.len() && bytes.len() <= LIMITS.max_head_bytes);
        }
        Ok(Progress::Complete { request, head_len }) => {
            assert!(head_len <= bytes.len().min(LIMITS.max_head_bytes));
            look_at(&request);
        }
        Err(refusal) => refused(&refusal),
    }
}

/// What came of a head that arrived in such pieces, as text.
fn outcome(bytes: &[u8], piece: usize) -> Option<String> {
    let mut scanned = 0;
    let mut end = 0;
    while end < bytes.len() {
        end = (end + piece).min(bytes.len());
        match read_request(&bytes[..end], scanned, &LIMITS) {
            Ok(Progress::Incomplete { scanned: now }) => {
                assert!(now >= scanned && now <= end);
                scanned = now;
            }
            Ok(Progress::Complete { request, head_len }) => {
                let fields: Vec<_> = request.fields().collect();
                let (method, path, query) = (request.method(), request.path(), request.query());
                return Some(format!("{method} {path} {query:?} {fields:?} {head_len}"));
            }
            Err(refusal) => return Some(refusal.to_string()),
        }
    }
    None
}

fn look_at(request: &Request<'_>) {
    assert!(!request.path().contains('?'));
    assert!(request.fields().count() <= LIMITS.max_headers);
    // Any value will do.
    let _ = request.query_value("token");
    let upgrade = match upgrade(request) {
        Ok(upgrade) => upgrade,
        Err(refusal) => return refused(&refusal),
    };
    for takeover in [false, true] {
        let agreement = negotiate(upgrade.extensions.iter().copied(), takeover);
        let protocol = upgrade.protocols.first().copied();
        let mut out = Vec::new();
        write_accept(&mut out, upgrade.key, protocol, agreement.as_ref());
        let headers = head(&out, 101);
        let more = usize::from(protocol.is_some()) + usize::from(agreement.is_some());
        assert!((ACCEPT_HEADERS..=ACCEPT_HEADERS + more).contains(&headers.len()));
        if let Some(agreement) = agreement {
            let mut answer = Vec::new();
            agreement.write(&mut answer);
            let answer = std::str::from_utf8(&answer).expect("what is written is text");
            assert!(negotiate([answer], takeover).is_some(), "{answer}");
        }
    }
}

/// A refusal is a whole HTTP response, whatever it was made of.
fn refused(refusal: &Refusal) {
    let mut out = Vec::new();
    refusal.write(&mut out);
    let headers = head(&out, refusal.status);
    let length = refusal.body().len().to_string();
    assert!(headers.contains(&("Content-Length".to_owned(), length)));
    assert!(out.ends_with(refusal.body().as_bytes()));
}

/// The headers of a response that must be whole.
fn head(out: &[u8], status: u16) -> Vec<(String, String)> {
    let mut slots = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut slots);
    let parsed = response.parse(out).expect("a response");
    assert!(parsed.is_complete());
    assert_eq!((response.version, response.code), (Some(1), Some(status)));
    response
        .headers
        .iter()
        .map(|header| {
            let value = String::from_utf8_lossy(header.value);
            (header.name.to_owned(), value.into_owned())
        })
        .collect()
}

/// In any pieces the same answer, and never one that the head does not bear out.
fn answer(bytes: &[u8], piece: usize) {
    let handshake = ClientHandshake::new([0; 16]);
    let offer = Some(Offer::default());
    let whole = handshake.read_answer(bytes, offer);
    // A head is searched from its beginning each time, so not byte by byte.
    let piece = piece.max(16);
    for end in (0..bytes.len()).step_by(piece) {
        match handshake.read_answer(&bytes[..end], offer) {
            Ok(None) => {}
            outcome => {
                assert_eq!(outcome, whole);
                break;
            }
        }
    }
    let head = ResponseHead::read(bytes);
    if let Ok(Some(accepted)) = whole {
        let head = head.expect("an answer has a head").expect("a whole one");
        assert_eq!((head.status, head.len), (101, accepted.head_len));
        assert!(head.header("sec-websocket-accept").is_some());
    }
    let unoffered = handshake.read_response(bytes);
    if let Ok(Some(len)) = unoffered {
        assert_eq!(
            whole.map(|accepted| accepted.map(|it| it.head_len)),
            Ok(Some(len))
        );
    }
}
