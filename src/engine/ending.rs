//! Which loops have ended, so that somebody can wait for it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Counts shards whose loop has ended, in order or by a panic.
#[derive(Clone, Debug, Default)]
pub(super) struct Endings(Arc<(Mutex<usize>, Condvar)>);

/// Held by a loop for as long as it lives.
#[derive(Debug)]
pub(super) struct EndGuard(Endings);

impl Endings {
    pub(super) fn guard(&self) -> EndGuard {
        EndGuard(self.clone())
    }

    /// Whether any loop has ended.
    pub(super) fn any(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) > 0
    }

    /// Blocks until the first loop has ended, at most for `limit`; whether one has.
    pub(super) fn wait_for_one_within(&self, limit: Duration) -> bool {
        let (ended, changed) = &*self.0;
        let guard = ended.lock().unwrap_or_else(PoisonError::into_inner);
        let (ended, _) = changed
            .wait_timeout_while(guard, limit, |ended| *ended == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *ended > 0
    }

    /// Blocks until the first loop has ended.
    pub(super) fn wait_for_one(&self) {
        let (ended, changed) = &*self.0;
        let guard = ended.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_while(guard, |ended| *ended == 0));
    }
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        let (ended, changed) = &*self.0.0;
        *ended.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        changed.notify_all();
    }
}
