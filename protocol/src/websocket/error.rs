//! Why a peer's bytes are refused.

use crate::codes::close;

/// The peer broke RFC 6455 or the size limit. Nobody recovers: the connection is closed with [`DecodeError::close_code`]
/// and the `Display` text as reason (at most 123 bytes), and the decoder must not be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// An RSV bit is set that no negotiated extension gives a meaning there (section 5.2; RFC 7692 section 6).
    #[error("reserved bits are set")]
    ReservedBits,
    /// Opcodes 3-7 and 11-15 (section 5.2).
    #[error("reserved opcode {0}")]
    ReservedOpcode(u8),
    /// A control frame without FIN (section 5.5).
    #[error("fragmented control frame")]
    FragmentedControl,
    /// A control frame of more than 125 bytes (section 5.5).
    #[error("control frame longer than 125 bytes")]
    LongControl,
    /// A length that fits a shorter form (section 5.2).
    #[error("length not in its shortest form")]
    LengthNotMinimal,
    /// A 64-bit length with its highest bit set (section 5.2).
    #[error("length with its highest bit set")]
    LengthHighBit,
    /// A client sent an unmasked frame (section 5.1).
    #[error("frame is not masked")]
    NotMasked,
    /// A server sent a masked frame (section 5.1).
    #[error("frame is masked")]
    Masked,
    /// A continuation frame while no message is in progress (section 5.4).
    #[error("continuation without a message")]
    UnexpectedContinuation,
    /// A new message while another one is unfinished (section 5.4).
    #[error("new message inside a fragmented one")]
    ExpectedContinuation,
    /// A text message or a close reason is not UTF-8 (section 8.1).
    #[error("invalid UTF-8")]
    InvalidUtf8,
    /// A close frame with a payload of one byte (section 5.5.1).
    #[error("close frame with a payload of one byte")]
    CloseTooShort,
    /// A close code that may not travel (section 7.4).
    #[error("close code {0} is not allowed")]
    CloseCode(u16),
    /// A compressed message that cannot be inflated (RFC 7692 section 7.2.2).
    #[error("compressed message cannot be inflated")]
    Inflate,
    /// A message larger than [`super::Rules::max_message_size`] (contract D15); known at the header, or
    /// while it is inflated.
    #[error("message larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
}

impl DecodeError {
    /// The code to close with: 1002, 1007 or 1009.
    pub fn close_code(&self) -> u16 {
        match self {
            DecodeError::InvalidUtf8 | DecodeError::Inflate => close::INVALID_PAYLOAD,
            DecodeError::TooLarge { .. } => close::MESSAGE_TOO_LARGE,
            _ => close::PROTOCOL_ERROR,
        }
    }
}
