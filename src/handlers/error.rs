//! How a handler says that it could not.

use shardwire_protocol::codes::ErrorCode;

/// Why a handler did not do what the message asked for. The client is told; the connection stays open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandlerError {
    /// The message does not have the shape the handler takes; answered "Invalid message" (contract W9).
    #[error("the message has not the expected shape: {0}")]
    Shape(#[from] serde_json::Error),
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

    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::Shape(_) => ErrorCode::InvalidMessage,
            Self::Failed(_) => ErrorCode::InvalidFormat,
        }
    }
}
