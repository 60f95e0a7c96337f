//! A token bucket in eight bytes (the generic cell rate algorithm of ITU-T I.371): instead of the tokens and when they were
//! counted, the moment at which it would be full.

const NS_PER_MS: u64 = 1_000_000;

/// So many tokens per period, and so many at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    count: u64,
    period_ms: u64,
    burst: u64,
}

impl Rate {
    /// `count` tokens every `period_ms` milliseconds; `burst` of them after a long silence. None may be zero; the
    /// configuration guarantees it.
    #[must_use]
    pub const fn new(count: u64, period_ms: u64, burst: u64) -> Self {
        assert!(
            count > 0 && period_ms > 0 && burst > 0,
            "a rate of nothing is no rate"
        );
        Self {
            count,
            period_ms,
            burst,
        }
    }

    /// Tokens per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.count as f64 * 1000.0 / self.period_ms as f64
    }

    /// How long it takes until so many tokens have come, in nanoseconds.
    pub(crate) fn time_of(&self, tokens: u64) -> u64 {
        let ns = u128::from(tokens) * u128::from(self.period_ms) * u128::from(NS_PER_MS)
            / u128::from(self.count);
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    /// How long it takes until a quarter of the burst has come, in nanoseconds.
    pub(crate) fn quarter(&self) -> u64 {
        self.depth() / 4
    }

    /// How long it takes until the whole burst has come, in nanoseconds.
    pub(crate) fn depth(&self) -> u64 {
        self.time_of(self.burst)
    }
}

/// What is left of a [`Rate`]'s burst. New, it is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Bucket {
    /// In nanoseconds since start; full when that has passed.
    full_at_ns: u64,
}

impl Bucket {
    pub(crate) fn full_at(full_at_ns: u64) -> Self {
        Self { full_at_ns }
    }

    pub(crate) fn full_at_ns(self) -> u64 {
        self.full_at_ns
    }

    /// Takes tokens if there are as many. From a full bucket one may take more than it holds: the largest message must be able
    /// to pass some time.
    ///
    /// # Errors
    /// How long until there will be as many, in milliseconds, at least 1.
    pub(crate) fn take(&mut self, now_ms: u64, rate: &Rate, tokens: u64) -> Result<(), u64> {
        let now = now_ms.saturating_mul(NS_PER_MS);
        let missing = self.full_at_ns.saturating_sub(now);
        let wanted = rate.time_of(tokens);
        let after = missing.saturating_add(wanted);
        if missing > 0 && after > rate.depth() {
            let wait = missing.min(after - rate.depth());
            return Err(wait.div_ceil(NS_PER_MS).max(1));
        }
        self.full_at_ns = now.saturating_add(after);
        Ok(())
    }

    /// Takes tokens whether they are there or not; what was not there is owed.
    pub(crate) fn charge(&mut self, now_ms: u64, rate: &Rate, tokens: u64) {
        let now = now_ms.saturating_mul(NS_PER_MS);
        self.full_at_ns = self
            .full_at_ns
            .max(now)
            .saturating_add(rate.time_of(tokens));
    }

    /// Whether not even one token is left.
    pub(crate) fn is_empty(mut self, now_ms: u64, rate: &Rate) -> bool {
        self.take(now_ms, rate, 1).is_err()
    }

    /// The moment from which on it is full, in milliseconds since start.
    pub(crate) fn full_at_ms(self) -> u64 {
        self.full_at_ns.div_ceil(NS_PER_MS)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_then_the_rate() {
        let rate = Rate::new(10, 1000, 3);
        let mut bucket = Bucket::default();
        for _ in 0..3 {
            bucket.take(5_000, &rate, 1).unwrap();
        }
        assert_eq!(bucket.take(5_000, &rate, 1), Err(100));
        assert_eq!(bucket.take(5_099, &rate, 1), Err(1));
        bucket.take(5_100, &rate, 1).unwrap();
        assert!(bucket.take(5_100, &rate, 1).is_err());
        assert_eq!(bucket.full_at_ms(), 5_400);
    }

    #[test]
    fn a_message_larger_than_the_burst_passes_when_the_bucket_is_full_and_is_paid_for() {
        let rate = Rate::new(1000, 1000, 100);
        let mut bucket = Bucket::default();
        bucket.take(0, &rate, 500).unwrap();
        assert_eq!(bucket.take(0, &rate, 1), Err(401));
        assert_eq!(bucket.take(0, &rate, 500), Err(500));
        bucket.take(500, &rate, 500).unwrap();
    }

    #[test]
    fn what_is_charged_without_being_there_is_owed() {
        let rate = Rate::new(1, 1000, 1);
        let mut bucket = Bucket::default();
        bucket.charge(0, &rate, 3);
        assert_eq!(bucket.take(0, &rate, 1), Err(3000));
        bucket.take(3000, &rate, 1).unwrap();
    }

    proptest! {
        /// In no stretch of time do more pass than the burst and what the stretch brings, and nobody is refused who is below that.
        #[test]
        fn equals_counting_tokens(
            count in 1_u64..50, period_ms in 1_u64..5_000, burst in 1_u64..20, steps in prop::collection::vec(0_u64..400, 1..200)
        ) {
            let rate = Rate::new(count, period_ms, burst);
            let mut bucket = Bucket::default();
            // Tokens in units of 1 / period, so that counting is exact.
            let (mut now, mut tokens) = (0_u64, burst * period_ms);
            for step in steps {
                now += step;
                tokens = (tokens + step * count).min(burst * period_ms);
                let got = bucket.take(now, &rate, 1).is_ok();
                // Within the rounding of one nanosecond per token taken, both agree.
                if tokens >= period_ms + count { prop_assert!(got) }
                if tokens + count < period_ms { prop_assert!(!got) }
                if got { tokens = tokens.saturating_sub(period_ms) }
            }
        }
    }
}
