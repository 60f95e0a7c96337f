//! The result of one process, and how results of several add up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::tally::Tally;
use crate::correctness::Counts;
use crate::correctness::order::Orders;
use crate::measure::clock;
use crate::measure::histogram::Distribution;
use crate::measure::process::Usage;

/// What subscribers were told of who is in a channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PresenceFigures {
    pub subscribers: u64,
    /// Those that knew in the end exactly who was there, or how many if they were told only that; and those of them that knew names.
    pub exact: u64,
    pub exact_by_name: u64,
    /// How many were there in the end.
    pub there: u64,
    /// Most bytes of frames that one subscriber got in a second; and all, of all.
    pub most_bytes_in_a_second: u64,
    pub bytes: u64,
    pub messages: u64,
    /// Subscribers that got more in some second than they should.
    pub over_budget: u64,
    /// How long members only went and came again (of the slowest process), and messages to all subscribers meanwhile.
    pub flapping_seconds: f64,
    pub told_while_flapping: u64,
}

impl PresenceFigures {
    /// Adds those of another process.
    pub fn merge(&mut self, other: &Self) {
        self.subscribers += other.subscribers;
        self.exact += other.exact;
        self.exact_by_name += other.exact_by_name;
        // All processes know of all members.
        self.there = self.there.max(other.there);
        self.most_bytes_in_a_second = self
            .most_bytes_in_a_second
            .max(other.most_bytes_in_a_second);
        self.bytes += other.bytes;
        self.messages += other.messages;
        self.over_budget += other.over_budget;
        self.flapping_seconds = self.flapping_seconds.max(other.flapping_seconds);
        self.told_while_flapping += other.told_while_flapping;
    }
}

/// All that one process, or after merging all processes, found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    pub wanted: u64,
    pub opened: u64,
    pub failed: u64,
    pub dropped: u64,
    /// From the first connection begun to the last one open, in seconds.
    pub opening_seconds: f64,
    pub sent: u64,
    pub measured_sent: u64,
    pub received: u64,
    pub measured_received: u64,
    /// Length of the measured stretch in seconds (of the slowest process).
    pub measured_seconds: f64,
    pub withheld: u64,
    pub latency: Distribution,
    pub lag: Distribution,
    /// Further distributions of the scenario, by name.
    pub further: BTreeMap<String, Distribution>,
    /// What else the scenario counted, by name; no faults.
    pub events: BTreeMap<String, u64>,
    pub errors: BTreeMap<String, u64>,
    pub samples: Vec<String>,
    pub counts: Counts,
    /// Present where several subscribers of a channel can be compared.
    pub orders: Option<Orders>,
    /// What subscribers were told of who is there.
    pub presence: Option<PresenceFigures>,
    /// What the client processes used during the measured stretch, one entry each.
    pub clients: Vec<Usage>,
}

impl Outcome {
    /// What a tally holds; the rest stays empty.
    pub fn of(tally: &mut Tally) -> Self {
        Self {
            wanted: tally.wanted,
            opened: tally.opened,
            failed: tally.failed,
            dropped: tally.dropped,
            opening_seconds: tally
                .opening
                .map_or(0.0, |(first, last)| clock::seconds(last - first)),
            sent: tally.sent,
            measured_sent: tally.measured_sent,
            received: tally.received,
            measured_received: tally.measured_received,
            measured_seconds: clock::seconds(tally.to.saturating_sub(tally.from)),
            withheld: tally.withheld,
            latency: tally.latency.distribution(),
            lag: tally.lag.distribution(),
            further: BTreeMap::new(),
            events: BTreeMap::new(),
            errors: tally.errors.clone(),
            samples: tally.samples.clone(),
            counts: tally.counts,
            orders: None,
            presence: None,
            clients: tally.usage.into_iter().collect(),
        }
    }

    /// Adds the result of another process.
    pub fn merge(&mut self, other: Outcome) {
        self.wanted += other.wanted;
        self.opened += other.opened;
        self.failed += other.failed;
        self.dropped += other.dropped;
        self.opening_seconds = self.opening_seconds.max(other.opening_seconds);
        self.sent += other.sent;
        self.measured_sent += other.measured_sent;
        self.received += other.received;
        self.measured_received += other.measured_received;
        self.measured_seconds = self.measured_seconds.max(other.measured_seconds);
        self.withheld += other.withheld;
        self.latency.merge(&other.latency);
        self.lag.merge(&other.lag);
        for (name, distribution) in other.further {
            self.further.entry(name).or_default().merge(&distribution);
        }
        for (name, count) in other.events {
            *self.events.entry(name).or_default() += count;
        }
        for (kind, count) in other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
        self.samples.extend(other.samples);
        self.samples.truncate(super::tally::MAX_SAMPLES);
        self.counts.merge(&other.counts);
        self.orders = match (self.orders.take(), other.orders) {
            (Some(mut here), Some(there)) => {
                here.merge(&there);
                Some(here)
            }
            (here, there) => here.or(there),
        };
        self.presence = match (self.presence.take(), other.presence) {
            (Some(mut here), Some(there)) => {
                here.merge(&there);
                Some(here)
            }
            (here, there) => here.or(there),
        };
        self.clients.extend(other.clients);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_add_up() {
        let outcome = |received| Outcome {
            received,
            measured_seconds: received as f64,
            errors: BTreeMap::from([("reset".to_owned(), received)]),
            orders: Some(Orders::default()),
            clients: vec![Usage::default()],
            ..Outcome::default()
        };
        let mut sum = Outcome::default();
        sum.merge(outcome(3));
        sum.merge(outcome(4));
        assert_eq!(
            (sum.received, sum.errors["reset"], sum.clients.len()),
            (7, 7, 2)
        );
        assert_eq!(sum.measured_seconds, 4.0);
        assert!(sum.orders.is_some());
    }
}
