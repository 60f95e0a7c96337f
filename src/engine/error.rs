//! What can go wrong outside the shards, and who mends it.

use shardwire_protocol::codes::ErrorCode;

use crate::auth::AuthError;
use crate::config::Faults;
use crate::runtime::{PreflightError, RuntimeError};
use crate::storage::StorageError;

/// Why an engine did not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration has faults, all of them listed; the operator mends them.
    #[error(transparent)]
    Config(#[from] Faults),
    /// Authentication cannot be set up: a file with keys, or who verifies; the operator mends it.
    #[error(transparent)]
    Authentication(#[from] AuthError),
    /// The machine lacks something; each message names the command that mends it.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Preflight(Vec<PreflightError>),
    /// TLS cannot be prepared although certificate and key are fine: the system gives no random numbers.
    #[error("TLS cannot be prepared: {0}")]
    Tls(String),
    /// What was stored cannot be used: it is damaged, another process has it, the directory cannot be written. The operator mends it;
    /// the message says how.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The system gives no thread for the storage.
    #[error("the storage's thread cannot be started: {0}")]
    StorageThread(std::io::Error),
    /// A shard could not be started.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The thread of the admin port could not be started.
    #[error("cannot start the thread of the admin port: {0}")]
    Admin(std::io::Error),
    /// The thread that watches the shards could not be started.
    #[error("cannot start the thread that watches the shards: {0}")]
    Watchdog(std::io::Error),
}

/// How an engine ended other than as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A shard broke; the node must be restarted.
    #[error(transparent)]
    Shard(#[from] RuntimeError),
    /// Connections had to be cut because they did not end within `shutdown.drain_timeout`.
    #[error("{connections} connections did not end in time and were cut")]
    Cut {
        /// How many.
        connections: usize,
    },
}

/// Why a new certificate is not used. The one in use stays in use, and nothing else has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// Connections are plain: there is no certificate to reload. The operator sets `listen.tls` and restarts.
    #[error("listen.tls.certificate is not set: there is no certificate to reload")]
    Plain,
    /// The files are at fault, with everything that is wrong with them; the operator mends them.
    #[error(transparent)]
    Files(#[from] Faults),
    /// TLS cannot be prepared although the files are fine: the system gives no random numbers. Try again.
    #[error("TLS cannot be prepared: {0}")]
    Tls(String),
}

/// Why a publication (or broadcast) from outside was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Not a channel's name: 1 to 255 bytes without control characters, not beginning with `$`. The caller's mistake.
    #[error("{0:?} is not the name of a channel one may publish to")]
    Channel(String),
    /// The message cannot be written as JSON. The caller's mistake.
    #[error("the message is not valid JSON: {0}")]
    Message(#[from] serde_json::Error),
    /// The message is longer than `connections.max_outgoing_message_size`. The caller's mistake.
    #[error("the message has {len} bytes; connections.max_outgoing_message_size allows {max}")]
    TooLarge {
        /// Its bytes.
        len: usize,
        /// The most there may be.
        max: usize,
    },
    /// The shard has more to do than it can hold. Nothing was published; try again a little later.
    #[error("the shard is overloaded or the engine has stopped; nothing was published")]
    Overloaded,
    /// An idempotency key has 1 to 64 bytes. The caller's mistake.
    #[error("an idempotency key has 1 to 64 bytes; nothing was published")]
    Key,
    /// The publication asks for what only a channel with history has, and this one has none. The caller's mistake, or the
    /// operator's.
    #[error("the channel has no history, so it knows no idempotency keys; nothing was published")]
    NoHistory,
    /// What keeps the channel's messages has no room. Nothing was published; try again when there is.
    #[error("the storage of the channel's history is full; nothing was published")]
    StorageFull,
    /// What keeps the channel's messages is broken. Nothing was published; the operator mends it.
    #[error("the storage of the channel's history has failed; nothing was published")]
    StorageFailed,
}

impl PublishError {
    /// What a shard says when it does not take a publication.
    pub(crate) fn from_code(code: ErrorCode) -> Self {
        match code {
            ErrorCode::NoHistory => Self::NoHistory,
            ErrorCode::StorageFull => Self::StorageFull,
            ErrorCode::StorageFailed => Self::StorageFailed,
            _ => Self::Overloaded,
        }
    }
}

/// Why something about an inbox was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// Users have no inboxes. The operator sets `notifications.enabled`.
    #[error("users have no inboxes: notifications.enabled is false")]
    Disabled,
    /// Not a user's name: 1 to 128 bytes without control characters. The caller's mistake.
    #[error("{0:?} is not the name of a user")]
    User(String),
    /// The data cannot be written as JSON. The caller's mistake.
    #[error("the data is not valid JSON: {0}")]
    Data(#[from] serde_json::Error),
    /// The data is nested more deeply than clients read. The caller's mistake.
    #[error("the data is nested too deeply")]
    TooDeep,
    /// It says more than `notifications.max_size`. The caller's mistake.
    #[error("the notification has {len} bytes; notifications.max_size allows {max}")]
    TooLarge {
        /// Its bytes.
        len: usize,
        /// The most there may be.
        max: usize,
    },
    /// The shard has more to do, or more notifications to keep, than it can hold. Nothing was done; try again a little later.
    #[error(
        "the user's shard is overloaded, its inboxes are full, or the engine has stopped; nothing was done"
    )]
    Overloaded,
    /// What keeps inboxes has no room. Nothing was done; try again when there is.
    #[error("the storage is full; nothing was done")]
    StorageFull,
    /// What keeps inboxes is broken. Nothing was done; the operator mends it.
    #[error("the storage has failed; nothing was done")]
    StorageFailed,
}

impl NotifyError {
    /// What a shard says when it does not take a notification.
    pub(crate) fn from_code(code: ErrorCode) -> Self {
        match code {
            ErrorCode::StorageFull => Self::StorageFull,
            ErrorCode::StorageFailed => Self::StorageFailed,
            _ => Self::Overloaded,
        }
    }
}

/// Why a document was not read or edited from outside. It is as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Not a document's name: 1 to 200 bytes without control characters. The caller's mistake.
    #[error("{0:?} is not the name of a document")]
    Name(String),
    /// There are no documents. The operator sets `collaboration.enabled`.
    #[error("collaboration.enabled is not set: there are no documents")]
    Disabled,
    /// The edit names a version that there has not been or that is too long ago, or does not fit its text. Read the document again.
    #[error("the edit does not belong to the document as it is")]
    OutOfStep,
    /// The document would be larger than `collaboration.max_document_size`.
    #[error("the document would be larger than collaboration.max_document_size")]
    TooLarge,
    /// The shard has more to do than it can hold, or documents take all the memory they may. Try again a little later.
    #[error("the shard is overloaded or the engine has stopped; the document is as before")]
    Overloaded,
    /// What keeps documents has no room. Try again when there is.
    #[error("the storage of documents is full; the document is as before")]
    StorageFull,
    /// What keeps documents is broken; the operator mends it.
    #[error("the storage of documents has failed; the document is as before")]
    StorageFailed,
}

impl DocumentError {
    /// What a shard says when it does not take an edit.
    pub(crate) fn from_code(code: ErrorCode) -> Self {
        match code {
            ErrorCode::UnknownType => Self::Disabled,
            ErrorCode::OutOfStep => Self::OutOfStep,
            ErrorCode::DocumentTooLarge => Self::TooLarge,
            ErrorCode::StorageFull => Self::StorageFull,
            ErrorCode::StorageFailed => Self::StorageFailed,
            _ => Self::Overloaded,
        }
    }
}

/// Why nobody was closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// Not a code a server may send: 1000 to 1003, 1007 to 1013, 3000 to 4999. The caller's mistake.
    #[error(
        "{0} is not a close code one may send: 1000 to 1003, 1007 to 1013 and 3000 to 4999 are"
    )]
    Code(u16),
}

/// Why a question about presence was not answered, or a presence not changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PresenceError {
    /// Neither a user (1 to 128 bytes without control characters) nor a channel can be called this. The caller's mistake.
    #[error("nobody can be called {0:?}")]
    Name(String),
    /// The change is not an object of `status`, `username`, `currentRoom` and `metadata`, each in its shape. The caller's mistake.
    #[error("the change of a presence is not what it should be")]
    Invalid,
    /// A text, all metadata together, or the list of users is longer than it may be. The caller's mistake.
    #[error("more than a presence holds")]
    TooMuch,
    /// The engine has too much to do, keeps the presence of as many users as it can, or has stopped. Try again later.
    #[error("the engine is overloaded")]
    Overloaded,
}

impl PresenceError {
    /// What a code of the wire means here, such as that of [`PresenceChange::read`](crate::PresenceChange::read).
    #[must_use]
    pub fn from_code(code: ErrorCode) -> Self {
        match code {
            ErrorCode::InvalidMessage => Self::Invalid,
            ErrorCode::MessageTooLarge => Self::TooMuch,
            _ => Self::Overloaded,
        }
    }
}
