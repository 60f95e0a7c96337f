//! The sleep flag of one shard: rung only when it sleeps, never forgotten when it does.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// "I am about to sleep", said by the owner; "then I ring", answered by a sender.
///
/// The owner raises the flag, *then* looks into its queues once more; a sender puts its message into the queue, *then* looks at the
/// flag. A sequentially consistent fence stands between the two steps on both sides, so at least one of them sees
/// the other: the owner finds the message, or the sender finds the flag.
#[derive(Debug, Default)]
pub struct Slumber {
    asleep: AtomicBool,
}

impl Slumber {
    /// The owner, before it blocks. It must look into its queues after this, and block only if they are empty.
    pub fn announce(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The owner, when it runs again.
    pub fn end(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// A sender, after it has queued something. True for exactly one sender per sleep: that one rings.
    #[must_use]
    pub fn disturb(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel)
    }
}
