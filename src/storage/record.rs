//! What is kept, and what can be asked of a store.

use bytes::Bytes;

pub use shardwire_shards::vocabulary::{LogKind, LogName};

/// One entry of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its place, from 1. Grows inside an epoch; places may stay empty, and none is taken twice.
    pub offset: u64,
    /// When it came, in milliseconds since 1970 by the wall clock.
    pub unix_ms: u64,
    /// For how many milliseconds from then on it is of use; none: for as long as the log keeps it.
    pub lifetime_ms: Option<u64>,
    /// The name under which its publisher would repeat it; at most 65,535 bytes.
    pub key: Option<Box<str>>,
    /// The message, never looked into.
    pub body: Bytes,
}

/// A log as it was kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SavedLog {
    /// Whose it is.
    pub log: LogName,
    /// Which life of the log this is.
    pub epoch: u64,
    /// The highest offset this epoch has given away, whether its record is still there or not; 0 when none.
    pub head: u64,
    /// Its records, by offset.
    pub records: Vec<Record>,
}

/// What can be asked of a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Keep this record. Begins the log, or a new epoch of it (what there was of another one is forgotten).
    Append {
        /// Where.
        log: LogName,
        /// In which life of it.
        epoch: u64,
        /// What; its offset is higher than any before it in this epoch.
        record: Record,
    },
    /// This log lives in this epoch, and has given away offsets up to this one.
    Head {
        /// Which log.
        log: LogName,
        /// Its life; another one is forgotten.
        epoch: u64,
        /// 0 when it has just begun.
        offset: u64,
    },
    /// Records up to this offset may go. The head stays, and so an offset never comes twice in an epoch. Nothing happens if the log
    /// lives in another epoch.
    Trim {
        /// Which log.
        log: LogName,
        /// In which life of it.
        epoch: u64,
        /// The last that may go.
        through: u64,
    },
    /// The log is over, records and head. Nothing happens if it lives in another epoch.
    Forget {
        /// Which log.
        log: LogName,
        /// In which life of it.
        epoch: u64,
    },
}

impl Operation {
    /// About how much memory, and disk, it takes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Append { log, record, .. } => {
                64 + log.name.len()
                    + record.body.len()
                    + record.key.as_ref().map_or(0, |key| key.len())
            }
            Self::Head { log, .. } | Self::Trim { log, .. } | Self::Forget { log, .. } => {
                32 + log.name.len()
            }
        }
    }
}
