//! The seam: what a store must be able to do.

use super::error::{Damage, StorageError};
use super::record::{LogName, Operation, SavedLog};

/// Keeps logs. Used by one thread, which calls [`load`](Self::load) once, before everything else.
pub trait Store: Send {
    /// Gives out all logs that are kept, one after the other, so that whoever wants no more than their names holds no more than one.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] for anything that was stored and cannot be read back: nothing is left out in silence. What was given out
    /// before is worth nothing then.
    fn load(&mut self, each: &mut dyn FnMut(SavedLog)) -> Result<(), StorageError>;

    /// One log as it is now, for a room that did not keep it in memory.
    ///
    /// # Errors
    /// [`ReadError`].
    fn read(&mut self, log: &LogName, epoch: u64) -> Result<SavedLog, ReadError>;

    /// Carries out the operations in their order, all or none, and returns when they will outlive a loss of power.
    ///
    /// # Errors
    /// [`CommitError`]. None of them is there then, not after a restart either.
    fn commit(&mut self, operations: &[Operation]) -> Result<(), CommitError>;

    /// Does a bounded piece of the work that was put off, such as removing what was trimmed. Whether more is left.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    fn tidy(&mut self) -> Result<bool, CommitError> {
        Ok(false)
    }

    /// Tries to be of use again after [`CommitError::Full`].
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    fn resume(&mut self) -> Result<(), CommitError>;
}

/// Why a log was not read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// The store is closed until there is room on the disk.
    #[error("there is no room on the disk")]
    Full,
    /// There is no such life of this log.
    #[error("it is not there")]
    Missing,
    /// It cannot be read back as it was stored.
    #[error("damaged: {0}")]
    Damaged(Damage),
    /// The database library has given up.
    #[error("{0}")]
    Failed(String),
}

/// Why a commit was not made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommitError {
    /// There is no room on the disk. [`Store::resume`] tells when there is.
    #[error("there is no room on the disk")]
    Full,
    /// The disk has failed, or something that must not happen has. Nothing is stored by this process any more: after an error of a sync
    /// nobody knows what is on the disk, until it is read afresh.
    #[error("{0}")]
    Failed(String),
}
