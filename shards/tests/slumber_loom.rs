//! Every interleaving of a shard falling asleep and senders waking it: no message is left behind with a sleeper.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p shardwire-shards --release --test slumber_loom`. Without that flag this file is
//! empty. Under it only the sleep flag is built of loom's atomics, so the queue is modelled: a counter that a sender
//! raises as it pushes, with the orderings of a queue, which promises nothing to whoever finds it empty.

#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use shardwire_shards::mesh::Slumber;

/// A mailbox with its owner's sleep flag and bell.
#[derive(Default)]
struct Mailbox {
    slumber: Slumber,
    queued: AtomicUsize,
    rung: AtomicUsize,
}

impl Mailbox {
    fn send(&self) {
        self.queued.fetch_add(1, Ordering::Release);
        if self.slumber.disturb() {
            self.rung.fetch_add(1, Ordering::Release);
        }
    }

    /// As `MailboxEnds::fall_asleep`.
    fn fall_asleep(&self) -> bool {
        self.slumber.announce();
        if self.queued.load(Ordering::Acquire) > 0 {
            self.slumber.end();
            return false;
        }
        true
    }
}

/// The owner goes to sleep while senders send: afterwards it has not slept, or was rung, or nothing was sent.
fn nobody_is_forgotten(senders: usize) {
    loom::model(move || {
        let mailbox = Arc::new(Mailbox::default());
        let threads: Vec<_> = (0..senders)
            .map(|_| {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || mailbox.send())
            })
            .collect();
        let asleep = mailbox.fall_asleep();
        for thread in threads {
            thread.join().unwrap();
        }
        let rung = mailbox.rung.load(Ordering::Acquire);
        assert!(
            !asleep || rung > 0,
            "asleep with {senders} messages, and nobody rang"
        );
        assert!(rung <= 1, "one ring is enough for one sleep, {rung} came");
    });
}

#[test]
fn a_message_sent_while_falling_asleep_is_seen_or_rings() {
    nobody_is_forgotten(1);
}

#[test]
fn two_senders_ring_once() {
    nobody_is_forgotten(2);
}

/// The owner sleeps, wakes by itself (a deadline), takes what is there and sleeps again, while a message comes: the second
/// sleep is as safe as the first, though the sender may still be looking at the first.
#[test]
fn a_sleep_after_a_sleep_is_safe() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::default());
        let sender = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || mailbox.send())
        };
        let mut taken = 0;
        for _ in 0..2 {
            if mailbox.fall_asleep() {
                mailbox.slumber.end();
            }
            taken += mailbox.queued.swap(0, Ordering::AcqRel);
        }
        let rung_before = mailbox.rung.load(Ordering::Acquire);
        let asleep = mailbox.fall_asleep();
        sender.join().unwrap();
        let rung = mailbox.rung.load(Ordering::Acquire) > rung_before;
        assert!(taken == 1 || !asleep || rung, "asleep over a message");
    });
}
