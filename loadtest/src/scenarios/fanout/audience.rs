//! Who has received which message of a fan-out, and when everybody has.

use std::collections::VecDeque;

use crate::correctness::Counts;
use crate::correctness::order::{FoldedOrder, Orders};
use crate::correctness::streams::{Arrival, Streams};

/// Messages of one stream (one publisher into one channel) that somebody still waits for.
#[derive(Default)]
struct Window {
    /// Number of the first message in `waiting`.
    base: u32,
    /// Per message: how many subscribers wait for it.
    waiting: VecDeque<u32>,
}

impl Window {
    /// One subscriber waits no longer for this message. `true`: it was the last one.
    fn release(&mut self, sequence: u32, audience: u32) -> bool {
        let Some(place) = sequence.checked_sub(self.base) else {
            return false;
        };
        let place = place as usize;
        if place >= self.waiting.len() {
            self.waiting.resize(place + 1, audience);
        }
        self.waiting[place] = self.waiting[place].saturating_sub(1);
        let last = self.waiting[place] == 0;
        while self.waiting.front() == Some(&0) {
            self.waiting.pop_front();
            self.base += 1;
        }
        last
    }
}

/// What a delivery meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    pub arrival: Arrival,
    /// Every subscriber of this process now has the message.
    pub to_all: bool,
}

/// The subscribers of this process and all that they received.
pub struct Audience {
    publishers: usize,
    channels: usize,
    /// Publishers of this process: only their messages count as finished.
    own: Vec<bool>,
    /// Per subscriber.
    channel_of: Vec<u32>,
    listening: Vec<bool>,
    listened: Vec<bool>,
    duplicates: Vec<bool>,
    orders: Vec<FoldedOrder>,
    /// Per channel: how many listen now.
    size: Vec<u32>,
    /// Per subscriber and publisher.
    streams: Streams,
    /// Per publisher and channel.
    windows: Vec<Window>,
    finished: u64,
}

impl Audience {
    /// `channel_of` names the channel of every subscriber of this process, `own` tells for every publisher of the run whether it
    /// belongs to this process.
    pub fn new(channel_of: Vec<u32>, own: Vec<bool>, channels: u32) -> Self {
        let (subscribers, publishers, channels) = (channel_of.len(), own.len(), channels as usize);
        Self {
            publishers,
            channels,
            own,
            listening: vec![false; subscribers],
            listened: vec![false; subscribers],
            duplicates: vec![false; subscribers],
            orders: vec![FoldedOrder::default(); subscribers],
            size: vec![0; channels],
            streams: Streams::new(subscribers * publishers),
            windows: (0..publishers * channels)
                .map(|_| Window::default())
                .collect(),
            finished: 0,
            channel_of,
        }
    }

    /// The channel of a subscriber.
    pub fn channel_of(&self, subscriber: usize) -> u32 {
        self.channel_of[subscriber]
    }

    /// The subscription is confirmed: from now on everything must arrive.
    pub fn listen(&mut self, subscriber: usize) {
        if !self.listening[subscriber] {
            self.listening[subscriber] = true;
            self.listened[subscriber] = true;
            self.size[self.channel_of[subscriber] as usize] += 1;
        }
    }

    /// Whether the subscriber listens now.
    pub fn is_listening(&self, subscriber: usize) -> bool {
        self.listening[subscriber]
    }

    /// Subscribers that listen now.
    pub fn len(&self) -> u64 {
        self.size.iter().map(|&size| u64::from(size)).sum()
    }

    /// Messages of own publishers that nobody waits for any more: all have them, lost them or left.
    pub fn finished(&self) -> u64 {
        self.finished
    }

    /// A message arrived at a subscriber that listens.
    pub fn arrived(&mut self, subscriber: usize, publisher: u32, sequence: u32) -> Delivered {
        let arrival = self
            .streams
            .arrived(subscriber * self.publishers + publisher as usize, sequence);
        if arrival == Arrival::Duplicate {
            self.duplicates[subscriber] = true;
            return Delivered {
                arrival,
                to_all: false,
            };
        }
        self.orders[subscriber].push(publisher, sequence);
        let mut to_all = false;
        match arrival {
            Arrival::Next => to_all = self.release(subscriber, publisher, sequence),
            Arrival::AfterGap(first) => {
                // Nothing in flight may wait for what this subscriber skipped; if it comes late, it was released already.
                for skipped in first..sequence {
                    self.release(subscriber, publisher, skipped);
                }
                to_all = self.release(subscriber, publisher, sequence);
            }
            Arrival::Late | Arrival::Duplicate => {}
        }
        Delivered { arrival, to_all }
    }

    fn release(&mut self, subscriber: usize, publisher: u32, sequence: u32) -> bool {
        let channel = self.channel_of[subscriber] as usize;
        let stream = publisher as usize * self.channels + channel;
        let last = self.windows[stream].release(sequence, self.size[channel]);
        if last && self.own[publisher as usize] {
            self.finished += 1;
        }
        last
    }

    /// The subscriber is gone: nothing waits for it any more (what it has not received stays lost).
    pub fn left(&mut self, subscriber: usize) {
        if !std::mem::take(&mut self.listening[subscriber]) {
            return;
        }
        let channel = self.channel_of[subscriber] as usize;
        for publisher in 0..self.publishers {
            let window = &self.windows[publisher * self.channels + channel];
            let end = window.base + window.waiting.len() as u32;
            let next = self.streams.next(subscriber * self.publishers + publisher);
            for sequence in next..end {
                self.release(subscriber, publisher as u32, sequence);
            }
        }
        self.size[channel] -= 1;
    }

    /// Deliveries that can still happen, given how many messages of every stream were sent.
    pub fn outstanding(&self, sent: &[u32]) -> u64 {
        let living = (0..self.listening.len()).filter(|subscriber| self.listening[*subscriber]);
        living
            .map(|subscriber| self.missing(subscriber, sent))
            .sum()
    }

    /// What never arrived, and who saw which order.
    pub fn settle(&self, sent: &[u32], counts: &mut Counts) -> Orders {
        let mut orders = Orders::default();
        for subscriber in (0..self.listened.len()).filter(|subscriber| self.listened[*subscriber]) {
            let channel = self.channel_of[subscriber];
            let lost = self.missing(subscriber, sent);
            let expected: u64 = (0..self.publishers)
                .map(|publisher| u64::from(sent[publisher * self.channels + channel as usize]))
                .sum();
            counts.expected += expected;
            counts.lost += lost;
            if lost == 0 && !self.duplicates[subscriber] {
                orders.add(channel, self.orders[subscriber]);
            } else {
                orders.not_comparable += 1;
            }
        }
        orders
    }

    fn missing(&self, subscriber: usize, sent: &[u32]) -> u64 {
        let channel = self.channel_of[subscriber] as usize;
        (0..self.publishers)
            .map(|publisher| {
                let stream = subscriber * self.publishers + publisher;
                self.streams
                    .lost(stream, sent[publisher * self.channels + channel])
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two subscribers of channel 0, one of channel 1; publishers 0 (own) and 1 (of another process).
    fn audience() -> Audience {
        let mut audience = Audience::new(vec![0, 0, 1], vec![true, false], 2);
        for subscriber in 0..3 {
            audience.listen(subscriber);
        }
        audience
    }

    #[test]
    fn a_message_is_with_all_when_the_last_subscriber_has_it() {
        let mut audience = audience();
        assert!(!audience.arrived(0, 0, 0).to_all);
        assert!(!audience.arrived(0, 0, 1).to_all);
        assert!(audience.arrived(1, 0, 0).to_all);
        assert!(audience.arrived(1, 0, 1).to_all);
        assert_eq!(audience.finished(), 2);
        // A channel with one subscriber, and a publisher that is not ours.
        assert!(audience.arrived(2, 1, 0).to_all);
        assert_eq!(audience.finished(), 2);
    }

    #[test]
    fn what_a_subscriber_skips_or_leaves_does_not_stay_in_flight() {
        let mut audience = audience();
        for sequence in 0..4 {
            audience.arrived(0, 0, sequence);
        }
        assert!(audience.arrived(1, 0, 2).to_all);
        assert_eq!(audience.finished(), 3);
        assert_eq!(audience.arrived(1, 0, 0).arrival, Arrival::Late);
        assert_eq!(audience.finished(), 3);
        audience.left(1);
        assert_eq!(audience.finished(), 4);
        assert!(audience.arrived(0, 0, 4).to_all);
        assert_eq!((audience.finished(), audience.len()), (5, 2));
    }

    #[test]
    fn losses_are_settled_against_what_was_sent() {
        let mut audience = audience();
        for sequence in 0..3 {
            audience.arrived(0, 0, sequence);
        }
        audience.arrived(1, 0, 0);
        audience.arrived(1, 0, 2);
        audience.arrived(2, 0, 0);
        audience.arrived(2, 0, 0);
        // Streams: publisher 0 into channels 0 and 1, publisher 1 into channels 0 and 1.
        let sent = [3, 1, 0, 0];
        assert_eq!(audience.outstanding(&sent), 1);
        let mut counts = Counts::default();
        let orders = audience.settle(&sent, &mut counts);
        assert_eq!((counts.expected, counts.lost), (7, 1));
        assert_eq!(
            (orders.compared(), orders.not_comparable, orders.differing()),
            (1, 2, 0)
        );
        audience.left(1);
        assert_eq!(audience.outstanding(&sent), 0);
    }

    #[test]
    fn two_publishers_in_another_order_are_noticed() {
        let mut audience = audience();
        audience.arrived(0, 0, 0);
        audience.arrived(0, 1, 0);
        audience.arrived(1, 1, 0);
        audience.arrived(1, 0, 0);
        let orders = audience.settle(&[1, 0, 1, 0], &mut Counts::default());
        assert_eq!((orders.compared(), orders.differing()), (3, 1));
    }
}
