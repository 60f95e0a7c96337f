//! The store on disk: fjall, a log-structured merge tree with a journal, and what it takes to believe it.
//!
//! **Lives here:** opening, commits and the way back from a full disk (this file); the directory (`directory.rs`), what keys and values
//! look like (`encoding.rs`), which records there are (`runs.rs`), the look at everything at the start (`scan.rs`), and two that
//! find damage which the library would take for a commit under way, and cut: `journals.rs` and `witness.rs`.
//! **Invariants:** a commit is one batch of the library and one sync, and it has a number; numbers have no holes. Each record names the
//! one before it, each head the last one. So nothing can be missing, at the end, in the middle or as a whole file, without being
//! noticed. After an error of a commit, what it may have left behind is removed before anything else is stored.
//! **Tests:** `../tests/`.

mod directory;
mod encoding;
mod journals;
mod runs;
mod scan;
mod witness;

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fjall::{
    AbstractTree, Database, Error, Keyspace, KeyspaceCreateOptions, LsmError, OwnedWriteBatch,
    PersistMode,
};

use self::directory::Directory;
use self::encoding::{
    COMMIT_KEY, Head, commit_value, head_key, head_value, life_key, record_key, record_value,
};
use self::journals::Unfit;
use self::runs::Runs;
use self::scan::{LogState, Removal, Scanned, scan};
use self::witness::Witness;
use super::bounds::{
    BACKGROUND_WAIT_MS, CACHE_BYTES, REMOVALS_PER_COMMIT, TABLE_BUFFER_BYTES, UNMERGED_TABLES_MAX,
    WAITING_TABLES_MAX,
};
use super::error::{Damage, StorageError};
use super::record::{LogName, Operation, Record, SavedLog};
use super::store::{CommitError, Store};

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
    directory: Directory,
    keep_free: u64,
    witness: Witness,
    /// None while the disk is full and the database has failed for it: it is opened afresh then.
    database: Option<Opened>,
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

    /// Bytes of the tables, all but the newest records.
    pub(super) fn disk_space(&self) -> u64 {
        self.database.as_ref().unwrap().keyspace.disk_space()
    }
}

impl Store for DiskStore {
    fn load(&mut self) -> Result<Vec<SavedLog>, StorageError> {
        let mut logs = Vec::new();
        self.settle(Some(&mut |log| logs.push(log)))?;
        Ok(logs)
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
        // The records are safe. But a witness that cannot be told any more would let later damage pass.
        self.witness
            .tell(number)
            .map_err(|error| CommitError::Failed(format!("the witness cannot be written: {error}")))
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

/// A commit that is being put together.
struct Batch<'a> {
    number: u64,
    logs: &'a HashMap<LogName, LogState>,
    keyspace: &'a Keyspace,
    writes: OwnedWriteBatch,
    /// What becomes of the logs it touches; none: they are over.
    changed: HashMap<LogName, Option<LogState>>,
    removals: Vec<Removal>,
}

impl Batch<'_> {
    fn add(&mut self, operation: &Operation) -> Result<(), &'static str> {
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

fn put_head(writes: &mut OwnedWriteBatch, keyspace: &Keyspace, log: &LogName, head: &Head) {
    let key = head_key(log);
    let value = head_value(&key, head);
    writes.insert(keyspace, key, value);
}

/// A commit's share of what is to be removed. Should the commit fail, it is found again when the database is opened.
fn remove_some(
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

fn open_witness(directory: &Directory) -> Result<Witness, StorageError> {
    let path = directory.witness();
    let damaged = |what: &str| StorageError::Damaged {
        directory: directory.path().to_owned(),
        damage: Damage::new(path.display().to_string(), what),
    };
    match Witness::open(&path) {
        Ok(Some(witness)) => Ok(witness),
        Ok(None) => Err(damaged("its bytes are not those that were written")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(damaged("this file is missing"))
        }
        Err(error) => Err(StorageError::io(&path, "opening it")(error)),
    }
}

/// Makes a store. Killed on the way, it leaves one that is made again.
fn create(directory: &Directory) -> Result<Witness, StorageError> {
    let path = directory.witness();
    let earlier = Witness::open(&path).ok().flatten();
    if earlier.is_some_and(|witness| witness.said().commit > 0) {
        return Err(StorageError::Damaged {
            directory: directory.path().to_owned(),
            damage: Damage::new(
                directory.path().join("format").display().to_string(),
                "this file is missing, and the store is in use",
            ),
        });
    }
    let witness = Witness::create(&path).map_err(StorageError::io(&path, "making it"))?;
    let new = directory.begin()?;
    drop(open_fjall(directory, &new)?);
    directory.complete()?;
    Ok(witness)
}

/// Checks the journals, and opens the database.
fn open_database(directory: &Directory, witnessed: u64) -> Result<Opened, StorageError> {
    let path = directory.database();
    let damaged = |damage| StorageError::Damaged {
        directory: directory.path().to_owned(),
        damage,
    };
    if let Some(missing) = missing_file(&path) {
        return Err(damaged(Damage::new(
            missing.display().to_string(),
            "this file is missing",
        )));
    }
    let found = journals::check(&path, witnessed).map_err(|unfit| match unfit {
        Unfit::Damaged(damage) => damaged(damage),
        Unfit::Error(error) => error,
    })?;
    tracing::debug!(?found, "the storage's journals are whole");
    if found.cut > 0 {
        tracing::info!(
            bytes = found.cut,
            "a commit was under way when the storage was left; it was never acknowledged"
        );
    }
    open_fjall(directory, &path)
}

/// A file without which the library would take what there is for leftovers, remove it, and begin anew.
fn missing_file(database: &Path) -> Option<PathBuf> {
    let version = database.join("version");
    if !version.exists() {
        return Some(version);
    }
    // The library's own table of keyspaces is 0; a database has been made with one more.
    let mut keyspaces: Vec<_> = fs::read_dir(database.join("keyspaces"))
        .map(|entries| {
            entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.is_dir())
                .collect()
        })
        .unwrap_or_default();
    keyspaces.sort();
    if keyspaces.len() != 2 {
        return Some(database.join("keyspaces").join(keyspaces.len().to_string()));
    }
    keyspaces
        .into_iter()
        .map(|keyspace| keyspace.join("current"))
        .find(|path| !path.exists())
}

fn open_fjall(directory: &Directory, path: &Path) -> Result<Opened, StorageError> {
    let opened = guarded(|| {
        let database = Database::builder(path)
            .cache_size(CACHE_BYTES)
            // One writes tables while the other merges them.
            .worker_threads(2)
            .open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(TABLE_BUFFER_BYTES);
        let keyspace = database.keyspace("logs", options)?;
        Ok(Opened { keyspace, database })
    });
    let damaged = |what: String| StorageError::Damaged {
        directory: directory.path().to_owned(),
        damage: Damage::new(path.display().to_string(), what),
    };
    match opened {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(Error::Locked)) => Err(StorageError::Busy {
            directory: directory.path().to_owned(),
        }),
        Ok(Err(error)) => Err(match as_io(&error).map(io::Error::kind) {
            // A file that ends too early, or is gone, is none that the system denies us.
            Some(
                io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound | io::ErrorKind::InvalidData,
            )
            | None => damaged(error.to_string()),
            Some(kind) => StorageError::io(path, "opening the database")(io::Error::new(
                kind,
                error.to_string(),
            )),
        }),
        Err(panic) => Err(damaged(panic)),
    }
}

fn as_io(error: &Error) -> Option<&io::Error> {
    match error {
        Error::Io(error) | Error::Storage(LsmError::Io(error)) => Some(error),
        _ => None,
    }
}

fn is_full(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Calls the library, and takes a panic of it for an error: on a damaged file some of its assertions do not hold.
fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        format!(
            "the database library gave up: {}",
            message.unwrap_or("without a word")
        )
    })
}
