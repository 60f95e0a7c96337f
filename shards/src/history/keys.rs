//! Idempotency keys of one log: which publication a key stands for, for a while.

use std::collections::VecDeque;

use ahash::AHashMap;

use crate::bounds::IDEMPOTENCY_KEYS_MAX;

/// Bytes one key takes besides its text, twice: an entry of the map and one of the queue, rounded up.
const ENTRY_BYTES: usize = 96;

/// The last keys a log was published to with, each with the offset it got. Bounded in number and time.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    offsets: AHashMap<Box<str>, u64>,
    /// By expiry, in milliseconds since start.
    order: VecDeque<(u64, Box<str>)>,
    bytes: usize,
}

impl Keys {
    /// The offset that was given for this key.
    pub(crate) fn find(&self, key: &str) -> Option<u64> {
        self.offsets.get(key).copied()
    }

    /// Remembers a key until `expires`, and forgets the oldest if there are too many.
    pub(crate) fn note(&mut self, key: Box<str>, offset: u64, expires: u64) {
        if self.offsets.contains_key(&key) {
            return;
        }
        if self.order.len() == IDEMPOTENCY_KEYS_MAX {
            self.forget_oldest();
        }
        self.bytes += cost(&key);
        self.order.push_back((expires, key.clone()));
        self.offsets.insert(key, offset);
    }

    /// Forgets what has expired at `now_ms`.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        while self
            .order
            .front()
            .is_some_and(|(expires, _)| *expires <= now_ms)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.bytes -= cost(&key);
            self.offsets.remove(&key);
        }
    }

    /// When the next one expires.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.order.front().map(|(expires, _)| *expires)
    }

    /// Bytes all keys take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

fn cost(key: &str) -> usize {
    2 * key.len() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_remembered_for_their_time_and_no_longer() {
        let mut keys = Keys::default();
        keys.note("a".into(), 1, 10);
        keys.note("b".into(), 2, 20);
        keys.note("a".into(), 3, 30);
        assert_eq!((keys.find("a"), keys.find("b")), (Some(1), Some(2)));
        keys.expire(10);
        assert_eq!((keys.find("a"), keys.find("b")), (None, Some(2)));
        keys.expire(u64::MAX);
        assert!(keys.is_empty());
        assert_eq!(keys.bytes(), 0);
    }

    #[test]
    fn their_number_is_bounded() {
        let mut keys = Keys::default();
        for n in 0..2 * IDEMPOTENCY_KEYS_MAX as u64 {
            keys.note(n.to_string().into(), n, 1000);
        }
        assert_eq!(keys.find("0"), None, "the oldest went first");
        let last = 2 * IDEMPOTENCY_KEYS_MAX as u64 - 1;
        assert_eq!(keys.find(&last.to_string()), Some(last));
        assert_eq!(keys.order.len(), IDEMPOTENCY_KEYS_MAX);
        assert_eq!(keys.offsets.len(), IDEMPOTENCY_KEYS_MAX);
    }
}
