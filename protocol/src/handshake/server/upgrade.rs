//! Whether a request is a proper WebSocket upgrade.

use super::{Refusal, Request};
use crate::handshake::lists;
use smallvec::SmallVec;

/// A request that may be accepted.
#[derive(Debug)]
pub struct Upgrade<'b> {
    /// `Sec-WebSocket-Key`, for [`super::write_accept`].
    pub key: &'b str,
    /// Offered subprotocols in the client's order, over all lines; maybe credentials among them (contract D18).
    pub protocols: SmallVec<[&'b str; 4]>,
    /// Offered extensions with their parameters, as sent: see [`negotiate`](crate::websocket::deflate::negotiate).
    pub extensions: SmallVec<[&'b str; 4]>,
}

/// Checks that `request` is a WebSocket upgrade (RFC 6455 section 4.2.1).
///
/// # Errors
///
/// * 400 `Expected WebSocket`: not a WebSocket upgrade at all (contract M21).
/// * 405 with `Allow: GET`: another method.
/// * 426 with `Sec-WebSocket-Version: 13`: another version of the protocol, or none.
/// * 400: HTTP/1.0, no `Connection: Upgrade`, a body, or a key that is missing, sent twice or not 16 bytes in base64.
pub fn upgrade<'b>(request: &Request<'b>) -> Result<Upgrade<'b>, Refusal> {
    if !request.wants_upgrade() {
        return Err(Refusal::expected_websocket());
    }
    if request.method() != "GET" {
        return Err(Refusal::method_not_allowed());
    }
    if !request.is_http_1_1() {
        return Err(Refusal::bad_request("an upgrade needs HTTP/1.1"));
    }
    if !lists::any_lists(request.headers("connection"), "upgrade") {
        return Err(Refusal::bad_request(
            "the Connection header must list Upgrade",
        ));
    }
    if request.has_body() {
        return Err(Refusal::bad_request("an upgrade has no body"));
    }
    let mut versions = request.headers("sec-websocket-version");
    match (versions.next(), versions.next()) {
        (Some("13"), None) => {}
        (Some(_), Some(_)) => {
            return Err(Refusal::bad_request("more than one Sec-WebSocket-Version"));
        }
        _ => return Err(Refusal::upgrade_required()),
    }
    let mut keys = request.headers("sec-websocket-key");
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(Refusal::bad_request(
            "exactly one Sec-WebSocket-Key is needed",
        ));
    };
    if !is_key(key) {
        return Err(Refusal::bad_request(
            "Sec-WebSocket-Key is not 16 bytes in base64",
        ));
    }
    Ok(Upgrade {
        key,
        protocols: request
            .headers("sec-websocket-protocol")
            .flat_map(lists::tokens)
            .collect(),
        extensions: request
            .headers("sec-websocket-extensions")
            .flat_map(lists::quoted_items)
            .collect(),
    })
}

/// Whether `key` is base64 of 16 bytes: 22 digits and two signs of padding. The four bits that base64 has too many are not
/// looked at; hand-made keys often have them set.
fn is_key(key: &str) -> bool {
    let Some(digits) = key.strip_suffix("==") else {
        return false;
    };
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    digits.len() == 22 && digits.bytes().all(is_digit)
}
