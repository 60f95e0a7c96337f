//! The two times a shard is told: a monotonic one for deadlines, a wall clock for messages.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time since a common start. Copy it to every shard, so that all of them count from the same
/// moment.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

thread_local! {
    /// The latest wall clock time this thread gave out. Per thread, because a shared one would be a
    /// cache line that all shards write.
    static LATEST_UNIX_MS: Cell<u64> = const { Cell::new(0) };
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Milliseconds since the start: monotonic, unaffected by changes of the wall clock.
    pub fn elapsed_ms(&self) -> u64 {
        as_ms(self.start.elapsed())
    }

    /// Time since the start: monotonic.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Milliseconds since 1970-01-01 UTC. Never goes backwards on one thread: when the system's
    /// clock is set back, this one stands still until it has caught up.
    pub fn unix_ms(&self) -> u64 {
        // A system clock before 1970 is taken as 1970.
        let now = as_ms(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        );
        LATEST_UNIX_MS.with(|latest| {
            let time = latest.get().max(now);
            latest.set(time);
            time
        })
    }
}

fn as_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_set_back_stands_still() {
        let clock = Clock::start();
        let now = clock.unix_ms();
        assert!(now > 1_600_000_000_000, "{now} is before 2020");
        LATEST_UNIX_MS.with(|latest| latest.set(now + 60_000));
        assert_eq!(clock.unix_ms(), now + 60_000);
        assert_eq!(clock.unix_ms(), now + 60_000);
    }

    #[test]
    fn elapsed_counts_from_the_start() {
        let clock = Clock::start();
        std::thread::sleep(Duration::from_millis(20));
        assert!((20..5_000).contains(&clock.elapsed_ms()));
    }
}
