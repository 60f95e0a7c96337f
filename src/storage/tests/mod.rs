//! The store on disk against everything that happens to disks and processes.
#![allow(clippy::unwrap_used)]

mod damage;
mod directory;
mod full;
mod kill;
mod model;
mod refused;
mod thread;

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use tempfile::TempDir;

use super::{
    DiskOptions, DiskStore, LogKind, LogName, Operation, Record, SavedLog, StorageError, Store,
};

/// A directory in memory where there is such a file system: these tests open stores thousands of times.
fn quick_directory() -> TempDir {
    match Path::new("/dev/shm").is_dir() {
        true => tempfile::tempdir_in("/dev/shm").unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

fn options(directory: &Path) -> DiskOptions {
    DiskOptions {
        directory: directory.to_owned(),
        keep_free: 0,
    }
}

/// Opens a store and reads what is in it.
fn open(directory: &Path) -> Result<(DiskStore, BTreeMap<LogName, SavedLog>), StorageError> {
    let mut store = DiskStore::open(&options(directory))?;
    let logs = by_name(load(&mut store)?);
    Ok((store, logs))
}

/// All that a store has.
fn load(store: &mut impl Store) -> Result<Vec<SavedLog>, StorageError> {
    let mut logs = Vec::new();
    store.load(&mut |log| logs.push(log))?;
    Ok(logs)
}

fn by_name(logs: Vec<SavedLog>) -> BTreeMap<LogName, SavedLog> {
    let count = logs.len();
    let logs: BTreeMap<_, _> = logs.into_iter().map(|log| (log.log.clone(), log)).collect();
    assert_eq!(logs.len(), count, "a log came twice");
    logs
}

/// A record whose content follows from its place, so that it can be checked wherever it turns up.
fn record(log: &LogName, epoch: u64, offset: u64) -> Record {
    let body = format!("{}/{epoch}/{offset}/", log.name).repeat(1 + offset as usize % 17);
    Record {
        offset,
        unix_ms: 1_700_000_000_000 + offset,
        lifetime_ms: offset.is_multiple_of(3).then_some(offset * 1000),
        key: offset
            .is_multiple_of(2)
            .then(|| format!("key-{offset}").into()),
        body: Bytes::from(body),
    }
}

fn append(log: &LogName, epoch: u64, offset: u64) -> Operation {
    Operation::Append {
        log: log.clone(),
        epoch,
        record: record(log, epoch, offset),
    }
}
