//! The header of one frame (RFC 6455 section 5.2): read, and checked as far as its bytes tell.

use super::{DecodeError, Role, Rules};

/// Two bytes, eight of length, four of key.
pub(super) const MAX_HEADER: usize = 14;

/// Largest payload of a control frame (section 5.5).
pub(super) const MAX_CONTROL: usize = 125;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    pub(super) fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

/// A message whose last frame has not come yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gathered {
    /// Bytes received of it.
    pub(super) len: usize,
    pub(super) compressed: bool,
}

/// How long the next frame of a message may be.
#[inline(never)]
fn left_of(limit: usize, compressed: bool, gathered: Option<Gathered>) -> usize {
    let (so_far, compressed) =
        gathered.map_or((0, compressed), |message| (message.len, message.compressed));
    let most = if compressed {
        compressed_limit(limit)
    } else {
        limit
    };
    // What is gathered is within the limit, so the subtraction cannot wrap; saturating costs nothing.
    most.saturating_sub(so_far)
}

/// Most bytes a compressed message may have on the wire. What it inflates to is held to the limit itself; a message that
/// does not shrink, and was compressed all the same, is longer than that: by an eighth if its sender uses the fixed codes
/// (RFC 1951 section 3.2.6), and by a few bytes per block.
pub(super) fn compressed_limit(limit: usize) -> usize {
    limit.saturating_add(limit / 8).saturating_add(64)
}

/// A header that broke no rule: its length is within the limit, so it fits a `usize`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    pub(super) fin: bool,
    /// RSV1: the message that begins here is compressed (RFC 7692 section 6).
    pub(super) compressed: bool,
    pub(super) key: Option<[u8; 4]>,
    pub(super) length: usize,
}

impl Header {
    /// Reads the header at the front of `bytes`; `None` when it is not whole yet. Also gives its length in bytes.
    ///
    /// `gathered` is the message in progress, if one is; `deflate`, whether permessage-deflate was negotiated. Checks run in the order of the bytes, so that
    /// a header in pieces fails for the same reason as a whole one, at the earliest byte that tells.
    pub(super) fn parse(
        bytes: &[u8],
        rules: &Rules,
        deflate: bool,
        gathered: Option<Gathered>,
    ) -> Result<Option<(Header, usize)>, DecodeError> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        let fin = first & 0x80 != 0;
        let reserved = first & 0x70;
        let compressed = reserved != 0;
        if compressed && !(deflate && reserved == 0x40 && matches!(first & 0x0f, 1 | 2)) {
            return Err(DecodeError::ReservedBits);
        }
        let opcode = match first & 0x0f {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            other => return Err(DecodeError::ReservedOpcode(other)),
        };
        match (opcode, gathered) {
            (Opcode::Continuation, None) => return Err(DecodeError::UnexpectedContinuation),
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(DecodeError::ExpectedContinuation);
            }
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) if !fin => {
                return Err(DecodeError::FragmentedControl);
            }
            _ => {}
        }

        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        let masked = second & 0x80 != 0;
        match (rules.role, masked) {
            (Role::Server, false) => return Err(DecodeError::NotMasked),
            (Role::Client, true) => return Err(DecodeError::Masked),
            _ => {}
        }
        let short = second & 0x7f;
        if opcode.is_control() {
            if usize::from(short) > MAX_CONTROL {
                return Err(DecodeError::LongControl);
            }
            if opcode == Opcode::Close && short == 1 {
                return Err(DecodeError::CloseTooShort);
            }
        }

        let (length, mut used) = match short {
            126 => {
                let Some(field) = bytes[2..].first_chunk::<2>() else {
                    return Ok(None);
                };
                let length = u16::from_be_bytes(*field);
                if length < 126 {
                    return Err(DecodeError::LengthNotMinimal);
                }
                (u64::from(length), 4)
            }
            127 => {
                let Some(field) = bytes[2..].first_chunk::<8>() else {
                    return Ok(None);
                };
                let length = u64::from_be_bytes(*field);
                if length >> 63 != 0 {
                    return Err(DecodeError::LengthHighBit);
                }
                if length <= u64::from(u16::MAX) {
                    return Err(DecodeError::LengthNotMinimal);
                }
                (length, 10)
            }
            _ => (u64::from(short), 2),
        };
        let length = if opcode.is_control() {
            usize::from(short)
        } else {
            let limit = rules.max_message_size;
            let left = if compressed || gathered.is_some() {
                left_of(limit, compressed, gathered)
            } else {
                limit
            };
            match usize::try_from(length) {
                Ok(length) if length <= left => length,
                _ => return Err(DecodeError::TooLarge { limit }),
            }
        };

        let key = if masked {
            let Some(key) = bytes[used..].first_chunk::<4>() else {
                return Ok(None);
            };
            used += 4;
            Some(*key)
        } else {
            None
        };
        Ok(Some((
            Header {
                opcode,
                fin,
                compressed,
                key,
                length,
            },
            used,
        )))
    }
}
