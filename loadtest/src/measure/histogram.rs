//! Latency distributions: recorded in nanoseconds with three significant digits, merged between processes.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::clock::SECOND;

/// The longest latency told apart; longer ones are recorded as this (one hour).
const LONGEST: u64 = 3_600 * SECOND;

/// Significant decimal digits of a recorded value.
const DIGITS: u8 = 3;

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, DIGITS).expect("the constant bounds are valid")
}

/// A distribution that is also readable for the last interval alone (for the progress line).
pub struct Recorder {
    interval: Histogram<u64>,
    total: Histogram<u64>,
}

impl Recorder {
    /// An empty distribution; about 400 KiB.
    pub fn new() -> Self {
        Self {
            interval: empty(),
            total: empty(),
        }
    }

    /// Records one latency in nanoseconds.
    pub fn record(&mut self, nanoseconds: u64) {
        self.interval.saturating_record(nanoseconds);
    }

    /// The 99th percentile since the last call, in nanoseconds; `None` if nothing was recorded. Starts a new interval.
    pub fn end_interval(&mut self) -> Option<u64> {
        if self.interval.is_empty() {
            return None;
        }
        let p99 = self.interval.value_at_quantile(0.99);
        self.fold();
        Some(p99)
    }

    /// Everything recorded so far, in a form that can be sent to another process and merged.
    pub fn distribution(&mut self) -> Distribution {
        self.fold();
        Distribution::of(&self.total)
    }

    fn fold(&mut self) {
        self.total
            .add(&self.interval)
            .expect("both histograms have the same bounds");
        self.interval.reset();
    }
}

/// A recorded distribution as (value in nanoseconds, how often) pairs in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    counts: Vec<(u64, u64)>,
}

/// The quantiles of a report, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantiles {
    /// How many values were recorded.
    pub count: u64,
    pub mean: f64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
    pub max: u64,
}

impl Distribution {
    fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            counts: histogram
                .iter_recorded()
                .map(|step| (step.value_iterated_to(), step.count_at_value()))
                .collect(),
        }
    }

    /// Adds the values of another process.
    pub fn merge(&mut self, other: &Distribution) {
        let mut merged = empty();
        for &(value, count) in self.counts.iter().chain(&other.counts) {
            merged.saturating_record_n(value, count);
        }
        *self = Self::of(&merged);
    }

    /// The quantiles of the report; `None` if nothing was recorded.
    pub fn quantiles(&self) -> Option<Quantiles> {
        if self.counts.is_empty() {
            return None;
        }
        let mut histogram = empty();
        for &(value, count) in &self.counts {
            histogram.saturating_record_n(value, count);
        }
        Some(Quantiles {
            count: histogram.len(),
            mean: histogram.mean(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p99_9: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: u64, wanted: u64) -> bool {
        value.abs_diff(wanted) * 500 <= wanted
    }

    #[test]
    fn quantiles_are_those_of_the_recorded_values() {
        let mut recorder = Recorder::new();
        for microseconds in 1..=1_000 {
            recorder.record(microseconds * 1_000);
        }
        assert!(close(recorder.end_interval().expect("recorded"), 990_000));
        assert_eq!(recorder.end_interval(), None);
        let quantiles = recorder.distribution().quantiles().expect("recorded");
        assert_eq!(quantiles.count, 1_000);
        assert!(close(quantiles.p50, 500_000), "{quantiles:?}");
        assert!(close(quantiles.p99_9, 999_000), "{quantiles:?}");
        assert!(close(quantiles.max, 1_000_000), "{quantiles:?}");
    }

    #[test]
    fn merging_two_processes_equals_recording_in_one() {
        let (mut left, mut right, mut both) = (Recorder::new(), Recorder::new(), Recorder::new());
        for value in 0..500u64 {
            let nanoseconds = value * value * 37 + 1;
            if value % 3 == 0 {
                left.record(nanoseconds);
            } else {
                right.record(nanoseconds);
            }
            both.record(nanoseconds);
        }
        let mut merged = left.distribution();
        merged.merge(&right.distribution());
        assert_eq!(merged, both.distribution());
    }

    #[test]
    fn values_beyond_an_hour_are_kept_as_an_hour() {
        let mut recorder = Recorder::new();
        recorder.record(u64::MAX);
        let quantiles = recorder.distribution().quantiles().expect("recorded");
        assert!(close(quantiles.max, LONGEST), "{quantiles:?}");
    }

    #[test]
    fn nothing_recorded_has_no_quantiles() {
        assert_eq!(Recorder::new().distribution().quantiles(), None);
    }
}
