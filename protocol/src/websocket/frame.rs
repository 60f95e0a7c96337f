//! Writing frames. Everything appends to a `Vec<u8>`; nothing here is fragmented.
//!
//! A server's frame is unmasked, so it is the same for every receiver: write it once and share the bytes.

use crate::codes::close;
use smallvec::SmallVec;

/// Longest reason of a close frame, in bytes: a control frame's 125 less the code (RFC 6455 section 5.5).
pub const MAX_REASON: usize = 123;

/// RSV1 of the first byte.
const COMPRESSED: u8 = 0x40;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole text message; the payload is UTF-8.
    Text,
    /// A whole binary message.
    Binary,
    /// Code and reason, or nothing; see [`close_payload`].
    Close,
    /// At most 125 bytes.
    Ping,
    /// At most 125 bytes: those of the ping it answers.
    Pong,
}

impl Kind {
    /// First byte of the frame: FIN and the opcode.
    fn first_byte(self) -> u8 {
        match self {
            Kind::Text => 0x81,
            Kind::Binary => 0x82,
            Kind::Close => 0x88,
            Kind::Ping => 0x89,
            Kind::Pong => 0x8a,
        }
    }

    fn is_control(self) -> bool {
        matches!(self, Kind::Close | Kind::Ping | Kind::Pong)
    }
}

/// Appends an unmasked frame, as servers send them.
///
/// A control frame's payload must be at most 125 bytes: longer is a fault of the caller (asserted in debug builds).
pub fn write_server(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    out.reserve(header_len(payload.len()) + payload.len());
    write_header(out, kind, payload.len(), 0);
    out.extend_from_slice(payload);
}

/// Appends an unmasked frame with a compressed payload (RFC 7692 section 6), as servers send them to whoever negotiated it.
pub fn write_server_deflated(out: &mut Vec<u8>, kind: Kind, deflated: &[u8]) {
    let start = out.len();
    write_server(out, kind, deflated);
    out[start] |= COMPRESSED;
}

/// Appends a masked frame with a compressed payload, as clients send them to a server that negotiated it.
pub fn write_client_deflated(out: &mut Vec<u8>, kind: Kind, deflated: &[u8], mask: [u8; 4]) {
    let start = out.len();
    write_client(out, kind, deflated, mask);
    out[start] |= COMPRESSED;
}

/// Kind and payload of one whole unmasked frame that was written here, and is not compressed; `None` for anything else.
pub fn read_server(frame: &[u8]) -> Option<(Kind, &[u8])> {
    let kind = match frame.first()? {
        0x81 => Kind::Text,
        0x82 => Kind::Binary,
        0x88 => Kind::Close,
        0x89 => Kind::Ping,
        0x8a => Kind::Pong,
        _ => return None,
    };
    let header_len = match frame.get(1)? {
        0..126 => 2,
        126 => 4,
        127 => 10,
        _ => return None,
    };
    Some((kind, frame.get(header_len..)?))
}

/// Appends a frame masked with `mask`, as clients send them. The key should be random and fresh (section 5.3).
///
/// A control frame's payload must be at most 125 bytes: longer is a fault of the caller (asserted in debug builds).
pub fn write_client(out: &mut Vec<u8>, kind: Kind, payload: &[u8], mask: [u8; 4]) {
    out.reserve(header_len(payload.len()) + mask.len() + payload.len());
    write_header(out, kind, payload.len(), 0x80);
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    super::mask(&mut out[start..], mask, 0);
}

/// Appends an unmasked close frame; see [`close_payload`] for what becomes of `code` and `reason`.
pub fn write_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    write_server(out, Kind::Close, &close_payload(code, reason));
}

/// Payload of a close frame. The reason is cut at a character boundary to fit 123 bytes. A code that may not travel
/// (1005 "no status" among them) gives an empty payload, which is how a close without a code is written.
pub fn close_payload(code: u16, reason: &str) -> SmallVec<[u8; 128]> {
    let mut payload = SmallVec::new();
    if close::may_travel(code) {
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(&reason.as_bytes()[..reason.floor_char_boundary(MAX_REASON)]);
    }
    payload
}

/// Appends an unmasked text frame whose payload `body` appends; its length is filled in afterwards. `body` must only
/// append, and only UTF-8. There is no second buffer: room is left for the header of a payload of 126 to 65,535 bytes, and
/// a shorter or longer payload is moved once, by a few bytes.
pub fn write_text_with(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    const GUESS: usize = 4;
    let start = out.len();
    out.extend_from_slice(&[0; GUESS]);
    body(out);
    let payload_start = start + GUESS;
    debug_assert!(out.len() >= payload_start, "body only appends");
    let len = out.len() - payload_start;
    let needed = header_len(len);
    if needed > GUESS {
        let end = out.len();
        out.resize(end + needed - GUESS, 0);
        out.copy_within(payload_start..end, start + needed);
    } else if needed < GUESS {
        out.copy_within(payload_start.., start + needed);
        out.truncate(start + needed + len);
    }
    let (header, _) = header(Kind::Text, len, 0);
    out[start..start + needed].copy_from_slice(&header[..needed]);
}

/// Length of an unmasked header: 2, 4 or 10 bytes.
pub fn header_len(payload_len: usize) -> usize {
    match payload_len {
        0..126 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

fn write_header(out: &mut Vec<u8>, kind: Kind, payload_len: usize, mask_bit: u8) {
    debug_assert!(
        !kind.is_control() || payload_len <= 125,
        "control frames are short"
    );
    let (header, len) = header(kind, payload_len, mask_bit);
    out.extend_from_slice(&header[..len]);
}

/// The header without its key, in its shortest form, and its length.
fn header(kind: Kind, payload_len: usize, mask_bit: u8) -> ([u8; 10], usize) {
    let mut header = [0; 10];
    header[0] = kind.first_byte();
    let len = header_len(payload_len);
    match len {
        2 => header[1] = mask_bit | payload_len as u8,
        4 => {
            header[1] = mask_bit | 126;
            header[2..4].copy_from_slice(&(payload_len as u16).to_be_bytes());
        }
        _ => {
            header[1] = mask_bit | 127;
            header[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
        }
    }
    (header, len)
}
