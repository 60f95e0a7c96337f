//! Subscribers that are not level with the others of their audience: they recover what they missed while they were away, or read
//! too slowly.

use std::collections::VecDeque;

use crate::vocabulary::{ConnectionId, Position, SharedFrame};

/// One such subscriber.
#[derive(Debug)]
pub(crate) struct Laggard {
    pub(crate) id: ConnectionId,
    pub(crate) lag: Lag,
}

/// What it gets before it is level.
#[derive(Debug)]
pub(crate) enum Lag {
    /// What the channel's log has for it.
    Log(Cursor),
    /// What waits for it here.
    Queue(Queue),
    /// Nothing: it is level from the moment on at which the door opens. Until then the answers to its `subscribe` requests wait, by
    /// their `id`s.
    Door(Vec<Option<Box<str>>>),
}

/// A place in the log instead of a queue.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    /// The offset it gets next.
    pub(crate) next: u64,
    /// The question to the channel's home that is under way.
    pub(crate) asked: Option<u32>,
    /// The `id`s of its `subscribe` requests that wait to be told whether all can be recovered; empty: it knows.
    pub(crate) untold: Vec<Option<Box<str>>>,
}

/// What waits for a slow subscriber, and what was dropped before that.
#[derive(Debug)]
pub(crate) struct Queue {
    items: VecDeque<Queued>,
    bytes: usize,
    /// Most messages that wait.
    most: usize,
    dropped: Dropped,
}

/// One item of a queue.
#[derive(Clone, Debug)]
pub(crate) enum Queued {
    /// A publication.
    Frame(SharedFrame, Option<Position>),
    /// What the channel's home did not have any more when it was this shard's turn.
    Gap { from: u64, to: Position },
}

impl Queued {
    fn cost(&self) -> usize {
        match self {
            Self::Frame(frame, _) => frame.len() + size_of::<Self>(),
            Self::Gap { .. } => size_of::<Self>(),
        }
    }
}

/// What a subscriber has not got, oldest first and without a hole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Dropped {
    /// How many messages.
    pub(crate) count: u64,
    /// Their offsets, if the channel has history.
    pub(crate) range: Option<(u64, Position)>,
}

impl Dropped {
    fn add(&mut self, item: &Queued) {
        let (count, from, to) = match *item {
            Queued::Frame(_, None) => (1, None, None),
            Queued::Frame(_, Some(place)) => (1, Some(place.offset), Some(place)),
            Queued::Gap { from, to } => (to.offset - from + 1, Some(from), Some(to)),
        };
        self.count += count;
        if let (Some(from), Some(to)) = (from, to) {
            let from = self.range.map_or(from, |(first, _)| first);
            self.range = Some((from, to));
        }
    }
}

impl Queue {
    /// A queue that holds any number of messages, or only the latest.
    pub(crate) fn new(keep_latest: bool) -> Self {
        Self {
            items: VecDeque::new(),
            bytes: 0,
            most: if keep_latest { 1 } else { usize::MAX },
            dropped: Dropped::default(),
        }
    }

    /// Appends, and drops the oldest while there are more than `most_bytes`. Returns how many messages were dropped.
    pub(crate) fn push(&mut self, item: Queued, most_bytes: usize) -> u64 {
        let before = self.dropped.count;
        self.bytes += item.cost();
        self.items.push_back(item);
        while self.items.len() > self.most || self.bytes > most_bytes {
            let Some(oldest) = self.items.pop_front() else {
                break;
            };
            self.bytes -= oldest.cost();
            self.dropped.add(&oldest);
        }
        self.dropped.count - before
    }

    /// What has to be told before anything else is given.
    pub(crate) fn take_dropped(&mut self) -> Option<Dropped> {
        (self.dropped.count > 0).then(|| std::mem::take(&mut self.dropped))
    }

    /// The oldest item.
    pub(crate) fn pop(&mut self) -> Option<Queued> {
        let item = self.items.pop_front()?;
        self.bytes -= item.cost();
        Some(item)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Offset of what the subscriber gets, or is told of, next.
    fn next(&self) -> Option<u64> {
        if let Some((from, _)) = self.dropped.range {
            return Some(from);
        }
        self.items.iter().find_map(|item| match item {
            Queued::Frame(_, place) => place.map(|place| place.offset),
            Queued::Gap { from, .. } => Some(*from),
        })
    }
}

impl Lag {
    /// Bytes that wait here.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Log(_) | Self::Door(_) => 0,
            Self::Queue(queue) => queue.bytes(),
        }
    }

    /// How many messages the subscriber is behind the others of its audience: by offset where the channel has history, else those that
    /// wait for it or were dropped.
    pub(crate) fn behind(&self, live: Option<Position>) -> u64 {
        match (self, live) {
            (_, Some(live)) => live.offset.saturating_sub(self.reached(live).offset),
            (Self::Queue(queue), None) => queue.items.len() as u64 + queue.dropped.count,
            (Self::Log(_) | Self::Door(_), None) => 0,
        }
    }

    /// The place up to which the subscriber has got everything, or was told what not; `live` is that of the others.
    pub(crate) fn reached(&self, live: Position) -> Position {
        let next = match self {
            Self::Log(cursor) => Some(cursor.next),
            Self::Queue(queue) => queue.next(),
            Self::Door(_) => None,
        };
        Position {
            offset: next.map_or(live.offset, |next| next - 1),
            ..live
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Epoch;
    use bytes::Bytes;

    fn place(offset: u64) -> Position {
        Position {
            epoch: Epoch(1),
            offset,
        }
    }

    fn frame(offset: u64) -> Queued {
        Queued::Frame(Bytes::from(vec![0; 100]).into(), Some(place(offset)))
    }

    fn offsets(queue: &mut Queue) -> Vec<u64> {
        std::iter::from_fn(|| queue.pop())
            .map(|item| match item {
                Queued::Frame(_, place) => place.map_or(0, |place| place.offset),
                Queued::Gap { from, .. } => from,
            })
            .collect()
    }

    #[test]
    fn the_oldest_are_dropped_and_named() {
        let mut queue = Queue::new(false);
        let room = 3 * frame(0).cost();
        let dropped: u64 = (5..=10).map(|offset| queue.push(frame(offset), room)).sum();
        assert_eq!(dropped, 3);
        assert_eq!(Lag::Queue(queue).reached(place(10)), place(4));
        let mut queue = Queue::new(false);
        for offset in 5..=10 {
            queue.push(frame(offset), room);
        }
        let range = Some((5, place(7)));
        assert_eq!(queue.take_dropped(), Some(Dropped { count: 3, range }));
        assert_eq!(queue.take_dropped(), None);
        assert_eq!(offsets(&mut queue), [8, 9, 10]);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn only_the_latest_is_kept() {
        let mut queue = Queue::new(true);
        for offset in 1..=4 {
            queue.push(frame(offset), usize::MAX);
        }
        let range = Some((1, place(3)));
        assert_eq!(queue.take_dropped(), Some(Dropped { count: 3, range }));
        assert_eq!(offsets(&mut queue), [4]);
    }

    #[test]
    fn a_gap_that_is_dropped_stays_a_gap() {
        let mut queue = Queue::new(false);
        queue.push(
            Queued::Gap {
                from: 3,
                to: place(6),
            },
            usize::MAX,
        );
        queue.push(frame(7), frame(7).cost());
        let range = Some((3, place(6)));
        assert_eq!(queue.take_dropped(), Some(Dropped { count: 4, range }));
    }

    #[test]
    fn without_room_nothing_waits() {
        let mut queue = Queue::new(false);
        assert_eq!(queue.push(frame(1), 0), 1);
        assert_eq!(queue.bytes(), 0);
        assert_eq!(Lag::Queue(queue).reached(place(1)), place(0));
    }
}
