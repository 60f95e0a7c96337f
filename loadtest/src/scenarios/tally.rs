//! What one process counts while it runs, whatever the scenario.

use std::collections::BTreeMap;

use crate::client::{End, Failure};
use crate::correctness::Counts;
use crate::measure::histogram::Recorder;
use crate::measure::process::Usage;

/// Most kinds of errors told apart; texts of servers may vary without end.
const MAX_KINDS: usize = 32;
/// Most messages of the server kept as samples, and most characters of one.
pub(super) const MAX_SAMPLES: usize = 3;
const SAMPLE_LEN: usize = 200;

/// The counts of one process.
pub struct Tally {
    /// Messages intended from here on are measured; before it is warm-up. `u64::MAX` until known.
    pub from: u64,
    /// Messages arriving from here on do not count for the rate (sending is over). `u64::MAX` until known.
    pub to: u64,
    /// Connections that were asked for.
    pub wanted: u64,
    /// Connections that were opened.
    pub opened: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections that could not be opened.
    pub failed: u64,
    /// Connections that broke or were closed by the server.
    pub dropped: u64,
    /// When the first connection was begun and the last one opened.
    pub opening: Option<(u64, u64)>,
    /// All messages sent, and those of the measured stretch.
    pub sent: u64,
    pub measured_sent: u64,
    /// All deliveries, and those of the measured stretch.
    pub received: u64,
    pub measured_received: u64,
    /// Messages due but not sent, because their connection took no more.
    pub withheld: u64,
    /// Intended time to arrival.
    pub latency: Recorder,
    /// Intended time to sending: how far the client itself was behind.
    pub lag: Recorder,
    /// Errors by kind.
    pub errors: BTreeMap<String, u64>,
    /// The first unexpected messages of the server.
    pub samples: Vec<String>,
    pub counts: Counts,
    /// What this process used while it measured.
    pub usage: Option<Usage>,
    /// Messages that may still be sent in the measured stretch (`--count`).
    budget: Option<u64>,
    /// The run is over: connections end because we end them.
    pub closing: bool,
}

impl Tally {
    /// Empty; `budget` bounds the measured messages.
    pub fn new(wanted: u64, budget: Option<u64>) -> Self {
        Self {
            from: u64::MAX,
            to: u64::MAX,
            wanted,
            opened: 0,
            open: 0,
            failed: 0,
            dropped: 0,
            opening: None,
            sent: 0,
            measured_sent: 0,
            received: 0,
            measured_received: 0,
            withheld: 0,
            latency: Recorder::new(),
            lag: Recorder::new(),
            errors: BTreeMap::new(),
            samples: Vec::new(),
            counts: Counts::default(),
            usage: None,
            budget,
            closing: false,
        }
    }

    /// Whether another message may be sent; takes it from the budget if it is measured.
    pub fn take_budget(&mut self, now: u64) -> bool {
        match &mut self.budget {
            Some(0) => false,
            Some(left) => {
                *left -= u64::from(now >= self.from);
                true
            }
            None => true,
        }
    }

    /// Whether the budget is used up.
    pub fn is_spent(&self) -> bool {
        self.budget == Some(0)
    }

    /// A message left at `now` that should have left at `intended`.
    pub fn sent(&mut self, now: u64, intended: u64) {
        self.sent += 1;
        if now >= self.from {
            self.measured_sent += 1;
            self.lag.record(now.saturating_sub(intended));
        }
    }

    /// A message arrived at `at` that should have been sent at `intended`.
    pub fn received(&mut self, at: u64, intended: u64) {
        self.received += 1;
        if at >= self.from && at < self.to {
            self.measured_received += 1;
        }
        if intended >= self.from {
            self.latency.record(at.saturating_sub(intended));
        }
    }

    /// The first connection is begun.
    pub fn opening_began(&mut self, at: u64) {
        self.opening.get_or_insert((at, at));
    }

    /// A connection opened.
    pub fn connection_opened(&mut self, at: u64) {
        self.opened += 1;
        self.open += 1;
        self.opening.get_or_insert((at, at)).1 = at;
    }

    /// A connection ended; counts what was not our wish. Returns whether it had been open.
    pub fn connection_closed(&mut self, end: &End) -> bool {
        match end {
            End::Clean | End::Cut => {}
            _ if self.closing => {}
            End::NotOpened(failure) => {
                self.failed += 1;
                self.error(failure);
            }
            End::Broken(failure) => {
                self.dropped += 1;
                self.error(failure);
            }
        }
        let was_open = !matches!(end, End::NotOpened(_));
        self.open -= u64::from(was_open);
        was_open
    }

    /// Counts an error under its text.
    pub fn error(&mut self, failure: &Failure) {
        self.error_kind(failure.to_string());
    }

    /// Counts an error of this kind.
    pub fn error_kind(&mut self, kind: String) {
        let kind = if self.errors.len() < MAX_KINDS || self.errors.contains_key(&kind) {
            kind
        } else {
            "other".to_owned()
        };
        *self.errors.entry(kind).or_default() += 1;
    }

    /// Keeps one of the server's messages for the report, if there is room.
    pub fn sample(&mut self, message: &[u8]) {
        if self.samples.len() < MAX_SAMPLES {
            let text = String::from_utf8_lossy(message);
            self.samples.push(text.chars().take(SAMPLE_LEN).collect());
        }
    }

    /// The most frequent error, for a message when nothing works.
    pub fn commonest_error(&self) -> Option<&str> {
        self.errors
            .iter()
            .max_by_key(|(_, count)| **count)
            .map(|(kind, _)| kind.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_and_late_arrivals_do_not_count_for_the_rate() {
        let mut tally = Tally::new(1, None);
        (tally.from, tally.to) = (100, 200);
        tally.sent(50, 50);
        tally.received(60, 50);
        tally.received(110, 90);
        tally.sent(150, 140);
        tally.received(160, 140);
        tally.received(250, 190);
        assert_eq!((tally.sent, tally.measured_sent), (2, 1));
        assert_eq!((tally.received, tally.measured_received), (4, 2));
        // Late arrivals do count for the latency: leaving them out would flatter the server.
        let latency = tally
            .latency
            .distribution()
            .quantiles()
            .map(|quantiles| (quantiles.count, quantiles.max));
        assert_eq!(latency, Some((2, 60)));
    }

    #[test]
    fn the_budget_starts_with_the_measurement() {
        let mut tally = Tally::new(1, Some(2));
        tally.from = 100;
        assert!((0..10).all(|_| tally.take_budget(99)));
        assert!(tally.take_budget(100) && tally.take_budget(101));
        assert!(!tally.take_budget(102) && tally.is_spent());
    }

    #[test]
    fn the_kinds_of_errors_are_bounded() {
        let mut tally = Tally::new(1, None);
        for number in 0..100 {
            tally.error_kind(format!("kind {number}"));
        }
        assert_eq!(tally.errors.len(), MAX_KINDS + 1);
        assert_eq!(tally.errors["other"], 68);
    }
}
