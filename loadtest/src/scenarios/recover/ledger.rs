//! What was acknowledged to publishers, and whether a subscriber has exactly that.

use std::collections::HashSet;

use super::wire::Place;
use crate::correctness::Counts;

/// A publication that arrived: its number in its channel, and its offset.
pub type Arrived = (u32, u32);

/// All publications of one channel, numbered as they were made.
#[derive(Debug, Default)]
struct Log {
    /// By number: the offset that was acknowledged; 0: none was.
    offsets: Vec<u32>,
    /// Numbers that the server refused at least once: later ones may be before them.
    refused: HashSet<u32>,
    /// The life of the history that all offsets belong to.
    epoch: Option<u64>,
    /// The highest offset that was acknowledged.
    head: u64,
}

/// What an acknowledgement was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledged {
    /// The first, or one that says the same.
    Fine,
    /// The publication was acknowledged before with another place: it is in the history twice.
    Twice,
    /// It belongs to another life of the history than those before.
    OtherEpoch,
}

/// Whether a publication came, and at the place that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Never,
    Elsewhere,
    Rightly,
}

/// What was acknowledged to the publishers of a run.
#[derive(Debug)]
pub struct Ledger {
    logs: Vec<Log>,
}

/// What one subscriber got.
#[derive(Debug, Default)]
pub struct Received {
    /// Everything behind this offset is to arrive; none: it was never subscribed.
    pub from: Option<u64>,
    /// In the order of arrival.
    pub arrived: Vec<Arrived>,
    /// Offsets it was told not to get, both ends included.
    pub announced: Vec<(u64, u64)>,
}

impl Ledger {
    /// Nothing was published into so many channels.
    pub fn new(channels: u32) -> Self {
        Self {
            logs: (0..channels).map(|_| Log::default()).collect(),
        }
    }

    /// A publication is made: its number.
    pub fn issue(&mut self, channel: u32) -> u32 {
        let log = &mut self.logs[channel as usize];
        log.offsets.push(0);
        (log.offsets.len() - 1) as u32
    }

    /// Whether a number was given to a publication of this channel.
    pub fn was_issued(&self, channel: u32, number: u32) -> bool {
        self.logs
            .get(channel as usize)
            .is_some_and(|log| (number as usize) < log.offsets.len())
    }

    /// The server did not take it; it will be sent again.
    pub fn refuse(&mut self, channel: u32, number: u32) {
        self.logs[channel as usize].refused.insert(number);
    }

    /// The server has said where it is.
    pub fn acknowledge(&mut self, channel: u32, number: u32, place: Place) -> Acknowledged {
        let log = &mut self.logs[channel as usize];
        if *log.epoch.get_or_insert(place.epoch) != place.epoch {
            return Acknowledged::OtherEpoch;
        }
        log.head = log.head.max(place.offset);
        let offset = &mut log.offsets[number as usize];
        let told = place.offset as u32;
        if *offset != 0 && *offset != told {
            return Acknowledged::Twice;
        }
        *offset = told;
        Acknowledged::Fine
    }

    /// The highest offset that was acknowledged in a channel.
    pub fn head(&self, channel: u32) -> u64 {
        self.logs[channel as usize].head
    }

    /// Publications that are in a channel's history before others that their publisher had made, and the server had taken, before.
    pub fn out_of_order(&self) -> u64 {
        let mut count = 0;
        for log in &self.logs {
            let mut highest = 0;
            for (number, &offset) in log.offsets.iter().enumerate() {
                if offset == 0 || log.refused.contains(&(number as u32)) {
                    continue;
                }
                count += u64::from(offset < highest);
                highest = highest.max(offset);
            }
        }
        count
    }

    /// Compares what a subscriber of this channel got with what was acknowledged. Returns how many it was told not to get.
    pub fn judge(&self, channel: u32, received: &Received, counts: &mut Counts) -> u64 {
        let log = &self.logs[channel as usize];
        let Some(from) = received.from else {
            return 0;
        };
        let mut came = vec![Came::Never; log.offsets.len()];
        let mut highest = 0;
        for &(number, offset) in &received.arrived {
            let right = log.offsets[number as usize] == offset;
            let came = &mut came[number as usize];
            if *came != Came::Never {
                counts.duplicated += 1;
            } else if offset < highest {
                counts.out_of_order += 1;
            }
            if right || *came == Came::Never {
                *came = if right {
                    Came::Rightly
                } else {
                    Came::Elsewhere
                };
            }
            highest = highest.max(offset);
        }
        let mut announced = 0;
        for (&offset, came) in log.offsets.iter().zip(came) {
            let offset = u64::from(offset);
            if offset <= from {
                continue;
            }
            counts.expected += 1;
            match came {
                Came::Never => {}
                Came::Rightly => continue,
                Came::Elsewhere => {
                    // It was acknowledged at one place and is at another.
                    counts.corrupted += 1;
                    continue;
                }
            }
            let told = |(from, to): &(u64, u64)| (*from..=*to).contains(&offset);
            if received.announced.iter().any(told) {
                announced += 1;
            } else {
                counts.lost += 1;
            }
        }
        announced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(offset: u64) -> Place {
        Place { epoch: 1, offset }
    }

    /// Five publications at offsets 1 to 5, and a sixth that nobody was told of.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(1);
        for offset in 1..=5 {
            let number = ledger.issue(0);
            assert_eq!(
                ledger.acknowledge(0, number, place(offset)),
                Acknowledged::Fine
            );
        }
        ledger.issue(0);
        ledger
    }

    fn judge(from: u64, arrived: &[Arrived], announced: &[(u64, u64)]) -> (Counts, u64) {
        let mut counts = Counts::default();
        let received = Received {
            from: Some(from),
            arrived: arrived.to_vec(),
            announced: announced.to_vec(),
        };
        let announced = ledger().judge(0, &received, &mut counts);
        (counts, announced)
    }

    #[test]
    fn what_was_acknowledged_is_expected_once_and_in_order() {
        let all = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)];
        let fine = Counts {
            expected: 5,
            ..Counts::default()
        };
        assert_eq!(judge(0, &all, &[]), (fine, 0));
        let later = Counts {
            expected: 2,
            ..Counts::default()
        };
        assert_eq!(judge(3, &all[3..], &[]), (later, 0));
        // What was never acknowledged may come or not.
        let mut more = all.to_vec();
        more.push((5, 6));
        assert_eq!(judge(0, &more, &[]), (fine, 0));
    }

    #[test]
    fn every_kind_of_fault_is_told_apart() {
        let lost = judge(0, &[(0, 1), (1, 2), (3, 4), (4, 5)], &[]).0;
        assert_eq!((lost.lost, lost.expected), (1, 5));
        let tail = judge(0, &[(0, 1), (1, 2), (2, 3), (3, 4)], &[]).0;
        assert_eq!(tail.lost, 1);
        let twice = judge(2, &[(2, 3), (3, 4), (3, 4), (4, 5)], &[]).0;
        assert_eq!((twice.duplicated, twice.lost), (1, 0));
        let swapped = judge(2, &[(3, 4), (2, 3), (4, 5)], &[]).0;
        assert_eq!((swapped.out_of_order, swapped.lost), (1, 0));
        let elsewhere = judge(3, &[(3, 4), (4, 6)], &[]).0;
        assert_eq!(elsewhere.corrupted, 1);
    }

    #[test]
    fn what_was_announced_is_not_lost_in_silence() {
        let (counts, announced) = judge(0, &[(0, 1), (4, 5)], &[(2, 3)]);
        assert_eq!((counts.lost, announced), (1, 2));
    }

    #[test]
    fn a_publication_with_two_places_and_another_epoch_are_noticed() {
        let mut ledger = ledger();
        assert_eq!(ledger.acknowledge(0, 2, place(3)), Acknowledged::Fine);
        assert_eq!(ledger.acknowledge(0, 2, place(9)), Acknowledged::Twice);
        let other = Place {
            epoch: 2,
            offset: 6,
        };
        assert_eq!(ledger.acknowledge(0, 5, other), Acknowledged::OtherEpoch);
        assert_eq!(ledger.head(0), 9);
    }

    #[test]
    fn a_publishers_own_order_holds_but_for_what_was_refused() {
        let mut ledger = Ledger::new(1);
        for offset in [1, 3, 2] {
            let number = ledger.issue(0);
            ledger.acknowledge(0, number, place(offset));
        }
        assert_eq!(ledger.out_of_order(), 1);
        ledger.refuse(0, 1);
        assert_eq!(ledger.out_of_order(), 0);
    }
}
