//! Making a store, and opening one: nothing is left to the library that it would mend by cutting.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fjall::{Database, Error, KeyspaceCreateOptions};

use super::super::bounds::{CACHE_BYTES, TABLE_BUFFER_BYTES};
use super::super::error::{Damage, StorageError};
use super::Opened;
use super::directory::Directory;
use super::journals::{self, Unfit};
use super::library::{as_io, guarded};
use super::witness::Witness;

pub(super) fn open_witness(directory: &Directory) -> Result<Witness, StorageError> {
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
pub(super) fn create(directory: &Directory) -> Result<Witness, StorageError> {
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
pub(super) fn open_database(directory: &Directory, witnessed: u64) -> Result<Opened, StorageError> {
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
