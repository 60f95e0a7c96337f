//! Everything that is in the database, read once and checked: hashes, and that no record is missing between two others, before the
//! first, or after the last.

use std::collections::HashMap;

use fjall::{Keyspace, UserKey, UserValue};

use super::super::error::Damage;
use super::super::record::{LogName, Record, SavedLog};
use super::encoding::{
    COMMIT_KEY, HEADS, Head, RECORDS, StoredRecord, life_key, read_commit, read_head,
    read_head_key, read_record, read_record_key,
};
use super::runs::Runs;
use super::witness::Testimony;

/// What the store remembers of a log while it is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogState {
    pub(super) head: Head,
    /// Its records, those trimmed left out.
    pub(super) records: Runs,
}

/// Records that are to be removed: of one life of a log, by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Removal {
    pub(super) life: Vec<u8>,
    pub(super) records: Runs,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// Number of the last commit.
    pub(super) commit: u64,
    pub(super) logs: HashMap<LogName, LogState>,
    /// Trimmed or forgotten, and not removed yet.
    pub(super) garbage: Vec<Removal>,
    /// Of a commit that was refused: they must not be there.
    pub(super) refused: Vec<Removal>,
    /// Logs whose heads name refused records.
    pub(super) changed: Vec<LogName>,
}

/// Reads all. Whole logs are given to `each`, unless it is none.
pub(super) fn scan(
    keyspace: &Keyspace,
    testimony: Testimony,
    each: Option<&mut dyn FnMut(SavedLog)>,
) -> Result<Scanned, Damage> {
    let mut scanned = Scanned {
        commit: commit(keyspace)?,
        ..Scanned::default()
    };
    for entry in keyspace.prefix(HEADS) {
        let (key, value) = readable(entry, "in the heads of logs")?;
        let (Some(log), Some(head)) = (read_head_key(&key), read_head(&key, &value)) else {
            let place = format!("head {}", shown(&key));
            return Err(Damage::new(
                place,
                "its bytes are not those that were stored",
            ));
        };
        let state = LogState {
            head,
            records: Runs::default(),
        };
        scanned.logs.insert(log, state);
    }
    let mut scan = Scan {
        scanned,
        testimony,
        each,
        life: None,
    };
    let mut last = String::from("before the first record");
    for entry in keyspace.prefix(RECORDS) {
        let (key, value) = readable(entry, &last)?;
        scan.record(&key, &value)?;
        if let Some(life) = &scan.life {
            last.clear();
            last.push_str("after ");
            life.describe(&mut last);
        }
    }
    scan.finish()
}

/// Reads and checks one log, whose head is this one.
pub(super) fn read_log(keyspace: &Keyspace, log: &LogName, head: Head) -> Result<SavedLog, Damage> {
    let place = || format!("{:?} {:?}, epoch {:016x}", log.kind, log.name, head.epoch);
    let life = life_key(log, head.epoch)
        .ok_or_else(|| Damage::new(place(), "its name is longer than any that is stored"))?;
    let state = LogState {
        head,
        records: Runs::default(),
    };
    let mut found = None;
    let mut keep = |saved| found = Some(saved);
    let mut scan = Scan {
        scanned: Scanned {
            logs: HashMap::from([(log.clone(), state)]),
            ..Scanned::default()
        },
        // What was refused was taken out when the store was opened.
        testimony: Testimony {
            commit: u64::MAX,
            unsure: false,
        },
        each: Some(&mut keep),
        life: None,
    };
    let mut last = place();
    for entry in keyspace.prefix(&life) {
        let (key, value) = readable(entry, &last)?;
        scan.record(&key, &value)?;
        if let Some(life) = &scan.life {
            last.clear();
            life.describe(&mut last);
        }
    }
    scan.finish()?;
    found.ok_or_else(|| Damage::new(place(), "it was not found"))
}

/// The number of the last commit; 0 when there was none.
fn commit(keyspace: &Keyspace) -> Result<u64, Damage> {
    let place = "the number of the last commit";
    match keyspace.get(COMMIT_KEY) {
        Ok(None) => Ok(0),
        Ok(Some(value)) => read_commit(&value)
            .ok_or_else(|| Damage::new(place, "its bytes are not those that were stored")),
        Err(error) => Err(Damage::new(place, error.to_string())),
    }
}

fn readable(entry: fjall::Guard, place: &str) -> Result<(UserKey, UserValue), Damage> {
    entry
        .into_inner()
        .map_err(|error| Damage::new(place, error.to_string()))
}

/// A key that may be damaged, as text.
fn shown(key: &[u8]) -> String {
    String::from_utf8_lossy(key).escape_debug().to_string()
}

struct Scan<'a> {
    scanned: Scanned,
    testimony: Testimony,
    each: Option<&'a mut dyn FnMut(SavedLog)>,
    life: Option<Life>,
}

/// One life of a log, while its records come.
struct Life {
    key: Vec<u8>,
    log: LogName,
    epoch: u64,
    /// None when this life is over: what there is of it is garbage.
    head: Option<Head>,
    /// The record before the next; 0 when there was none yet.
    last: u64,
    /// The last that was not refused.
    last_kept: u64,
    kept: Runs,
    garbage: Runs,
    refused: Runs,
    records: Vec<Record>,
}

impl Life {
    fn describe(&self, to: &mut String) {
        use std::fmt::Write;
        let (log, epoch, last) = (&self.log, self.epoch, self.last);
        // Writing into a String does not fail.
        let _ = write!(
            to,
            "{:?} {:?}, epoch {epoch:016x}, offset {last}",
            log.kind, log.name
        );
    }

    fn damage(&self, offset: u64, what: impl Into<String>) -> Damage {
        let (log, epoch) = (&self.log, self.epoch);
        let place = format!(
            "{:?} {:?}, epoch {epoch:016x}, offset {offset}",
            log.kind, log.name
        );
        Damage::new(place, what)
    }
}

impl Scan<'_> {
    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), Damage> {
        let same_life = self
            .life
            .as_ref()
            .is_some_and(|life| key.len() == life.key.len() + 8 && key.starts_with(&life.key));
        if !same_life {
            self.end_of_life()?;
            let Some(named) = read_record_key(key) else {
                return Err(Damage::new(
                    format!("record {}", shown(key)),
                    "its key is not one of a record",
                ));
            };
            let head = self.scanned.logs.get(&named.log).map(|state| state.head);
            self.life = Some(Life {
                key: key[..key.len() - 8].to_vec(),
                head: head.filter(|head| head.epoch == named.epoch),
                log: named.log,
                epoch: named.epoch,
                last: 0,
                last_kept: 0,
                kept: Runs::default(),
                garbage: Runs::default(),
                refused: Runs::default(),
                records: Vec::new(),
            });
        }
        let life = self.life.as_mut().expect("begun above");
        let offset = key
            .last_chunk()
            .map_or(0, |offset| u64::from_be_bytes(*offset));
        let Some(head) = life.head.filter(|head| offset > head.trimmed) else {
            life.garbage.push(offset);
            return Ok(());
        };
        let Some(StoredRecord {
            commit,
            previous,
            record,
        }) = read_record(key, offset, value)
        else {
            return Err(life.damage(offset, "its bytes are not those that were stored"));
        };
        let first = life.last == 0;
        if (first && previous > head.trimmed) || (!first && previous != life.last) {
            return Err(life.damage(
                offset,
                format!("the record before it, offset {previous}, is missing"),
            ));
        }
        if first {
            life.last_kept = previous;
        }
        life.last = offset;
        if self.testimony.unsure && commit > self.testimony.commit {
            life.refused.push(offset);
        } else {
            life.last_kept = offset;
            life.kept.push(offset);
            if self.each.is_some() {
                life.records.push(record);
            }
        }
        Ok(())
    }

    /// No more records of this life: are all there?
    fn end_of_life(&mut self) -> Result<(), Damage> {
        let Some(life) = self.life.take() else {
            return Ok(());
        };
        let removal = |records| Removal {
            life: life.key.clone(),
            records,
        };
        if !life.garbage.is_empty() {
            self.scanned.garbage.push(removal(life.garbage.clone()));
        }
        let Some(head) = life.head else {
            return Ok(());
        };
        if life.last == 0 {
            // Only garbage came; the head is looked at when all are through.
            return Ok(());
        }
        if life.last != head.last {
            return Err(life.damage(head.last, "this record, the last one, is missing"));
        }
        let refused = !life.refused.is_empty();
        if refused {
            self.scanned.refused.push(removal(life.refused.clone()));
            self.scanned.changed.push(life.log.clone());
        }
        let state = self.scanned.logs.get_mut(&life.log).expect("it has a head");
        state.head.last = life.last_kept;
        state.records = life.kept;
        if let Some(each) = &mut self.each
            && !life.records.is_empty()
        {
            each(SavedLog {
                log: life.log,
                epoch: life.epoch,
                head: head.given,
                records: life.records,
            });
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Scanned, Damage> {
        self.end_of_life()?;
        for (log, LogState { head, records }) in &self.scanned.logs {
            if !records.is_empty() {
                continue;
            }
            if head.last > head.trimmed {
                let place = format!(
                    "{:?} {:?}, epoch {:016x}, offset {}",
                    log.kind, log.name, head.epoch, head.last
                );
                return Err(Damage::new(place, "this record, the last one, is missing"));
            }
            if let Some(each) = &mut self.each {
                each(SavedLog {
                    log: log.clone(),
                    epoch: head.epoch,
                    head: head.given,
                    records: Vec::new(),
                });
            }
        }
        Ok(self.scanned)
    }
}
