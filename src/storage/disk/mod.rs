//! The store on disk: fjall, a log-structured merge tree with a journal, and what it takes to believe it.
//!
//! **Lives here:** the store, its commits and the way back from a full disk (this file, `batch.rs`); opening (`opening.rs`), the directory
//! (`directory.rs`), the library's errors (`library.rs`); what keys and values look like (`encoding.rs`), which records there are (`runs.rs`), the look at everything at the start (`scan.rs`), and two that
//! find damage which the library would take for a commit under way, and cut: `journals.rs` and `witness.rs`.
//! **Invariants:** a commit is one batch of the library and one sync, and it has a number; numbers have no holes. Each record names the
//! one before it, each head the last one. So nothing can be missing, at the end, in the middle or as a whole file, without being
//! noticed. After an error of a commit, what it may have left behind is removed before anything else is stored.
//! **Tests:** `../tests/`.

mod batch;
mod directory;
mod encoding;
mod journals;
mod library;
mod opening;
mod runs;
mod scan;
mod witness;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fjall::{AbstractTree, Database, Error, Keyspace, PersistMode};

use self::batch::{Batch, put_head, remove_some};
use self::directory::Directory;
use self::encoding::{COMMIT_KEY, commit_value, head_key, record_key};
use self::library::{as_io, guarded, is_full};
use self::opening::{create, open_database, open_witness};
use self::scan::{LogState, Removal, Scanned, read_log, scan};
use self::witness::Witness;
use super::bounds::{
    BACKGROUND_WAIT_MS, TABLE_BUFFER_BYTES, UNMERGED_TABLES_MAX, WAITING_TABLES_MAX,
};
use super::error::{Damage, StorageError};
use super::record::{LogName, Operation, SavedLog};
use super::store::{CommitError, ReadError, Store};

/// Where, and how much of the disk is left to others.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// Made when it is missing.
    pub directory: PathBuf,
    /// Bytes of the file system that are left free: below that the disk counts as full. What the database does in the background needs
    /// room, and a log file of somebody else, too.
    pub keep_free: u64,
}

/// A store in a directory of its own.
pub struct DiskStore {
    /// None while the disk is full and the database has failed for it: it is opened afresh then.
    database: Option<Opened>,
    witness: Witness,
    /// Given back behind the database: whoever has the directory then finds that closed, too.
    directory: Directory,
    keep_free: u64,
    commit: u64,
    logs: HashMap<LogName, LogState>,
    /// Trimmed, forgotten, and still on the disk.
    removals: VecDeque<Removal>,
    loaded: bool,
}

/// The database while it is open. The keyspace goes first: it holds the database.
struct Opened {
    keyspace: Keyspace,
    database: Database,
}

impl std::fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskStore")
            .field("directory", &self.directory)
            .field("commit", &self.commit)
            .field("logs", &self.logs.len())
            .finish_non_exhaustive()
    }
}

impl DiskStore {
    /// Opens the store in this directory, or makes one. What is in it is checked by [`load`](Store::load).
    ///
    /// # Errors
    /// See [`StorageError`].
    pub fn open(options: &DiskOptions) -> Result<Self, StorageError> {
        let (directory, exists) = Directory::take(&options.directory)?;
        let witness = match exists {
            true => open_witness(&directory)?,
            false => create(&directory)?,
        };
        let opened = open_database(&directory, witness.said().commit)?;
        Ok(Self {
            directory,
            keep_free: options.keep_free,
            witness,
            database: Some(opened),
            commit: 0,
            logs: HashMap::new(),
            removals: VecDeque::new(),
            loaded: false,
        })
    }

    /// Reads and checks everything, and takes out what was refused but stored.
    fn settle(&mut self, each: Option<&mut dyn FnMut(SavedLog)>) -> Result<(), StorageError> {
        let damaged = |damage| StorageError::Damaged {
            directory: self.directory.path().to_owned(),
            damage,
        };
        let said = self.witness.said();
        let opened = self
            .database
            .as_ref()
            .expect("opened by whoever calls this");
        let scanned = guarded(|| scan(&opened.keyspace, said, each)).unwrap_or_else(|panic| {
            Err(Damage::new(
                self.directory.database().display().to_string(),
                panic,
            ))
        });
        let Scanned {
            commit,
            logs,
            garbage,
            refused,
            changed,
        } = scanned.map_err(damaged)?;
        if commit < said.commit {
            let place = self.directory.database().display().to_string();
            let what = format!(
                "its last commit is number {commit}, and number {} was synced: what came between is missing",
                said.commit
            );
            return Err(damaged(Damage::new(place, what)));
        }
        self.commit = commit;
        self.logs = logs;
        self.removals = garbage.into();
        let mut batch = opened
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        for Removal { life, mut records } in refused {
            while let Some(offset) = records.pop() {
                batch.remove(&opened.keyspace, record_key(&life, offset));
            }
        }
        for log in changed {
            put_head(&mut batch, &opened.keyspace, &log, &self.logs[&log].head);
        }
        let refused = batch.len();
        if refused > 0 {
            tracing::warn!(
                entries = refused,
                "taking out what an earlier failed commit had left in the storage"
            );
            let number = self.commit + 1;
            batch.insert(&opened.keyspace, COMMIT_KEY, commit_value(number));
            let failed = |reason: String| StorageError::Database {
                directory: self.directory.path().to_owned(),
                reason,
            };
            guarded(|| batch.commit())
                .map_err(failed)?
                .map_err(|error| match as_io(&error) {
                    Some(error) => StorageError::Io {
                        path: self.directory.path().to_owned(),
                        doing: "removing what a failed commit has left",
                        source: io::Error::new(error.kind(), error.to_string()),
                    },
                    None => failed(error.to_string()),
                })?;
            self.commit = number;
        }
        self.witness
            .tell(self.commit)
            .map_err(StorageError::io(&self.directory.witness(), "writing it"))?;
        self.loaded = true;
        Ok(())
    }

    fn check_room(&self) -> Result<(), CommitError> {
        match self.directory.free() {
            Ok(free) if free < self.keep_free => Err(CommitError::Full),
            Ok(_) => Ok(()),
            Err(error) => Err(CommitError::Failed(format!(
                "the file system does not say how much room it has: {error}"
            ))),
        }
    }

    /// What an error of the database means, and what follows: nothing more is asked of a database that has failed.
    fn failed(&mut self, error: &Error) -> CommitError {
        let full = match (error, as_io(error)) {
            (_, Some(error)) => is_full(error.kind()),
            // A thread of the library has failed before, and the library does not say at what. If there is hardly room, at that.
            (Error::Poisoned, _) => self
                .directory
                .free()
                .is_ok_and(|free| free < self.keep_free.max(2 * TABLE_BUFFER_BYTES)),
            _ => false,
        };
        if let Err(error) = self.witness.doubt() {
            return CommitError::Failed(format!("the witness cannot be written: {error}"));
        }
        self.database = None;
        match full {
            true => CommitError::Full,
            false => CommitError::Failed(error.to_string()),
        }
    }

    /// Waits while the library has more to do in the background than it should; it would wait itself, but for ever if its threads are
    /// gone.
    fn wait_for_background(&mut self) -> Result<(), CommitError> {
        let begun = Instant::now();
        loop {
            let Some(Opened { keyspace, database }) = &self.database else {
                return Err(CommitError::Full);
            };
            if keyspace.sealed_memtable_count() <= WAITING_TABLES_MAX
                && keyspace.tree.l0_run_count() < UNMERGED_TABLES_MAX
            {
                return Ok(());
            }
            // Asks for nothing but whether a thread has failed.
            if let Err(error) = database.persist(PersistMode::Buffer) {
                return Err(self.failed(&error));
            }
            if begun.elapsed() > Duration::from_millis(BACKGROUND_WAIT_MS) {
                // Nothing of this commit was written, so there is no doubt about anything.
                return Err(CommitError::Failed(
                    "the database's background work does not come to an end".into(),
                ));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
impl DiskStore {
    /// Writes what is in memory into tables now, as happens by itself after 16 MiB.
    pub(super) fn flush_tables(&self) {
        let opened = self.database.as_ref().unwrap();
        opened.keyspace.rotate_memtable_and_wait().unwrap();
    }

    /// Writes and merges all tables now.
    pub(super) fn merge_tables(&self) {
        self.flush_tables();
        let opened = self.database.as_ref().unwrap();
        opened.keyspace.major_compact().unwrap();
    }

    /// Leaves the store as after a sync that failed: all commits after this one were refused, and are on the disk all the same.
    pub(super) fn fail_after(mut self, commit: u64) {
        self.witness.tell(commit).unwrap();
        self.witness.doubt().unwrap();
    }

    /// Bytes of the tables, all but the newest records.
    pub(super) fn disk_space(&self) -> u64 {
        self.database.as_ref().unwrap().keyspace.disk_space()
    }
}

impl Store for DiskStore {
    fn load(&mut self, each: &mut dyn FnMut(SavedLog)) -> Result<(), StorageError> {
        self.settle(Some(each))
    }

    fn read(&mut self, log: &LogName, epoch: u64) -> Result<SavedLog, ReadError> {
        let Some(Opened { keyspace, .. }) = &self.database else {
            return Err(ReadError::Full);
        };
        let state = self.logs.get(log);
        let state = state.filter(|state| state.head.epoch == epoch);
        let head = state.ok_or(ReadError::Missing)?.head;
        guarded(|| read_log(keyspace, log, head))
            .map_err(ReadError::Failed)?
            .map_err(ReadError::Damaged)
    }

    fn commit(&mut self, operations: &[Operation]) -> Result<(), CommitError> {
        assert!(
            self.loaded,
            "what is there is read before something is added"
        );
        self.check_room()?;
        self.wait_for_background()?;
        let Some(Opened { keyspace, database }) = &self.database else {
            return Err(CommitError::Full);
        };
        let number = self.commit + 1;
        let mut batch = Batch {
            number,
            logs: &self.logs,
            keyspace,
            writes: database.batch().durability(Some(PersistMode::SyncData)),
            changed: HashMap::new(),
            removals: Vec::new(),
        };
        for operation in operations {
            batch
                .add(operation)
                .map_err(|reason| CommitError::Failed(reason.into()))?;
        }
        let Batch {
            mut writes,
            changed,
            removals,
            ..
        } = batch;
        for (log, state) in &changed {
            match state {
                Some(state) => put_head(&mut writes, keyspace, log, &state.head),
                None => writes.remove(keyspace, head_key(log)),
            }
        }
        remove_some(&mut self.removals, &mut writes, keyspace);
        if writes.is_empty() {
            return Ok(());
        }
        writes.insert(keyspace, COMMIT_KEY, commit_value(number));
        match guarded(|| writes.commit()) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.failed(&error)),
            Err(panic) => {
                // As good as an error of the disk: nobody knows what was written.
                let _ = self.witness.doubt();
                self.database = None;
                return Err(CommitError::Failed(panic));
            }
        }
        self.commit = number;
        for (log, state) in changed {
            match state {
                Some(state) => drop(self.logs.insert(log, state)),
                None => drop(self.logs.remove(&log)),
            }
        }
        self.removals.extend(removals);
        match self.witness.tell(number) {
            Ok(()) => Ok(()),
            // (File systems that copy what they write may need room for it.) It knows less then, until it is told again.
            Err(error) if is_full(error.kind()) => Ok(()),
            // The records are safe. But a witness that cannot be told any more would let later damage pass.
            Err(error) => Err(CommitError::Failed(format!(
                "the witness cannot be written: {error}"
            ))),
        }
    }

    fn tidy(&mut self) -> Result<bool, CommitError> {
        if !self.removals.is_empty() {
            self.commit(&[])?;
        }
        Ok(!self.removals.is_empty())
    }

    fn resume(&mut self) -> Result<(), CommitError> {
        self.check_room()?;
        if self.database.is_some() {
            return Ok(());
        }
        let failed = |error: StorageError| match &error {
            StorageError::Io { source, .. } if is_full(source.kind()) => CommitError::Full,
            _ => CommitError::Failed(error.to_string()),
        };
        self.database =
            Some(open_database(&self.directory, self.witness.said().commit).map_err(failed)?);
        if let Err(error) = self.settle(None) {
            self.database = None;
            return Err(failed(error));
        }
        Ok(())
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        // Whatever comes of it, there is nobody to tell; the witness errs on the safe side.
        let _ = guarded(|| self.database = None);
        let _ = self.witness.sync();
    }
}
