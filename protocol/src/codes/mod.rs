//! The codes a peer sees: one table of error codes, one of close codes.
//!
//! **What lives here.** [`ErrorCode`] (the `code` and `error` fields of an `error` message) and [`close`] (the code of a
//! close frame and what a client should do about it). Each is one table; `docs/reference/codes.md` is generated from
//! them by [`reference_page`], and a test fails when page and tables differ.
//!
//! **What does not.** Reasons with numbers in them (the place that closes writes those), HTTP statuses (see
//! [`crate::handshake`]), internal errors.
//!
//! **Invariants.** A number, once published, keeps its meaning. Words are exactly those of the contract, where it has any.
//!
//! **Who calls in.** Everybody; this room calls nobody. **Tests**: here, in `close.rs`, and `tests/reference.rs`.

pub mod close;
mod reference;

pub use reference::reference_page;

/// First number of the table; the others follow without gaps.
const FIRST: u16 = 101;

/// Why a message of a client was not carried out; the connection stays open.
///
/// Travels as `{"type":"error","error":<text>,"code":<number>,"temporary":<bool>}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The message is an object, but has no `type` (contract W5).
    MissingType = FIRST,
    /// The connection, user or address sent more than its rate limit allows (contract W6).
    RateLimitExceeded,
    /// Nothing handles this `type` (contract W7).
    UnknownType,
    /// The message is not JSON, not an object, or a field has the wrong shape (contract W8).
    InvalidFormat,
    /// `type` is not text (contract K10).
    InvalidType,
    /// The message is larger than the limit, but the connection need not end for it (contract K10).
    MessageTooLarge,
    /// `channel` is missing, empty, too long or has a forbidden character.
    InvalidChannel,
    /// The message asks for something only a subscriber of the channel may have.
    NotSubscribed,
    /// The connection has as many subscriptions as one may have.
    TooManyChannels,
    /// A shard had no room to take the message over.
    Overloaded,
    /// The channel's name begins with the prefix that is the server's own (contract D5).
    ReservedChannel,
    /// A field this `type` needs is missing or has the wrong shape (contract W9).
    InvalidMessage,
    /// The application's handler for this `type` broke (contract D21). The connection is closed with 1011.
    InternalError,
    /// The application's handler for this `type` took longer than it may.
    HandlerTimeout,
    /// The identity's permissions do not reach that far (contract D5).
    NotPermitted,
    /// The token of a `refresh` message was not accepted, or nothing here checks tokens.
    AuthenticationFailed,
    /// The message asks for what only a channel with history has.
    NoHistory,
    /// What keeps the channel's history across restarts has no room.
    StorageFull,
    /// What keeps the channel's history across restarts is broken.
    StorageFailed,
    /// The message asks for something only who has joined may have.
    NotJoined,
    /// There are as many members as there may be.
    TooManyMembers,
    /// `operation` of an edit is none.
    InvalidOperation,
    /// An edit names a version or number that is not its, or does not fit the text it was made on.
    OutOfStep,
    /// An edit would make its document larger than one may be.
    DocumentTooLarge,
    /// It is not known who is in the channel.
    NoPresence,
}

/// One row of the table of error codes.
#[derive(Clone, Copy, Debug)]
pub struct ErrorRow {
    /// The variant.
    pub code: ErrorCode,
    /// The `error` field of the message, word for word.
    pub text: &'static str,
    /// Whether the same message may succeed when sent again later.
    pub temporary: bool,
    /// What happened and what the client can do, one sentence each.
    pub meaning: &'static str,
}

const fn row(
    code: ErrorCode,
    text: &'static str,
    temporary: bool,
    meaning: &'static str,
) -> ErrorRow {
    ErrorRow {
        code,
        text,
        temporary,
        meaning,
    }
}

/// All error codes, ordered by number without gaps.
pub static ERRORS: [ErrorRow; 25] = [
    row(
        ErrorCode::MissingType,
        "Missing message type",
        false,
        "The object has no `type`. Add one.",
    ),
    row(
        ErrorCode::RateLimitExceeded,
        "Rate limit exceeded",
        true,
        "More messages than the limit allows. Send slower, then again.",
    ),
    row(
        ErrorCode::UnknownType,
        "Unknown message type",
        false,
        "Nothing on this server handles this `type`.",
    ),
    row(
        ErrorCode::InvalidFormat,
        "Invalid message format",
        false,
        "Not a JSON object, a known field occurs twice, or a field has the wrong shape.",
    ),
    row(
        ErrorCode::InvalidType,
        "Invalid message type",
        false,
        "`type` is there but is not text.",
    ),
    row(
        ErrorCode::MessageTooLarge,
        "Message too large",
        false,
        "The message is larger than this operation takes. Send less at once.",
    ),
    row(
        ErrorCode::InvalidChannel,
        "Invalid channel",
        false,
        "`channel` is missing, empty, too long or has a forbidden character.",
    ),
    row(
        ErrorCode::NotSubscribed,
        "Not subscribed",
        false,
        "Only a subscriber of the channel may do this. Subscribe first.",
    ),
    row(
        ErrorCode::TooManyChannels,
        "Too many channels",
        false,
        "The connection has as many subscriptions as one may have. Unsubscribe from others first.",
    ),
    row(
        ErrorCode::Overloaded,
        "Overloaded",
        true,
        "The server had no room for the message and did not take it. Send it again later.",
    ),
    row(
        ErrorCode::ReservedChannel,
        "Reserved channel",
        false,
        "The name begins with `$`: such channels belong to the server.",
    ),
    row(
        ErrorCode::InvalidMessage,
        "Invalid message",
        false,
        "A field that this `type` needs is missing or has the wrong shape.",
    ),
    row(
        ErrorCode::InternalError,
        "Internal error",
        false,
        "The server broke while it handled the message. The connection is closed with 1011; what the message asked for may have been done in part.",
    ),
    row(
        ErrorCode::HandlerTimeout,
        "Handler timeout",
        true,
        "Handling the message took longer than the server allows and was given up; what it asked for may have been done in part.",
    ),
    row(
        ErrorCode::NotPermitted,
        "Not permitted",
        false,
        "The permissions of this identity do not allow it. Other permissions come with another token.",
    ),
    row(
        ErrorCode::AuthenticationFailed,
        "Authentication failed",
        false,
        "The new token was not accepted; the connection goes on with the old one until that expires.",
    ),
    row(
        ErrorCode::NoHistory,
        "No history",
        false,
        "The channel has no history, and the message asks for something that needs one.",
    ),
    row(
        ErrorCode::StorageFull,
        "Storage full",
        true,
        "The channel's messages are kept on disk, and the disk is full: the message was not published. Send it again later.",
    ),
    row(
        ErrorCode::StorageFailed,
        "Storage failed",
        true,
        "The channel's messages are kept on disk, and the disk failed: the message was not published. Send it again when the operator has seen to it.",
    ),
    row(
        ErrorCode::NotJoined,
        "Not joined",
        false,
        "Only who has joined may do this. Join first.",
    ),
    row(
        ErrorCode::TooManyMembers,
        "Too many members",
        true,
        "As many have joined as may. Try again when somebody has left.",
    ),
    row(
        ErrorCode::InvalidOperation,
        "Invalid operation",
        false,
        "`operation` is not one: see the concepts of collaboration for what it may be.",
    ),
    row(
        ErrorCode::OutOfStep,
        "Out of step",
        false,
        "The edit names a version or number that is not the next, or does not fit the text of its version. Join again.",
    ),
    row(
        ErrorCode::DocumentTooLarge,
        "Document too large",
        false,
        "The edit would make the document larger than one may be. Take it back and join again.",
    ),
    row(
        ErrorCode::NoPresence,
        "No presence",
        false,
        "The server does not keep who is in this channel (`presence.channels`).",
    ),
];

impl ErrorCode {
    /// The variant's row of [`ERRORS`].
    pub fn row(self) -> &'static ErrorRow {
        &ERRORS[usize::from(self.number() - FIRST)]
    }

    /// The `code` field: 101 and up.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The `error` field, word for word.
    pub fn text(self) -> &'static str {
        self.row().text
    }

    /// Whether the same message may succeed when sent again later.
    pub fn is_temporary(self) -> bool {
        self.row().temporary
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.text())
    }
}

impl std::error::Error for ErrorCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_ordered_by_number_without_gaps() {
        for (index, row) in ERRORS.iter().enumerate() {
            assert_eq!(
                usize::from(row.code.number() - FIRST),
                index,
                "{:?}",
                row.code
            );
        }
        // The last variant has the last row, so no variant is without one.
        assert_eq!(
            ErrorCode::DocumentTooLarge.row().text,
            ERRORS[ERRORS.len() - 1].text
        );
    }

    #[test]
    fn words_are_those_of_the_contract() {
        assert_eq!(ErrorCode::MissingType.text(), "Missing message type");
        assert_eq!(ErrorCode::RateLimitExceeded.text(), "Rate limit exceeded");
        assert_eq!(ErrorCode::UnknownType.text(), "Unknown message type");
        assert_eq!(ErrorCode::InvalidFormat.text(), "Invalid message format");
        assert_eq!(ErrorCode::InvalidType.text(), "Invalid message type");
        assert_eq!(ErrorCode::MessageTooLarge.text(), "Message too large");
        assert_eq!(ErrorCode::InvalidMessage.text(), "Invalid message");
        assert_eq!(
            ErrorCode::AuthenticationFailed.text(),
            "Authentication failed"
        );
        assert_eq!(ErrorCode::UnknownType.number(), 103);
    }

    #[test]
    fn texts_are_unique_and_need_no_json_escape() {
        for (index, row) in ERRORS.iter().enumerate() {
            assert!(
                row.text
                    .bytes()
                    .all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\')
            );
            assert!(ERRORS[..index].iter().all(|other| other.text != row.text));
        }
    }
}
