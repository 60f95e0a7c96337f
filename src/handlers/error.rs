//! How a handler says that it could not.

use shardwire_protocol::codes::ErrorCode;
use shardwire_shards::bounds::{TAG_BYTES_MAX, TAGS_MAX};
use shardwire_shards::vocabulary::Returned;

/// Why a handler did not do what the message asked for. The client is told; the connection stays open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandlerError {
    /// The message does not have the shape the handler takes; answered "Invalid message" (contract W9).
    #[error("the message has not the expected shape: {0}")]
    Shape(#[from] serde_json::Error),
    /// The message asks for something it cannot have; answered with these words, under code 112 (contract K10).
    #[error("refused: {0}")]
    Refused(String),
    /// Anything else; answered "Invalid message format" (contract W8), and logged with this text.
    #[error("{0}")]
    Failed(String),
}

impl HandlerError {
    /// An error with a text for the log. A text for the client is better sent by
    /// [`Context::send`](super::Context::send).
    pub fn failed(reason: impl std::fmt::Display) -> Self {
        Self::Failed(reason.to_string())
    }

    /// A refusal in words for the client, such as "Invalid chat message". Not counted as a failure, not shown to the error hook.
    pub fn refused(words: impl Into<String>) -> Self {
        Self::Refused(words.into())
    }

    /// What the client is told.
    pub(super) fn returned(&self) -> Returned {
        match self {
            Self::Shape(_) => Returned::Failed(ErrorCode::InvalidMessage),
            Self::Refused(words) => Returned::Refused(words.as_str().into()),
            Self::Failed(_) => Returned::Failed(ErrorCode::InvalidFormat),
        }
    }
}

/// Why a connection does not get a tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TagError {
    /// It cannot be a tag.
    #[error("a tag has 1 to {TAG_BYTES_MAX} bytes")]
    Invalid,
    /// Take one off first.
    #[error("a connection has at most {TAGS_MAX} tags")]
    TooMany,
}

impl From<TagError> for HandlerError {
    fn from(error: TagError) -> Self {
        Self::failed(error)
    }
}
