//! Did all subscribers of a channel see the same order?
//!
//! Every subscriber folds what it receives, in the order of arrival, into 64 bits. Of the subscribers that received every
//! message of their channel exactly once, two that differ have seen different orders. Subscribers with loss or duplicates
//! cannot be compared this way; they are counted, and have failed anyway. The folded values also compare across processes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The order in which one subscriber received its messages, folded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FoldedOrder(u64);

impl FoldedOrder {
    /// Appends one message.
    pub fn push(&mut self, source: u32, sequence: u32) {
        let message = u64::from(source) << 32 | u64::from(sequence);
        // A multiplicative step with a rotation is not commutative: another order gives another value.
        self.0 = (self.0.rotate_left(5) ^ message.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .wrapping_mul(0xff51_afd7_ed55_8ccd)
            ^ (self.0 >> 29);
    }
}

/// The orders seen in every channel, and by how many subscribers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    channels: BTreeMap<u32, BTreeMap<u64, u64>>,
    /// Subscribers that lost or received something twice, so that their order cannot be compared.
    pub not_comparable: u64,
}

impl Orders {
    /// Adds one subscriber that received every message of its channel exactly once.
    pub fn add(&mut self, channel: u32, order: FoldedOrder) {
        *self
            .channels
            .entry(channel)
            .or_default()
            .entry(order.0)
            .or_default() += 1;
    }

    /// Adds the subscribers of another process.
    pub fn merge(&mut self, other: &Orders) {
        for (channel, orders) in &other.channels {
            let known = self.channels.entry(*channel).or_default();
            for (order, subscribers) in orders {
                *known.entry(*order).or_default() += subscribers;
            }
        }
        self.not_comparable += other.not_comparable;
    }

    /// Subscribers whose order could be compared.
    pub fn compared(&self) -> u64 {
        self.channels.values().flat_map(BTreeMap::values).sum()
    }

    /// Subscribers that saw another order than most subscribers of their channel.
    pub fn differing(&self) -> u64 {
        self.channels
            .values()
            .map(|orders| {
                let all: u64 = orders.values().sum();
                all - orders.values().max().copied().unwrap_or(0)
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(messages: &[(u32, u32)]) -> FoldedOrder {
        let mut order = FoldedOrder::default();
        for &(source, sequence) in messages {
            order.push(source, sequence);
        }
        order
    }

    #[test]
    fn exchanging_any_two_neighbours_changes_the_fold() {
        let mut messages: Vec<(u32, u32)> =
            (0..200).map(|number| (number % 3, number / 3)).collect();
        let original = order(&messages);
        for place in 0..messages.len() - 1 {
            messages.swap(place, place + 1);
            assert_ne!(order(&messages), original, "at {place}");
            messages.swap(place, place + 1);
        }
        assert_eq!(order(&messages), original);
    }

    #[test]
    fn the_minority_of_each_channel_differs() {
        let (usual, other) = (order(&[(0, 0), (1, 0)]), order(&[(1, 0), (0, 0)]));
        let mut here = Orders::default();
        here.add(1, usual);
        here.add(2, other);
        let mut there = Orders {
            not_comparable: 1,
            ..Orders::default()
        };
        there.add(1, usual);
        there.add(1, other);
        assert_eq!(there.differing(), 1);
        here.merge(&there);
        assert_eq!(
            (here.compared(), here.differing(), here.not_comparable),
            (4, 1, 1)
        );
    }
}
