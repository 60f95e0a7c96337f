//! What all shards count together: how many connections the node has, and how fast new ones come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::rate_limits::{Bucket, Rate};

/// Connections of the whole node, held against `max_connections` (contract M1, M22), and the bucket new ones take from.
#[derive(Clone, Debug, Default)]
pub struct NodeCount(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicUsize,
    /// When the bucket of new connections will be full, in nanoseconds since start.
    newcomers: AtomicU64,
}

impl NodeCount {
    /// Counts one more connection unless there are `max` already. True: it is counted, and must be released once.
    #[must_use]
    pub fn try_acquire(&self, max: usize) -> bool {
        self.0
            .connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < max).then_some(count + 1)
            })
            .is_ok()
    }

    /// Gives one back.
    pub fn release(&self) {
        let before = self.0.connections.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "released more than acquired");
    }

    /// Connections now, those being closed included.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// Forgets how many newcomers there were.
    pub(crate) fn fill_bucket(&self) {
        self.0.newcomers.store(0, Ordering::Relaxed);
    }

    /// Counts one newcomer, or tells how many milliseconds later one may come. Once per connection, so that one shared word
    /// costs nothing that could be measured.
    pub(crate) fn take_token(&self, now_ms: u64, rate: &Rate) -> Result<(), u64> {
        let mut seen = self.0.newcomers.load(Ordering::Relaxed);
        loop {
            let mut bucket = Bucket::full_at(seen);
            bucket.take(now_ms, rate, 1)?;
            let taken = self.0.newcomers.compare_exchange_weak(
                seen,
                bucket.full_at_ns(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match taken {
                Ok(_) => return Ok(()),
                Err(other) => seen = other,
            }
        }
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

    #[test]
    fn newcomers_of_all_shards_take_from_one_bucket() {
        let count = NodeCount::default();
        let rate = Rate::new(100, 1000, 500);
        let admitted = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let taken = count.take_token(7, &rate).is_ok();
                        admitted.fetch_add(usize::from(taken), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 500);
        assert_eq!(count.take_token(7, &rate), Err(10));
        assert_eq!(count.take_token(17, &rate), Ok(()));
    }
}
