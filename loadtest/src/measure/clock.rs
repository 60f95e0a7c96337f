//! One clock for all processes of a run, and text for durations.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds in one second.
pub const SECOND: u64 = 1_000_000_000;

/// Nanoseconds in one millisecond.
pub const MILLISECOND: u64 = 1_000_000;

/// Nanoseconds of `CLOCK_MONOTONIC`: never goes backwards and is the same in every process of this machine.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    // The kernel never reports a negative monotonic time.
    (time.tv_sec as u64) * SECOND + time.tv_nsec as u64
}

/// Nanoseconds as seconds.
pub fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / SECOND as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_forward() {
        let first = now();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let second = now();
        assert!(second - first >= 2 * MILLISECOND, "{first} {second}");
    }
}
