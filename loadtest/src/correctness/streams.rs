//! Exact counting of numbered streams: what is missing, what came twice, what came late.

use std::collections::HashMap;
use std::ops::Range;

/// What an arrival was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The next in its stream.
    Next,
    /// Numbers before it have not arrived (yet): the first missing one is given.
    AfterGap(u32),
    /// It was missing until now: later numbers came before it.
    Late,
    /// It had arrived before.
    Duplicate,
}

/// The receiving end of many streams, each four bytes while nothing is missing.
pub struct Streams {
    /// Per stream: one more than the highest number that arrived.
    next: Vec<u32>,
    /// Per stream with gaps: ascending, disjoint, not touching ranges of missing numbers, all below `next`.
    missing: HashMap<u32, Vec<Range<u32>>>,
}

impl Streams {
    /// `count` streams in which nothing has arrived.
    pub fn new(count: usize) -> Self {
        Self {
            next: vec![0; count],
            missing: HashMap::new(),
        }
    }

    /// One more than the highest number that arrived in this stream.
    pub fn next(&self, stream: usize) -> u32 {
        self.next[stream]
    }

    /// Notes an arrival and says what it was.
    pub fn arrived(&mut self, stream: usize, sequence: u32) -> Arrival {
        let next = &mut self.next[stream];
        if sequence == *next {
            *next += 1;
            return Arrival::Next;
        }
        if sequence > *next {
            let gap = *next..sequence;
            *next = sequence + 1;
            let first = gap.start;
            self.missing.entry(stream as u32).or_default().push(gap);
            return Arrival::AfterGap(first);
        }
        self.fill(stream as u32, sequence)
    }

    fn fill(&mut self, stream: u32, sequence: u32) -> Arrival {
        let Some(gaps) = self.missing.get_mut(&stream) else {
            return Arrival::Duplicate;
        };
        let place = gaps.partition_point(|gap| gap.end <= sequence);
        let Some(gap) = gaps.get_mut(place).filter(|gap| gap.start <= sequence) else {
            return Arrival::Duplicate;
        };
        let after = sequence + 1..gap.end;
        gap.end = sequence;
        let empty = gap.start == gap.end;
        if after.start < after.end {
            gaps.insert(place + 1, after);
        }
        if empty {
            gaps.remove(place);
        }
        if gaps.is_empty() {
            self.missing.remove(&stream);
        }
        Arrival::Late
    }

    /// How many of the first `sent` numbers of this stream have not arrived.
    pub fn lost(&self, stream: usize, sent: u32) -> u64 {
        let gaps: u64 = self
            .missing
            .get(&(stream as u32))
            .map_or(0, |gaps| gaps.iter().map(|gap| gap.len() as u64).sum());
        gaps + u64::from(sent.saturating_sub(self.next[stream]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::seq::SliceRandom;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn an_undisturbed_stream_keeps_nothing() {
        let mut streams = Streams::new(2);
        for sequence in 0..100 {
            assert_eq!(streams.arrived(1, sequence), Arrival::Next);
        }
        assert!(streams.missing.is_empty());
        assert_eq!(streams.lost(1, 100), 0);
        assert_eq!(streams.lost(1, 103), 3);
        assert_eq!(streams.lost(0, 5), 5);
    }

    #[test]
    fn loss_lateness_and_duplicates_are_told_apart() {
        let mut streams = Streams::new(1);
        assert_eq!(streams.arrived(0, 0), Arrival::Next);
        assert_eq!(streams.arrived(0, 4), Arrival::AfterGap(1));
        assert_eq!(streams.lost(0, 5), 3);
        assert_eq!(streams.arrived(0, 2), Arrival::Late);
        assert_eq!(streams.arrived(0, 2), Arrival::Duplicate);
        assert_eq!(streams.arrived(0, 4), Arrival::Duplicate);
        assert_eq!(streams.arrived(0, 0), Arrival::Duplicate);
        assert_eq!(streams.lost(0, 5), 2);
        assert_eq!(streams.arrived(0, 3), Arrival::Late);
        assert_eq!(streams.arrived(0, 1), Arrival::Late);
        assert_eq!(streams.lost(0, 5), 0);
        assert!(streams.missing.is_empty());
        assert_eq!(streams.arrived(0, 5), Arrival::Next);
    }

    /// Against a naive model: any arrivals in any order.
    #[test]
    fn counting_agrees_with_a_set_of_what_arrived() {
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let sent = random.random_range(1..60u32);
            let mut arrivals: Vec<u32> = (0..sent).filter(|_| random.random_bool(0.8)).collect();
            let doubles: Vec<u32> = arrivals
                .iter()
                .copied()
                .filter(|_| random.random_bool(0.1))
                .collect();
            arrivals.extend(doubles);
            if random.random_bool(0.5) {
                arrivals.shuffle(&mut random);
            }
            let mut streams = Streams::new(1);
            let mut seen = std::collections::BTreeSet::new();
            for &sequence in &arrivals {
                let highest = seen.last().copied();
                let wanted_duplicate = !seen.insert(sequence);
                let arrival = streams.arrived(0, sequence);
                assert_eq!(
                    arrival == Arrival::Duplicate,
                    wanted_duplicate,
                    "seed {seed}"
                );
                let behind = highest.is_some_and(|highest| sequence < highest);
                assert_eq!(
                    arrival == Arrival::Late,
                    behind && !wanted_duplicate,
                    "seed {seed}"
                );
            }
            assert_eq!(
                streams.lost(0, sent),
                u64::from(sent) - seen.len() as u64,
                "seed {seed}"
            );
        }
    }
}
