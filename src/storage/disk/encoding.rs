//! How logs are written as keys and values. Part of the format: whoever changes a byte here changes the format's number.
//!
//! | key | value |
//! | --- | --- |
//! | `0` | number of the commit, u64 |
//! | `1`, kind, name | a log's head |
//! | `2`, kind, length of name (u16), name, epoch (u64), offset (u64) | a record |
//!
//! Numbers in keys are big-endian, so that records come in the order of their offsets; in values little-endian. A value ends with a hash of
//! its key and of all before it, so that nothing is taken for what it is not, wherever it was damaged.

use bytes::Bytes;
use twox_hash::XxHash3_64;

use super::super::record::{LogKind, LogName, Record};

/// Where the number of the last commit stands.
pub(super) const COMMIT_KEY: [u8; 1] = [0];
/// What keys of heads begin with.
pub(super) const HEADS: [u8; 1] = [1];
/// What keys of records begin with.
pub(super) const RECORDS: [u8; 1] = [2];

const HASH_LEN: usize = 8;
/// Stands for "none" where a lifetime is expected.
const NO_LIFETIME: u64 = u64::MAX;
/// Stands for "none" where the length of an idempotency key is expected.
const NO_KEY: u16 = u16::MAX;

/// What is kept of a log besides its records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Head {
    pub(super) epoch: u64,
    /// The highest offset given away.
    pub(super) given: u64,
    /// Records up to here were trimmed, and may still stand on the disk.
    pub(super) trimmed: u64,
    /// The last record stored; 0 when none was.
    pub(super) last: u64,
}

/// A record as it stands on the disk.
#[derive(Debug)]
pub(super) struct StoredRecord {
    /// The commit that stored it.
    pub(super) commit: u64,
    /// The record before it in this epoch, 0 when there was none: a missing one is noticed.
    pub(super) previous: u64,
    pub(super) record: Record,
}

/// A record's key, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RecordKey {
    pub(super) log: LogName,
    pub(super) epoch: u64,
    pub(super) offset: u64,
}

/// What stands on disk for a kind; no number is ever used again for something else.
fn kind_byte(kind: LogKind) -> u8 {
    match kind {
        LogKind::Channel => 1,
        LogKind::Inbox => 2,
        LogKind::Document => 3,
    }
}

fn read_kind(byte: u8) -> Option<LogKind> {
    LogKind::ALL
        .into_iter()
        .find(|kind| kind_byte(*kind) == byte)
}

pub(super) fn head_key(log: &LogName) -> Vec<u8> {
    let mut key = Vec::with_capacity(2 + log.name.len());
    key.extend_from_slice(&HEADS);
    key.push(kind_byte(log.kind));
    key.extend_from_slice(log.name.as_bytes());
    key
}

/// The key of a record without its offset: what all records of one life of a log begin with. None when the name is too long.
pub(super) fn life_key(log: &LogName, epoch: u64) -> Option<Vec<u8>> {
    let len = u16::try_from(log.name.len()).ok()?;
    let mut key = Vec::with_capacity(20 + log.name.len());
    key.extend_from_slice(&RECORDS);
    key.push(kind_byte(log.kind));
    key.extend_from_slice(&len.to_be_bytes());
    key.extend_from_slice(log.name.as_bytes());
    key.extend_from_slice(&epoch.to_be_bytes());
    Some(key)
}

pub(super) fn record_key(life: &[u8], offset: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(life.len() + 8);
    key.extend_from_slice(life);
    key.extend_from_slice(&offset.to_be_bytes());
    key
}

pub(super) fn read_head_key(key: &[u8]) -> Option<LogName> {
    let (kind, name) = key.strip_prefix(&HEADS)?.split_first()?;
    Some(LogName {
        kind: read_kind(*kind)?,
        name: std::str::from_utf8(name).ok()?.into(),
    })
}

pub(super) fn read_record_key(key: &[u8]) -> Option<RecordKey> {
    let (kind, rest) = key.strip_prefix(&RECORDS)?.split_first()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(u16::from_be_bytes(*len).into())?;
    let (epoch, offset) = rest.split_first_chunk()?;
    Some(RecordKey {
        log: LogName {
            kind: read_kind(*kind)?,
            name: std::str::from_utf8(name).ok()?.into(),
        },
        epoch: u64::from_be_bytes(*epoch),
        offset: u64::from_be_bytes(offset.try_into().ok()?),
    })
}

pub(super) fn commit_value(commit: u64) -> Vec<u8> {
    sealed(&COMMIT_KEY, commit.to_le_bytes().to_vec())
}

pub(super) fn read_commit(value: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(
        unsealed(&COMMIT_KEY, value)?.try_into().ok()?,
    ))
}

pub(super) fn head_value(key: &[u8], head: &Head) -> Vec<u8> {
    let mut value = Vec::with_capacity(4 * 8 + HASH_LEN);
    for number in [head.epoch, head.given, head.trimmed, head.last] {
        value.extend_from_slice(&number.to_le_bytes());
    }
    sealed(key, value)
}

pub(super) fn read_head(key: &[u8], value: &[u8]) -> Option<Head> {
    let mut rest = unsealed(key, value)?;
    let head = Head {
        epoch: number(&mut rest)?,
        given: number(&mut rest)?,
        trimmed: number(&mut rest)?,
        last: number(&mut rest)?,
    };
    rest.is_empty().then_some(head)
}

/// None when the idempotency key is too long.
pub(super) fn record_value(
    key: &[u8],
    commit: u64,
    previous: u64,
    record: &Record,
) -> Option<Vec<u8>> {
    let name = record.key.as_deref().unwrap_or_default().as_bytes();
    let name_len = match record.key {
        Some(_) => u16::try_from(name.len())
            .ok()
            .filter(|len| *len != NO_KEY)?,
        None => NO_KEY,
    };
    let mut value = Vec::with_capacity(4 * 8 + 2 + name.len() + record.body.len() + HASH_LEN);
    let lifetime = record.lifetime_ms.unwrap_or(NO_LIFETIME);
    for number in [commit, previous, record.unix_ms, lifetime] {
        value.extend_from_slice(&number.to_le_bytes());
    }
    value.extend_from_slice(&name_len.to_le_bytes());
    value.extend_from_slice(name);
    value.extend_from_slice(&record.body);
    Some(sealed(key, value))
}

pub(super) fn read_record(key: &[u8], offset: u64, value: &[u8]) -> Option<StoredRecord> {
    let mut rest = unsealed(key, value)?;
    let commit = number(&mut rest)?;
    let previous = number(&mut rest)?;
    let unix_ms = number(&mut rest)?;
    let lifetime = number(&mut rest)?;
    let (len, rest) = rest.split_first_chunk()?;
    let (name, body) = match u16::from_le_bytes(*len) {
        NO_KEY => (None, rest),
        len => {
            let (name, body) = rest.split_at_checked(len.into())?;
            (Some(std::str::from_utf8(name).ok()?.into()), body)
        }
    };
    Some(StoredRecord {
        commit,
        previous,
        record: Record {
            offset,
            unix_ms,
            lifetime_ms: (lifetime != NO_LIFETIME).then_some(lifetime),
            key: name,
            body: Bytes::copy_from_slice(body),
        },
    })
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u64::from_le_bytes(*number))
}

fn sealed(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let hash = hash_of(key, &value);
    value.extend_from_slice(&hash.to_le_bytes());
    value
}

fn unsealed<'a>(key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (value, hash) = value.split_last_chunk::<HASH_LEN>()?;
    (hash_of(key, value) == u64::from_le_bytes(*hash)).then_some(value)
}

fn hash_of(key: &[u8], value: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(key), value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn record() -> Record {
        Record {
            offset: 7,
            unix_ms: 1_700_000_000_000,
            lifetime_ms: Some(60_000),
            key: Some("order-1".into()),
            body: Bytes::from_static(b"hello"),
        }
    }

    #[test]
    fn a_kind_keeps_its_number_on_disk() {
        for (log, byte) in [
            (LogName::channel("a"), 1),
            (LogName::inbox("a"), 2),
            (LogName::document("a"), 3),
        ] {
            let (head, life) = (head_key(&log), life_key(&log, 9).unwrap());
            assert_eq!((head[HEADS.len()], life[RECORDS.len()]), (byte, byte));
            assert_eq!(read_head_key(&head), Some(log.clone()));
            assert_eq!(read_record_key(&record_key(&life, 7)).unwrap().log, log);
        }
        assert_eq!(read_head_key(&[&HEADS[..], &[4, b'a']].concat()), None);
    }

    #[test]
    fn what_is_written_reads_back() {
        let log = LogName::channel("rooms/é");
        let life = life_key(&log, 9).unwrap();
        let key = record_key(&life, 7);
        let expected = RecordKey {
            log: log.clone(),
            epoch: 9,
            offset: 7,
        };
        assert_eq!(read_record_key(&key).unwrap(), expected);
        for record in [
            record(),
            Record {
                key: None,
                lifetime_ms: None,
                body: Bytes::new(),
                ..record()
            },
        ] {
            let value = record_value(&key, 3, 6, &record).unwrap();
            let read = read_record(&key, 7, &value).unwrap();
            assert_eq!((read.commit, read.previous), (3, 6));
            assert_eq!(read.record, record);
        }
        let head = Head {
            epoch: 9,
            given: 8,
            trimmed: 2,
            last: 7,
        };
        let key = head_key(&log);
        assert_eq!(read_head_key(&key).unwrap(), log);
        assert_eq!(read_head(&key, &head_value(&key, &head)), Some(head));
        assert_eq!(read_commit(&commit_value(12)), Some(12));
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_noticed() {
        let key = record_key(&life_key(&LogName::channel("a"), 1).unwrap(), 7);
        let value = record_value(&key, 3, 6, &record()).unwrap();
        for bit in 0..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read_record(&key, 7, &damaged).is_none(), "bit {bit}");
        }
        for len in 0..value.len() {
            assert!(read_record(&key, 7, &value[..len]).is_none(), "{len} bytes");
        }
        let other = record_key(&life_key(&LogName::channel("a"), 1).unwrap(), 8);
        assert!(
            read_record(&other, 8, &value).is_none(),
            "under another key"
        );
    }

    #[test]
    fn records_of_a_log_stand_in_the_order_of_their_offsets() {
        let life = life_key(&LogName::channel("a"), 1).unwrap();
        let mut last = Vec::new();
        for offset in [1, 2, 255, 256, 65_536, u64::MAX] {
            let key = record_key(&life, offset);
            assert!(last < key);
            last = key;
        }
    }
}
