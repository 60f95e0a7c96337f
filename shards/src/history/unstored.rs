//! Publications whose record is on its way into a store.

use smallvec::SmallVec;

use super::log::Record;
use crate::vocabulary::{AnswerId, ConnectionId};

/// Who wants to know what became of a publication, while that is not known yet.
#[derive(Debug)]
pub(crate) enum Asker {
    /// A client; without the `id` of its message it is told of failure only.
    Client {
        connection: ConnectionId,
        reply: Option<Box<str>>,
    },
    /// Somebody outside the shards.
    Outside(AnswerId),
}

/// A record that nobody gets before it is stored.
#[derive(Debug)]
pub(crate) struct Unstored {
    pub(crate) record: Record,
    pub(crate) key: Option<Box<str>>,
    /// Its publisher, and those that have sent it again meanwhile.
    pub(crate) askers: SmallVec<[Asker; 1]>,
}
