//! Wakes a shard that sleeps in its driver, from any thread.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

/// Rings one driver: its current or next [`wait`](super::Driver::wait) returns with a `Bell`
/// completion.
///
/// Rings are not counted: many before one `wait` give one completion. A ring is a system call of a
/// few microseconds: ring only a shard that is asleep, once per batch. Ringing a driver that is
/// gone does nothing.
#[derive(Clone, Debug)]
pub struct Bell {
    event: Arc<File>,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers; a non-negative answer is a fresh descriptor that
        // nobody else owns.
        let event = unsafe {
            match libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) {
                -1 => return Err(io::Error::last_os_error()),
                fd => OwnedFd::from_raw_fd(fd),
            }
        };
        Ok(Self {
            event: Arc::new(File::from(event)),
        })
    }

    /// Rings.
    pub fn ring(&self) {
        // A driver's bell is never read: every write wakes a poll on it, and it would take centuries
        // to fill. So a failed write can only mean a broken descriptor table, which no caller could
        // mend.
        let written = (&*self.event).write(&1u64.to_ne_bytes());
        debug_assert!(written.is_ok(), "eventfd write: {written:?}");
    }

    /// Forgets the rings so far, for whoever polls the counter itself and not its changes.
    pub(super) fn hush(&self) {
        // Fails only if nobody rang.
        let _ = (&*self.event).read(&mut [0; 8]);
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
