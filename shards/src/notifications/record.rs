//! How an inbox is written into its log: notifications, and what became of them. No store looks into it.
//!
//! | first byte | then |
//! | --- | --- |
//! | 1 | what became of it (1 byte), its number (u64), the number of the oldest that was there (u64), what it says |
//! | 2 | what became of them (1 byte), their numbers (u64 each) |
//!
//! Numbers are little-endian. A record's time is that of the notification, its lifetime how long that is kept. The same notification may
//! stand in the log twice: the later one has what became of it until then.

use bytes::Bytes;

use super::inbox::{Entry, Numbers, State};
use crate::vocabulary::StoredRecord;

const PUT: u8 = 1;
const MARKS: u8 = 2;

/// What a record says.
pub(super) enum Record {
    Put {
        entry: Entry,
        /// Notifications before this one had gone.
        first: u64,
    },
    Marks {
        state: State,
        numbers: Numbers,
    },
}

/// A notification at its offset.
pub(super) fn put(entry: &Entry, first: u64) -> StoredRecord {
    let mut body = Vec::with_capacity(18 + entry.members.len());
    body.extend_from_slice(&[PUT, entry.state.saved()]);
    body.extend_from_slice(&entry.number.to_le_bytes());
    body.extend_from_slice(&first.to_le_bytes());
    body.extend_from_slice(&entry.members);
    StoredRecord {
        offset: entry.offset,
        unix_ms: entry.unix_ms,
        lifetime_ms: Some(entry.expires_unix_ms.saturating_sub(entry.unix_ms)),
        key: None,
        body: Bytes::from(body),
    }
}

/// What became of notifications, noted at this offset.
pub(super) fn marks(offset: u64, unix_ms: u64, state: State, numbers: &[u64]) -> StoredRecord {
    let mut body = Vec::with_capacity(2 + 8 * numbers.len());
    body.extend_from_slice(&[MARKS, state.saved()]);
    for number in numbers {
        body.extend_from_slice(&number.to_le_bytes());
    }
    StoredRecord {
        offset,
        unix_ms,
        lifetime_ms: None,
        key: None,
        body: Bytes::from(body),
    }
}

/// None: it was not written by us.
pub(super) fn read(record: &StoredRecord) -> Option<Record> {
    let (kind, rest) = record.body.split_first()?;
    let (state, mut rest) = rest.split_first()?;
    let state = State::restored(*state);
    match *kind {
        PUT => {
            let number = take(&mut rest)?;
            let first = take(&mut rest)?;
            let lifetime = record.lifetime_ms?;
            Some(Record::Put {
                entry: Entry {
                    number,
                    offset: record.offset,
                    unix_ms: record.unix_ms,
                    expires_unix_ms: record.unix_ms.saturating_add(lifetime),
                    members: rest.into(),
                    in_flight: 0,
                    state,
                },
                first,
            })
        }
        MARKS => {
            let mut numbers = Numbers::new();
            while !rest.is_empty() {
                numbers.push(take(&mut rest)?);
            }
            Some(Record::Marks { state, numbers })
        }
        _ => None,
    }
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u64::from_le_bytes(*number))
}
