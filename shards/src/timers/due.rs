//! Whose timer fired, spread over the time until the next ones fire.
//!
//! A tick is coarse, so that of very many connections hundreds are due in one moment, and what is done for each costs the kernel and the
//! network. Done in one go it would hold up everybody else, and meet as many answers at once a moment later.

use std::collections::VecDeque;

use super::{TICK_MS, tick_of};

/// In the order in which they fired.
#[derive(Debug)]
pub struct Due<T> {
    waiting: VecDeque<T>,
    /// The end of the tick in which the last one fired: until then all are to have been taken.
    until_ms: u64,
    /// The millisecond in which some were taken last, and how many more may be in it.
    share_ms: u64,
    share: usize,
}

impl<T> Default for Due<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            until_ms: 0,
            share_ms: 0,
            share: 0,
        }
    }
}

impl<T> Due<T> {
    /// Fired at `now_ms`.
    pub fn push(&mut self, now_ms: u64, entry: T) {
        self.waiting.push_back(entry);
        self.until_ms = (u64::from(tick_of(now_ms)) + 1) * TICK_MS;
    }

    /// The next whose turn it is at `now_ms`. At least `at_least` have it in every millisecond: few are not worth waking up for one by
    /// one.
    pub fn pop(&mut self, now_ms: u64, at_least: usize) -> Option<T> {
        if self.waiting.is_empty() {
            return None;
        }
        if self.share_ms != now_ms {
            self.share_ms = now_ms;
            let left_ms = self.until_ms.saturating_sub(now_ms).max(1);
            let left_ms = usize::try_from(left_ms).unwrap_or(usize::MAX);
            self.share = self.waiting.len().div_ceil(left_ms).max(at_least);
        }
        self.share = self.share.checked_sub(1)?;
        self.waiting.pop_front()
    }

    /// When the next has its turn, not before `now_ms`; none if nobody waits.
    #[must_use]
    pub fn next_ms(&self, now_ms: u64) -> Option<u64> {
        if self.waiting.is_empty() {
            return None;
        }
        let is_used_up = self.share_ms == now_ms && self.share == 0;
        Some(now_ms + u64::from(is_used_up))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many are taken in each millisecond from `begin_ms` on until none is left.
    fn taken(due: &mut Due<u32>, begin_ms: u64, at_least: usize) -> Vec<usize> {
        let mut taken = Vec::new();
        let mut expected = 0;
        for now_ms in begin_ms.. {
            if due.next_ms(now_ms).is_none() {
                break;
            }
            let mut count = 0;
            while let Some(entry) = due.pop(now_ms, at_least) {
                assert_eq!(entry, expected, "in order");
                expected += 1;
                count += 1;
            }
            taken.push(count);
        }
        taken
    }

    fn fired(count: u32, now_ms: u64) -> Due<u32> {
        let mut due = Due::default();
        for entry in 0..count {
            due.push(now_ms, entry);
        }
        due
    }

    #[test]
    fn many_are_spread_over_the_milliseconds_of_their_tick() {
        let taken = taken(&mut fired(310, 160), 160, 8);
        assert_eq!(taken.len(), 16);
        assert_eq!(taken.iter().sum::<usize>(), 310);
        assert!(
            taken.iter().all(|&count| (19..=20).contains(&count)),
            "{taken:?}"
        );
    }

    #[test]
    fn few_are_taken_at_once() {
        assert_eq!(taken(&mut fired(7, 160), 160, 8), [7]);
        assert_eq!(taken(&mut fired(20, 160), 160, 8), [8, 8, 4]);
    }

    #[test]
    fn who_comes_late_has_less_time() {
        assert_eq!(taken(&mut fired(30, 160), 174, 1), [15, 15]);
        assert_eq!(taken(&mut fired(30, 160), 500, 1), [30]);
    }

    #[test]
    fn a_share_that_is_used_up_leaves_the_next_millisecond() {
        let mut due = fired(32, 160);
        assert_eq!(due.next_ms(160), Some(160));
        assert!(due.pop(160, 1).is_some());
        assert_eq!(due.next_ms(160), Some(160), "one more in this one");
        assert!(due.pop(160, 1).is_some());
        assert_eq!(due.next_ms(160), Some(161));
        assert_eq!(due.pop(160, 1), None);
        assert_eq!(due.next_ms(170), Some(170));
    }
}
