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

/// A header that broke no rule: its length is within the limit, so it fits a `usize`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    pub(super) fin: bool,
    pub(super) key: Option<[u8; 4]>,
    pub(super) length: usize,
}

impl Header {
    /// Reads the header at the front of `bytes`; `None` when it is not whole yet. Also gives its length in bytes.
    ///
    /// `gathered` is the size so far of the message in progress, if one is. Checks run in the order of the bytes, so that
    /// a header in pieces fails for the same reason as a whole one, at the earliest byte that tells.
    pub(super) fn parse(
        bytes: &[u8],
        rules: &Rules,
        gathered: Option<usize>,
    ) -> Result<Option<(Header, usize)>, DecodeError> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        let fin = first & 0x80 != 0;
        // No extension is negotiated (see `Rules`), so none may set a bit.
        if first & 0x70 != 0 {
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
            // What is gathered is within the limit, so the subtraction cannot wrap; saturating costs nothing.
            let left = limit.saturating_sub(gathered.unwrap_or(0));
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
                key,
                length,
            },
            used,
        )))
    }
}
