//! How long a shard's turns take: the time for which everything else on that shard waits.

use std::ops::AddAssign;
use std::time::Duration;

/// Upper bounds of the buckets in nanoseconds. From what a turn with one message takes, to what nobody should ever see; fixed,
/// so that the buckets of all shards, nodes and days can be added up.
pub const BOUNDS_NS: [u64; 14] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    100_000_000,
    500_000_000,
    2_000_000_000,
];

/// A histogram of turns. A turn begins when waiting ends and ends when the shard waits again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TurnTimes {
    /// Turns up to each bound and above the one before; last, those above all.
    buckets: [u64; BOUNDS_NS.len() + 1],
    sum_ns: u64,
}

impl TurnTimes {
    pub(crate) fn count(&mut self, turn: Duration) {
        let ns = u64::try_from(turn.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[BOUNDS_NS.partition_point(|bound| *bound < ns)] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// Turns so far.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Time spent in turns: how long the shard was busy.
    #[must_use]
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.sum_ns)
    }

    /// Each bound in seconds, with the turns that took at most that long.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let mut below = 0;
        BOUNDS_NS
            .iter()
            .zip(&self.buckets)
            .map(move |(bound, count)| {
                below += count;
                (Duration::from_nanos(*bound).as_secs_f64(), below)
            })
    }
}

impl AddAssign for TurnTimes {
    fn add_assign(&mut self, other: Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_counted_once_in_the_bucket_it_fits_in() {
        let mut times = TurnTimes::default();
        for micros in [10, 11, 25, 3_000_000] {
            times.count(Duration::from_micros(micros));
        }
        assert_eq!(times.turns(), 4);
        assert_eq!(times.busy(), Duration::from_micros(3_000_046));
        let cumulative: Vec<u64> = times.cumulative().map(|(_, count)| count).collect();
        assert_eq!(cumulative[..2], [1, 3]);
        assert_eq!(cumulative[13], 3, "the longest is above every bound");
        let mut sum = times;
        sum += times;
        assert_eq!((sum.turns(), sum.busy()), (8, times.busy() * 2));
    }
}
