//! What waits to be sent: bounded, in order.

use std::collections::{HashSet, VecDeque};

/// A message that waits to be sent.
pub(super) struct Waiting {
    pub(super) text: String,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The number is what its publisher was told.
    Publish(u64),
    /// Somebody waits for the answer with this id.
    Request(u64),
    /// About this connection alone (a subscribe, an unsubscribe, a refresh): of no use on another one. Not bounded here:
    /// there is one for each channel at most.
    Connection,
}

pub(super) struct Outbox {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    max_messages: usize,
    max_bytes: usize,
}

impl Outbox {
    pub(super) fn new(max_messages: usize, max_bytes: usize) -> Outbox {
        Outbox {
            waiting: VecDeque::new(),
            bytes: 0,
            max_messages,
            max_bytes,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a message of so many bytes may wait.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.waiting.len() < self.max_messages && self.bytes + bytes <= self.max_bytes
    }

    /// Whether further commands should be looked at.
    pub(super) fn is_open(&self) -> bool {
        self.waiting.len() < self.max_messages.max(1)
    }

    pub(super) fn push(&mut self, text: String, what: What) {
        self.bytes += text.len();
        self.waiting.push_back(Waiting { text, what });
    }

    /// Before everything that waits.
    pub(super) fn push_front(&mut self, text: String, what: What) {
        self.bytes += text.len();
        self.waiting.push_front(Waiting { text, what });
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.waiting.pop_front()?;
        self.bytes -= waiting.text.len();
        Some(waiting)
    }

    /// The publishes among them.
    pub(super) fn publishes(&self) -> impl Iterator<Item = u64> {
        self.waiting
            .iter()
            .filter_map(|waiting| match waiting.what {
                What::Publish(id) => Some(id),
                What::Request(_) | What::Connection => None,
            })
    }

    /// The connection is lost: what was about it alone is forgotten. Ids of the requests that have not been sent.
    pub(super) fn lost(&mut self) -> HashSet<u64> {
        self.waiting
            .retain(|waiting| waiting.what != What::Connection);
        self.bytes = self.waiting.iter().map(|waiting| waiting.text.len()).sum();
        let ids = self
            .waiting
            .iter()
            .filter_map(|waiting| match waiting.what {
                What::Request(id) => Some(id),
                What::Publish(_) | What::Connection => None,
            });
        ids.collect()
    }
}
