//! The one number all shards share: how many connections the node has.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Connections of the whole node, held against `max_connections` (contract M1, M22).
#[derive(Clone, Debug, Default)]
pub struct NodeCount(Arc<AtomicUsize>);

impl NodeCount {
    /// Counts one more connection unless there are `max` already. True: it is counted, and must be released once.
    #[must_use]
    pub fn try_acquire(&self, max: usize) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < max).then_some(count + 1)
            })
            .is_ok()
    }

    /// Gives one back.
    pub fn release(&self) {
        let before = self.0.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "released more than acquired");
    }

    /// Connections now, those being closed included.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_counts_beyond_the_maximum() {
        let count = NodeCount::default();
        assert!(count.try_acquire(2));
        assert!(count.try_acquire(2));
        assert!(!count.try_acquire(2));
        count.release();
        assert!(count.try_acquire(2));
        assert_eq!(count.get(), 2);
    }

    /// Whoever is refused does not count for an instant either: nobody else is refused because of it.
    #[test]
    fn a_refusal_takes_no_place() {
        let count = NodeCount::default();
        let refused = {
            let count = count.clone();
            std::thread::spawn(move || (0..300_000).all(|_| !count.try_acquire(0)))
        };
        while !refused.is_finished() {
            assert!(count.try_acquire(1), "nobody is there");
            count.release();
        }
        assert!(refused.join().is_ok_and(|all| all));
    }
}
