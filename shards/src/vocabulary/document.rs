//! What shards say to each other about documents that several people edit.

use bytes::Bytes;
use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::text::Operation;
use std::sync::Arc;

use super::{AnswerId, ChannelName, ConnectionId, UserId};

/// About one document, by the name of the channel its members listen to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DocumentMessage {
    /// A client asks something of a document; to its home, in the lane of deliveries as all of these.
    Ask {
        /// Which document.
        document: ChannelName,
        /// Who.
        connection: ConnectionId,
        /// What.
        ask: DocumentAsk,
    },
    /// A document tells one client something; from its home. In order with what is delivered to all members.
    Tell {
        /// Which document.
        document: ChannelName,
        /// Whom.
        connection: ConnectionId,
        /// What.
        told: DocumentTold,
    },
}

/// What a client asks of a document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DocumentAsk {
    /// To be a member, or to be told again how things are.
    Join(Box<DocumentJoin>),
    /// To edit.
    Edit(Box<DocumentEdit>),
    /// To have its cursor shown there.
    Cursor {
        /// In which version; none: the present one.
        version: Option<u64>,
        /// Where, in characters.
        position: u32,
        /// The `id` of its message, as JSON.
        reply: Option<Box<str>>,
    },
    /// Its permissions have changed: whether it may edit.
    Writes(bool),
    /// To be no member any more.
    Leave,
}

/// Who joins, and what it has already.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DocumentJoin {
    /// As whom.
    pub user: UserId,
    /// What it calls its copy.
    pub replica: Arc<str>,
    /// Whether it may edit.
    pub writes: bool,
    /// Epoch and version of what it has.
    pub has: Option<(u64, u64)>,
    /// The number of its last acknowledged edit.
    pub acknowledged: u64,
    /// Which joining of its shard this is.
    pub ticket: u32,
    /// The `id` of its message, as JSON.
    pub reply: Option<Box<str>>,
}

/// An edit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DocumentEdit {
    /// The version it was made on.
    pub version: u64,
    /// Its number among its author's edits, if the author numbers them.
    pub number: Option<u64>,
    /// What it does.
    pub operation: Operation,
    /// The `id` of its message, as JSON.
    pub reply: Option<Box<str>>,
}

/// What a document tells one client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DocumentTold {
    /// It is a member from here on.
    Joined {
        /// By which joining.
        ticket: u32,
        /// The text of a message.
        text: Bytes,
    },
    /// The text of a message.
    Text(Bytes),
    /// It is no member any more. The text of a message.
    Left(Bytes),
    /// What it asked for cannot be done.
    Refused {
        /// Which joining, if it was one.
        ticket: Option<u32>,
        /// Why.
        code: ErrorCode,
        /// The `id` of its message, as JSON.
        reply: Option<Box<str>>,
    },
}

impl DocumentMessage {
    /// Bytes the message keeps alive outside itself.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        match self {
            Self::Ask { ask, .. } => match ask {
                DocumentAsk::Edit(edit) => edit.operation.memory(),
                _ => 0,
            },
            Self::Tell { told, .. } => match told {
                DocumentTold::Joined { text, .. }
                | DocumentTold::Text(text)
                | DocumentTold::Left(text) => text.len(),
                DocumentTold::Refused { .. } => 0,
            },
        }
    }
}

/// What is asked of a document from outside; given to its home, the home of the channel its members listen to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DocumentCommand {
    /// Its text. Answered by [`Answer::Document`](super::Answer::Document).
    Read,
    /// An edit of the server's own. Answered by [`Answer::Edited`](super::Answer::Edited).
    Edit {
        /// The version it was made on; none: the present one.
        version: Option<u64>,
        /// What it does.
        operation: Operation,
    },
    /// Its end: its members are told that they have left, and nothing of it stays. Answered by [`Answer::Count`](super::Answer::Count):
    /// 1, or 0 if there was none.
    Forget,
}

/// A document's text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DocumentText {
    /// The text.
    pub content: String,
    /// The version it has; 0: nobody has written into it.
    pub version: u64,
}

/// A document's text, or why it could not be read.
pub type DocumentOutcome = Result<DocumentText, ErrorCode>;

/// An edit that is in, by the version it made; or why it is not.
pub type EditOutcome = Result<u64, ErrorCode>;

/// Who asks something of a document from outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DocumentQuestion {
    /// Which document, by the name of the channel its members listen to.
    pub document: ChannelName,
    /// What.
    pub command: DocumentCommand,
    /// Who wants to know.
    pub answer: Option<AnswerId>,
}
