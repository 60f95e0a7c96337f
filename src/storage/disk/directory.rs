//! The directory of a store: whose it is, which format, who has it open.
//!
//! | file | is |
//! | --- | --- |
//! | `lock` | locked by the process that has the store open |
//! | `format` | one line: what wrote this, and the format's number; written last, so that a store that has it was made to its end |
//! | `witness` | see `witness.rs` |
//! | `database/` | fjall's files |
//! | `database.new/` | the same while the store is being made |

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::super::error::StorageError;

/// What `format` says.
const FORMAT: &str = "shardwire storage 1";

/// A directory that nobody else has open.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Locked until this is dropped, or the process ends.
    lock: File,
}

impl Drop for Directory {
    /// Closing would do, but for a program that another thread starts at this moment: until it runs it has a copy of the descriptor, and
    /// with it the lock.
    fn drop(&mut self) {
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "the lock of the storage's directory cannot be given back");
        }
    }
}

impl Directory {
    /// Takes the directory for this process, and makes it where it is missing. Whether a store is in it already.
    pub(super) fn take(path: &Path) -> Result<(Self, bool), StorageError> {
        fs::create_dir_all(path).map_err(StorageError::io(path, "making the directory"))?;
        let path = path
            .canonicalize()
            .map_err(StorageError::io(path, "looking it up"))?;
        let format = path.join("format");
        let exists = match fs::read_to_string(&format) {
            Ok(found) if found.trim_end() == FORMAT => true,
            Ok(found) => {
                return Err(StorageError::Format {
                    directory: path,
                    found: found.trim_end().chars().take(80).collect(),
                    supported: FORMAT,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(StorageError::Format {
                    directory: path,
                    found: "not text".into(),
                    supported: FORMAT,
                });
            }
            Err(error) => return Err(StorageError::io(&format, "reading it")(error)),
        };
        if !exists && let Some(found) = something_else(&path)? {
            return Err(StorageError::NotOurs {
                directory: path,
                found,
            });
        }
        let name = path.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&name)
            .map_err(StorageError::io(&name, "opening it"))?;
        match lock.try_lock() {
            Ok(()) => Ok((Self { path, lock }, exists)),
            Err(TryLockError::WouldBlock) => Err(StorageError::Busy { directory: path }),
            Err(TryLockError::Error(error)) => Err(StorageError::io(&name, "locking it")(error)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn witness(&self) -> PathBuf {
        self.path.join("witness")
    }

    pub(super) fn database(&self) -> PathBuf {
        self.path.join("database")
    }

    /// Throws away what is left of a store that was never made to its end, and so never held anything; where to make it.
    pub(super) fn begin(&self) -> Result<PathBuf, StorageError> {
        let new = self.path.join("database.new");
        for path in [&new, &self.database()] {
            match fs::remove_dir_all(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StorageError::io(path, "removing an unfinished store")(
                        error,
                    ));
                }
                _ => {}
            }
        }
        Ok(new)
    }

    /// The store has been made, in `database.new`: from now on it counts.
    pub(super) fn complete(&self) -> Result<(), StorageError> {
        let complete = || {
            fs::rename(self.path.join("database.new"), self.database())?;
            let new = self.path.join("format.new");
            let mut file = File::create(&new)?;
            writeln!(file, "{FORMAT}")?;
            file.sync_all()?;
            fs::rename(&new, self.path.join("format"))?;
            File::open(&self.path)?.sync_all()?;
            // The directory's own name, too.
            match self.path.parent() {
                Some(parent) => File::open(parent)?.sync_all(),
                None => Ok(()),
            }
        };
        complete().map_err(StorageError::io(&self.path, "making a new store"))
    }

    /// Bytes that can still be written here.
    pub(super) fn free(&self) -> io::Result<u64> {
        let room = rustix::fs::statvfs(&self.path)?;
        Ok(room.f_bavail.saturating_mul(room.f_frsize))
    }
}

/// A file that no unfinished store of ours has. The witness is made before all the others but the lock.
fn something_else(path: &Path) -> Result<Option<String>, StorageError> {
    const OURS: [&str; 5] = ["lock", "witness", "database", "database.new", "format.new"];
    let ours = match path.join("witness").exists() {
        true => &OURS[..],
        false => &OURS[..1],
    };
    let failed = || StorageError::io(path, "listing its files");
    for entry in fs::read_dir(path).map_err(failed())? {
        let name = entry.map_err(failed())?.file_name();
        // An empty file system has this one.
        if name != "lost+found" && !ours.iter().any(|ours| name == *ours) {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_free_again_although_a_program_being_started_has_its_descriptors() {
        let place = tempfile::tempdir().unwrap();
        let (directory, _) = Directory::take(place.path()).unwrap();
        let of_the_child = directory.lock.try_clone().unwrap();
        drop(directory);
        let (_again, _) = Directory::take(place.path()).unwrap();
        drop(of_the_child);
    }
}
