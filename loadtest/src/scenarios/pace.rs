//! When the next message is due.

use crate::measure::clock::SECOND;

/// How load is offered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// Open loop: so many messages per second, whatever the server does. Latency counts from the intended time, so a server
    /// that stalls is charged for everything that should have been sent meanwhile.
    Rate(f64),
    /// Closed loop: the next message is sent when an earlier one came back.
    InFlight(u32),
}

impl Load {
    /// What one of several processes offers, so that together they offer `self`. In flight is meant per connection or slot
    /// by some scenarios; those do not call this.
    pub fn share(self, index: u32, processes: u32) -> Self {
        match self {
            Load::Rate(rate) => Load::Rate(rate / f64::from(processes)),
            Load::InFlight(count) => {
                Load::InFlight(share(u64::from(count), index, processes) as u32)
            }
        }
    }
}

/// The part of `total` that falls to process `index` of `processes`; the parts add up.
pub fn share(total: u64, index: u32, processes: u32) -> u64 {
    let (index, processes) = (u64::from(index), u64::from(processes));
    total / processes + u64::from(index < total % processes)
}

/// An even schedule: message `i` is due at `start + (i + offset) / rate`.
#[derive(Debug, Clone)]
pub struct Schedule {
    start: u64,
    /// Nanoseconds between two messages.
    gap: f64,
    offset: f64,
    issued: u64,
}

impl Schedule {
    /// Messages at `rate` per second from `start` on. `offset` (0 to 1, of a gap) keeps several processes out of step.
    pub fn new(start: u64, rate: f64, offset: f64) -> Self {
        Self {
            start,
            gap: SECOND as f64 / rate,
            offset,
            issued: 0,
        }
    }

    /// When message `index` is due.
    pub fn intended(&self, index: u64) -> u64 {
        self.start + ((index as f64 + self.offset) * self.gap) as u64
    }

    /// When the next message is due.
    pub fn next(&self) -> u64 {
        self.intended(self.issued)
    }

    /// Takes the messages due at `now`, at most `limit`.
    pub fn take(&mut self, now: u64, limit: u64) -> std::ops::Range<u64> {
        let first = self.issued;
        if now >= self.next() {
            let passed = (now - self.start) as f64 / self.gap - self.offset;
            // Rounding may be one off in either direction.
            let mut due = passed as u64 + 1;
            while due > first + 1 && self.intended(due - 1) > now {
                due -= 1;
            }
            self.issued = due.max(first + 1).min(first + limit);
        }
        first..self.issued
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_due_evenly() {
        let mut schedule = Schedule::new(1_000, 1_000.0, 0.0);
        assert_eq!(schedule.take(999, 100), 0..0);
        assert_eq!(schedule.take(1_000, 100), 0..1);
        assert_eq!(schedule.next(), 1_001_000);
        assert_eq!(schedule.take(1_000_999, 100), 1..1);
        assert_eq!(schedule.take(10_001_000, 100), 1..11);
        assert_eq!(schedule.intended(10), 10_001_000);
    }

    #[test]
    fn what_is_overdue_is_taken_in_portions_with_its_own_time() {
        let mut schedule = Schedule::new(0, 1_000_000.0, 0.0);
        assert_eq!(schedule.take(SECOND, 400_000), 0..400_000);
        assert_eq!(schedule.take(SECOND, 900_000), 400_000..1_000_001);
        assert_eq!(schedule.intended(500_000), SECOND / 2);
    }

    #[test]
    fn nothing_is_issued_early_or_twice_at_odd_rates() {
        for rate in [3.0, 7.77, 999.9, 123_456.7] {
            let mut schedule = Schedule::new(5, rate, 0.25);
            let mut expected = 0;
            let mut now = 0;
            while now < SECOND {
                let taken = schedule.take(now, u64::MAX / 2);
                assert_eq!(taken.start, expected);
                for index in taken.clone().take(2).chain(taken.clone().rev().take(2)) {
                    assert!(
                        schedule.intended(index) <= now,
                        "rate {rate} index {index} at {now}"
                    );
                }
                assert!(schedule.next() > now, "rate {rate} at {now}");
                expected = taken.end;
                now += 137_911;
            }
            assert!((expected as f64 - rate).abs() < 2.0, "{expected} of {rate}");
        }
    }

    #[test]
    fn shares_add_up() {
        let parts: Vec<u64> = (0..3).map(|index| share(10, index, 3)).collect();
        assert_eq!(parts, [4, 3, 3]);
        assert_eq!(Load::Rate(90.0).share(2, 3), Load::Rate(30.0));
        assert_eq!(Load::InFlight(16).share(0, 3), Load::InFlight(6));
    }
}
