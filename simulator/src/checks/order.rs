//! All subscribers of a channel see one order, and in it each publisher's own. (What has a place is looked at place by place.)

use std::collections::BTreeMap;

use super::{Check, Seen, Verdict, demand};
use crate::World;

/// What each client saw since the last rest, channel by channel. The channels' homes are not asked for their order: that all
/// sequences come from one order is the same as that "was seen before" has no circle.
#[derive(Debug, Default)]
pub struct Order {
    /// (channel, client) → publications in the order of arrival.
    sequences: BTreeMap<(usize, usize), Vec<usize>>,
    /// (channel, client, publisher) → the last publication.
    last_of: BTreeMap<(usize, usize, usize), usize>,
    /// (channel, client) → the last timestamp.
    timestamps: BTreeMap<(usize, usize), u64>,
}

impl Check for Order {
    fn name(&self) -> &'static str {
        "one order per channel"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World<'_>) -> Verdict {
        let Seen::Broadcast {
            client,
            channel,
            number,
            timestamp,
            place: None,
        } = *seen
        else {
            return Ok(());
        };
        self.sequences
            .entry((channel, client))
            .or_default()
            .push(number);
        let before = self.timestamps.insert((channel, client), timestamp);
        demand!(
            world.wall_went_back || before.is_none_or(|before| before <= timestamp),
            "the time went back on channel {channel} for client {client}"
        );
        if let Some(publisher) = world
            .publications
            .get(number)
            .and_then(|publication| publication.publisher)
        {
            let before = self.last_of.insert((channel, client, publisher), number);
            demand!(
                before.is_none_or(|before| before < number),
                "client {client} got publication {number} of client {publisher} after its later {before:?}"
            );
        }
        Ok(())
    }

    fn at_rest(&mut self, world: &World<'_>) -> Verdict {
        if world.wall_went_back {
            // What comes from now on is stamped by a clock that is behind the last stamps.
            self.timestamps.clear();
        }
        let sequences = std::mem::take(&mut self.sequences);
        let mut sequences = sequences.into_iter().peekable();
        while let Some(((channel, _), first)) = sequences.next() {
            let mut of_channel = vec![first];
            while let Some((_, next)) = sequences.next_if(|((other, _), _)| *other == channel) {
                of_channel.push(next);
            }
            if let Some(circle) = circle(&of_channel) {
                return Err(format!(
                    "subscribers of channel {channel} disagree about the order of {circle:?}"
                ));
            }
        }
        Ok(())
    }
}

/// Publications that no order can put right, if there are any.
fn circle(sequences: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut followers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut before: BTreeMap<usize, usize> = BTreeMap::new();
    for sequence in sequences {
        for &number in sequence {
            before.entry(number).or_default();
        }
        for pair in sequence.windows(2) {
            followers.entry(pair[0]).or_default().push(pair[1]);
            *before.entry(pair[1]).or_default() += 1;
        }
    }
    // Take away whatever nothing comes before; what cannot be taken away is, or hangs on, a circle.
    let mut free: Vec<usize> = before
        .iter()
        .filter(|(_, count)| **count == 0)
        .map(|(&number, _)| number)
        .collect();
    while let Some(number) = free.pop() {
        before.remove(&number);
        for follower in followers.remove(&number).unwrap_or_default() {
            let count = before.get_mut(&follower).expect("what follows was counted");
            *count -= 1;
            if *count == 0 {
                free.push(follower);
            }
        }
    }
    (!before.is_empty()).then(|| before.into_keys().collect())
}

#[cfg(test)]
mod tests {
    use super::circle;

    #[test]
    fn parts_of_one_order_are_no_circle() {
        assert_eq!(circle(&[vec![3, 1, 2], vec![3, 2, 7], vec![1, 7]]), None);
    }

    #[test]
    fn two_orders_are_a_circle_even_when_no_two_clients_share_two_publications() {
        assert_eq!(
            circle(&[vec![1, 2], vec![2, 3], vec![3, 1]]),
            Some(vec![1, 2, 3])
        );
    }
}
