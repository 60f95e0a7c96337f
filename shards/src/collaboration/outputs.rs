//! What a document has to say, and to whom.

use std::sync::Arc;

use shardwire_protocol::text::{Content, Operation};

use super::{Access, Author, Refused};
use crate::vocabulary::UserId;

/// An edit that has its place in the order.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// The version it made.
    pub version: u64,
    /// Who made it.
    pub author: Author,
    /// Its number among its author's edits, from 1.
    pub number: u64,
    /// What it does to the version before. Deletes do not say what they take away: nobody would have checked that.
    pub operation: Operation,
}

/// What the caller wants back with the answer to what a member asked; the document does not look at it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ask {
    /// Which joining it was.
    pub ticket: Option<u32>,
    /// The `id` of the member's message, as JSON.
    pub reply: Option<Box<str>>,
}

/// What the world shall do. `M` names a member, as the world does.
#[derive(Clone, PartialEq, Debug)]
pub enum Output<M> {
    /// Tell one member.
    Reply {
        /// Whom.
        to: M,
        /// What.
        reply: Reply,
        /// What it came with, if it answers something.
        ask: Ask,
    },
    /// Tell all members that are in at this moment.
    Publish {
        /// Who knows already.
        except: Option<M>,
        /// What.
        news: News,
    },
    /// What became of an edit from outside: the version it made.
    Settled {
        /// As given with it.
        token: u64,
        /// Where it is.
        outcome: Result<u64, Refused>,
    },
    /// Store this, in order, and confirm with [`Document::stored`](super::Document::stored).
    Store(Record),
}

/// What one member is told.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// Here is everything.
    State(State),
    /// You have been here; this you have missed.
    Missed(Catchup),
    /// Your edit of this number made this version.
    Acknowledged {
        /// The author's number of the edit.
        number: u64,
        /// The version it made.
        version: u64,
    },
    /// Your edit could not be stored and has not happened. It may be sent again.
    Unstored,
    /// Another connection has joined under your name: you are no member any more.
    Displaced,
}

/// A document as it is.
#[derive(Clone, PartialEq, Debug)]
pub struct State {
    /// Which life of the document.
    pub epoch: u64,
    /// The version.
    pub version: u64,
    /// The text.
    pub content: Content,
    /// The number of the member's last edit that is in; none if the document does not remember the member, and cannot be sure either
    /// that nothing of it came in since the version it has.
    pub last_number: Option<u64>,
    /// What the member may do.
    pub access: Access,
    /// Who is a member, the one that is told among them.
    pub users: Vec<UserId>,
    /// Where other people's cursors are.
    pub cursors: Vec<(UserId, u32)>,
}

/// What somebody missed.
#[derive(Clone, PartialEq, Debug)]
pub struct Catchup {
    /// The edits since the version it named, its own among them.
    pub edits: Vec<Arc<Entry>>,
    /// Whose replica missed it.
    pub author: Author,
    /// Which life of the document.
    pub epoch: u64,
    /// The version these edits lead to.
    pub version: u64,
    /// What the member may do.
    pub access: Access,
    /// Who is a member, the one that is told among them.
    pub users: Vec<UserId>,
    /// Where other people's cursors are.
    pub cursors: Vec<(UserId, u32)>,
}

/// What all members are told.
#[derive(Clone, PartialEq, Debug)]
pub enum News {
    /// Somebody edited.
    Edit(Arc<Entry>),
    /// Somebody's cursor is elsewhere.
    Cursor {
        /// Whose.
        user: UserId,
        /// Where, in characters.
        position: u32,
        /// In which version.
        version: u64,
    },
    /// A user is here with a first connection.
    Joined(UserId),
    /// A user's last connection has gone.
    Left(UserId),
}

/// What is stored. A document is its last snapshot and the edits of later versions.
#[derive(Clone, PartialEq, Debug)]
pub enum Record {
    /// An edit.
    Edit(Arc<Entry>),
    /// The whole document; what was stored before is not needed any more.
    Snapshot(Snapshot),
}

/// A whole document. Its text shares memory with the document's.
#[derive(Clone, PartialEq, Debug)]
pub struct Snapshot {
    /// Which life of the document.
    pub epoch: u64,
    /// The version.
    pub version: u64,
    /// The text.
    pub content: Content,
    /// The authors that are remembered, with number and version of their last edit.
    pub authors: Vec<(Author, u64, u64)>,
    /// All authors of edits of this version or a later one are among them.
    pub authors_complete_from: u64,
}
