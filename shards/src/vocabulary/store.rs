//! What a home and a store outside the shard say to each other about logs that outlive the process: of channels, inboxes, documents.
//!
//! The rules between the two: requests of one shard reach its store in their order, and its answers come in the order of
//! the tickets. `Stored` means that what holds the record was synced. A record that was answered otherwise must not be there
//! after a restart: nobody has seen it, and its offset may be given to another one then. A log of which a store is not sure is left
//! out at the start: the shard then begins a new life of it, and subscribers that come back are told.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// Which life of a log: chosen at random when the log begins. Offsets of two lives have nothing to do with each other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    /// As on the wire: 16 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a log is of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum LogKind {
    /// The retained messages of a channel; at home with the channel.
    Channel,
    /// The notifications of a user, and what became of them; at home with the user.
    Inbox,
    /// The edits of a document; at home with the document.
    Document,
}

impl LogKind {
    /// Every kind there is, in the order of their declaration.
    pub const ALL: [Self; 3] = [Self::Channel, Self::Inbox, Self::Document];
}

/// Which log.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct LogName {
    /// What it is of.
    pub kind: LogKind,
    /// The name of that; at most 65,535 bytes.
    pub name: Arc<str>,
}

impl LogName {
    /// The log of this channel.
    #[must_use]
    pub fn channel(name: impl Into<Arc<str>>) -> Self {
        Self {
            kind: LogKind::Channel,
            name: name.into(),
        }
    }

    /// The log of this user's inbox.
    #[must_use]
    pub fn inbox(user: impl Into<Arc<str>>) -> Self {
        Self {
            kind: LogKind::Inbox,
            name: user.into(),
        }
    }

    /// The log of a document, by the name of the channel its members listen to.
    #[must_use]
    pub fn document(name: impl Into<Arc<str>>) -> Self {
        Self {
            kind: LogKind::Document,
            name: name.into(),
        }
    }
}

/// A place in a log. Offset 0 is before the first record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Position {
    /// Which life of the log.
    pub epoch: Epoch,
    /// Grows with every record of that life; never given twice.
    pub offset: u64,
}

/// Ties the answer of a store to what it was asked to keep: grows by one with every [`StoreRequest::Append`] of a shard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct StoreTicket(pub u64);

/// Ties a log that was read to the request for it: grows by one with every [`StoreRequest::Load`] of a shard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct LoadTicket(pub u64);

/// Why a log was not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadFailure {
    /// The store is closed until there is room on its disk again. Temporary.
    Full,
    /// It is not there as it was stored, or the medium cannot be trusted any more.
    Failed,
}

/// One record of a log, as it is kept outside the shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredRecord {
    /// Its place. Offsets grow within an epoch; some may be missing.
    pub offset: u64,
    /// When it came into being, in milliseconds since 1970.
    pub unix_ms: u64,
    /// How long it is of use after that, if its publisher said so, in milliseconds.
    pub lifetime_ms: Option<u64>,
    /// The idempotency key it was published with, so that a retry after a restart is known for what it is.
    pub key: Option<Box<str>>,
    /// What the room that keeps the log has written; no store looks into it. Of a channel: the whole server frame, not compressed,
    /// as subscribers get it.
    pub body: Bytes,
}

/// What a home asks of its store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreRequest {
    /// Keep this, and note its offset as the highest of the log. Answered once, by
    /// [`Input::Stored`](super::Input::Stored).
    Append {
        /// Comes back with the answer.
        ticket: StoreTicket,
        /// Which log.
        log: LogName,
        /// Which life of it.
        epoch: Epoch,
        /// What to keep.
        record: StoredRecord,
    },
    /// A log begins: this is its epoch, and its highest offset so far. Takes the place of what was noted under its name. Not answered.
    Begin {
        /// Which log.
        log: LogName,
        /// Which life of it, and how far it is.
        position: Position,
    },
    /// Records up to this offset are not needed any more; the log goes on. Not answered, and no harm if it is lost in a crash.
    Trim {
        /// Which log.
        log: LogName,
        /// Which life of it, and the last offset that may go.
        through: Position,
    },
    /// Read all of this log, as it is behind the requests before. Answered once, by [`Input::Loaded`](super::Input::Loaded), in no order
    /// with the answers to appends.
    Load {
        /// Comes back with the answer.
        ticket: LoadTicket,
        /// Which log.
        log: LogName,
        /// Which life of it.
        epoch: Epoch,
    },
    /// Nobody needs this life of the log any more, nor its highest offset. Not answered.
    Forget {
        /// Which log.
        log: LogName,
        /// Which life of it.
        epoch: Epoch,
    },
}

/// What became of an [`StoreRequest::Append`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreOutcome {
    /// It is there after any crash.
    Stored,
    /// There was no room for it; it is not there. A later one may fit again.
    Full,
    /// The medium broke or cannot be trusted any more; it is not there.
    Failed,
}

/// A log as a store has kept it, for [`Shard::restore`](crate::Shard::restore) and [`Input::Loaded`](super::Input::Loaded).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoredLog {
    /// Which log.
    pub log: LogName,
    /// Which life of it, and the highest offset that was ever stored in it, also when that record has gone since.
    pub head: Position,
    /// What is kept of it, by offset.
    pub records: Vec<StoredRecord>,
}
