//! The clock of a simulation.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What clocks on the wall show when a simulation begins, in Unix milliseconds.
const UNIX_BEGIN_MS: u64 = 1_767_225_600_000;

/// The time of a simulation, which passes only by [`Simulation::advance`](super::Simulation::advance). Cheap to clone, for handlers
/// that sleep.
#[derive(Clone, Default)]
pub struct VirtualClock(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    now_ms: u64,
    sleepers: BTreeMap<(u64, u64), Waker>,
    sleeps: u64,
}

impl fmt::Debug for VirtualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VirtualClock")
            .field(&self.elapsed())
            .finish()
    }
}

impl VirtualClock {
    /// Time since the simulation began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_millis(self.lock().now_ms)
    }

    /// The time on the wall, in Unix milliseconds, as `timestamp` fields show it.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        UNIX_BEGIN_MS + self.lock().now_ms
    }

    /// Ends when this much virtual time has passed.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        let mut state = self.lock();
        state.sleeps += 1;
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let key = (state.now_ms.saturating_add(ms), state.sleeps);
        Sleep {
            clock: self.clone(),
            key,
        }
    }

    pub(super) fn next_wake(&self) -> Option<u64> {
        self.lock().sleepers.keys().next().map(|(at, _)| *at)
    }

    /// Sets the time, and wakes who has slept until then.
    pub(super) fn set(&self, now_ms: u64) {
        let mut state = self.lock();
        state.now_ms = now_ms;
        let later = state.sleepers.split_off(&(now_ms + 1, 0));
        let due = std::mem::replace(&mut state.sleepers, later);
        drop(state);
        due.into_values().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`VirtualClock::sleep`].
#[derive(Debug)]
#[must_use = "a sleep does nothing unless it is awaited"]
pub struct Sleep {
    clock: VirtualClock,
    key: (u64, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.clock.lock();
        if state.now_ms >= self.key.0 {
            return Poll::Ready(());
        }
        state.sleepers.insert(self.key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.clock.lock().sleepers.remove(&self.key);
    }
}
