//! A store that keeps nothing beyond the process, and is plain enough to be believed: the model that the one on disk is compared with, and
//! the disk of engines that run in virtual time.

use std::collections::BTreeMap;

use super::error::StorageError;
use super::record::{LogName, Operation, SavedLog};
use super::store::{CommitError, ReadError, Store};

/// Logs in a map.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryStore {
    logs: BTreeMap<LogName, SavedLog>,
}

impl MemoryStore {
    fn log(&mut self, log: &LogName, epoch: u64) -> &mut SavedLog {
        let begun = || SavedLog {
            log: log.clone(),
            epoch,
            head: 0,
            records: Vec::new(),
        };
        let saved = self.logs.entry(log.clone()).or_insert_with(begun);
        if saved.epoch != epoch {
            *saved = begun();
        }
        saved
    }

    fn same_life(&mut self, log: &LogName, epoch: u64) -> Option<&mut SavedLog> {
        self.logs.get_mut(log).filter(|saved| saved.epoch == epoch)
    }
}

impl Store for MemoryStore {
    fn load(&mut self, each: &mut dyn FnMut(SavedLog)) -> Result<(), StorageError> {
        self.logs.values().cloned().for_each(each);
        Ok(())
    }

    fn read(&mut self, log: &LogName, epoch: u64) -> Result<SavedLog, ReadError> {
        let saved = self.same_life(log, epoch);
        saved.cloned().ok_or(ReadError::Missing)
    }

    fn commit(&mut self, operations: &[Operation]) -> Result<(), CommitError> {
        for operation in operations {
            match operation {
                Operation::Append { log, epoch, record } => {
                    let saved = self.log(log, *epoch);
                    saved.head = saved.head.max(record.offset);
                    saved.records.push(record.clone());
                }
                Operation::Head { log, epoch, offset } => {
                    let saved = self.log(log, *epoch);
                    saved.head = saved.head.max(*offset);
                }
                Operation::Trim {
                    log,
                    epoch,
                    through,
                } => {
                    if let Some(saved) = self.same_life(log, *epoch) {
                        saved.records.retain(|record| record.offset > *through);
                    }
                }
                Operation::Forget { log, epoch } => {
                    if self.same_life(log, *epoch).is_some() {
                        self.logs.remove(log);
                    }
                }
            }
        }
        Ok(())
    }

    fn resume(&mut self) -> Result<(), CommitError> {
        Ok(())
    }
}
