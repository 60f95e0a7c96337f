//! A commit that is being put together: what operations become as keys, values, and what the store remembers of its logs.

use std::collections::{HashMap, VecDeque};
use std::mem;

use fjall::{Keyspace, OwnedWriteBatch};

use super::super::bounds::REMOVALS_PER_COMMIT;
use super::super::record::{LogName, Operation, Record};
use super::encoding::{Head, head_key, head_value, life_key, record_key, record_value};
use super::runs::Runs;
use super::scan::{LogState, Removal};

/// A commit that is being put together.
pub(super) struct Batch<'a> {
    pub(super) number: u64,
    pub(super) logs: &'a HashMap<LogName, LogState>,
    pub(super) keyspace: &'a Keyspace,
    pub(super) writes: OwnedWriteBatch,
    /// What becomes of the logs it touches; none: they are over.
    pub(super) changed: HashMap<LogName, Option<LogState>>,
    pub(super) removals: Vec<Removal>,
}

impl Batch<'_> {
    pub(super) fn add(&mut self, operation: &Operation) -> Result<(), &'static str> {
        match operation {
            Operation::Append { log, epoch, record } => self.append(log, *epoch, record),
            Operation::Head { log, epoch, offset } => {
                let state = self.in_epoch(log, *epoch)?;
                state.head.given = state.head.given.max(*offset);
                Ok(())
            }
            Operation::Trim {
                log,
                epoch,
                through,
            } => {
                let Some(state) = self.state(log).filter(|state| state.head.epoch == *epoch) else {
                    return Ok(());
                };
                let through = (*through).min(state.head.given);
                state.head.trimmed = state.head.trimmed.max(through);
                let records = state.records.take_through(through);
                self.remove(log, *epoch, records)
            }
            Operation::Forget { log, epoch } => {
                let Some(state) = self.state(log).filter(|state| state.head.epoch == *epoch) else {
                    return Ok(());
                };
                let records = mem::take(&mut state.records);
                self.changed.insert(log.clone(), None);
                self.remove(log, *epoch, records)
            }
        }
    }

    fn append(&mut self, log: &LogName, epoch: u64, record: &Record) -> Result<(), &'static str> {
        let number = self.number;
        let state = self.in_epoch(log, epoch)?;
        if record.offset <= state.head.last.max(state.head.trimmed) {
            return Err("an offset was given away twice, which would overwrite a record");
        }
        let previous = mem::replace(&mut state.head.last, record.offset);
        state.head.given = state.head.given.max(record.offset);
        state.records.push(record.offset);
        let life = life_key(log, epoch).ok_or(TOO_LONG)?;
        let key = record_key(&life, record.offset);
        let value = record_value(&key, number, previous, record).ok_or(TOO_LONG)?;
        self.writes.insert(self.keyspace, key, value);
        Ok(())
    }

    /// The log as this commit leaves it so far.
    fn state(&mut self, log: &LogName) -> Option<&mut LogState> {
        if !self.changed.contains_key(log) {
            let state = self.logs.get(log)?.clone();
            self.changed.insert(log.clone(), Some(state));
        }
        self.changed.get_mut(log)?.as_mut()
    }

    /// As `state`, and in this epoch: it begins if it has to, and what there was of another goes.
    fn in_epoch(&mut self, log: &LogName, epoch: u64) -> Result<&mut LogState, &'static str> {
        let other = self
            .state(log)
            .filter(|state| state.head.epoch != epoch)
            .map(|state| (state.head.epoch, mem::take(&mut state.records)));
        let begun = || LogState {
            head: Head {
                epoch,
                ..Head::default()
            },
            records: Runs::default(),
        };
        if let Some((epoch, records)) = other {
            self.remove(log, epoch, records)?;
            self.changed.insert(log.clone(), None);
        }
        let state = self.changed.entry(log.clone()).or_insert(None);
        Ok(state.get_or_insert_with(begun))
    }

    fn remove(&mut self, log: &LogName, epoch: u64, records: Runs) -> Result<(), &'static str> {
        if !records.is_empty() {
            let life = life_key(log, epoch).ok_or(TOO_LONG)?;
            self.removals.push(Removal { life, records });
        }
        Ok(())
    }
}

const TOO_LONG: &str = "a name is longer than 65,534 bytes";

pub(super) fn put_head(
    writes: &mut OwnedWriteBatch,
    keyspace: &Keyspace,
    log: &LogName,
    head: &Head,
) {
    let key = head_key(log);
    let value = head_value(&key, head);
    writes.insert(keyspace, key, value);
}

/// A commit's share of what is to be removed. Should the commit fail, it is found again when the database is opened.
pub(super) fn remove_some(
    removals: &mut VecDeque<Removal>,
    writes: &mut OwnedWriteBatch,
    keyspace: &Keyspace,
) {
    for _ in 0..REMOVALS_PER_COMMIT {
        let Some(Removal { life, records }) = removals.front_mut() else {
            break;
        };
        match records.pop() {
            Some(offset) => writes.remove(keyspace, record_key(life, offset)),
            None => drop(removals.pop_front()),
        }
    }
    // Rows that are used up are no work left.
    while removals
        .front()
        .is_some_and(|removal| removal.records.is_empty())
    {
        removals.pop_front();
    }
}
