//! What can be wrong with a store when it is opened, and who mends it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a store does not open. The operator mends it; nothing that was stored is cut.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Another process has it open.
    #[error(
        "storage.directory {}: another process uses it; end that process, or give each its own directory",
        .directory.display()
    )]
    Busy {
        /// The directory.
        directory: PathBuf,
    },
    /// It has files that are not a store's.
    #[error(
        "storage.directory {}: has files of something else ({found}); name a directory of its own, which may be empty or missing",
        .directory.display()
    )]
    NotOurs {
        /// The directory.
        directory: PathBuf,
        /// One of those files.
        found: String,
    },
    /// It was written by a program that stores differently.
    #[error(
        "storage.directory {}: is in format {found:?}, and this program reads {supported:?}; start the program that wrote it, or name another directory",
        .directory.display()
    )]
    Format {
        /// The directory.
        directory: PathBuf,
        /// What it says of itself.
        found: String,
        /// What is needed.
        supported: &'static str,
    },
    /// Something that was stored cannot be read back.
    #[error(
        "storage.directory {}: damaged: {damage}. Nothing was cut from it. Restore the directory from a backup; or move it away and start with empty histories: subscribers who resume are then told that messages are missing",
        .directory.display()
    )]
    Damaged {
        /// The directory.
        directory: PathBuf,
        /// Where, and what.
        damage: Damage,
    },
    /// The disk has failed, or the store has a fault, while it was being opened.
    #[error("the storage has failed: {0}")]
    Failed(String),
    /// The system does not let us.
    #[error("storage.directory {}: {doing}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The database library does not open what it has written, for a reason that is no damage.
    #[error("storage.directory {}: the database cannot be opened: {reason}", .directory.display())]
    Database {
        /// The directory.
        directory: PathBuf,
        /// What the library says.
        reason: String,
    },
}

impl StorageError {
    pub(super) fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            path,
            doing,
            source,
        }
    }
}

/// Something that was stored and is not there as it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// A file and a byte in it, or a log, an epoch and an offset.
    pub place: String,
    /// What is wrong there.
    pub what: String,
}

impl Damage {
    pub(super) fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}
