//! Notices that a shard stands still: one that has been asked for a sign of life and does not give it has work and does not
//! turn. (An idle shard is woken for the question; that is all the watching costs.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shardwire_shards::vocabulary::ShardId;

use crate::engine::{Inboxes, Item};

/// Between two looks, and between two questions to one shard.
const INTERVAL: Duration = Duration::from_millis(500);

/// A turn takes microseconds, a bad one milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which shards stand still, for everybody who tells about them.
#[derive(Clone, Debug)]
pub(crate) struct Watch(Arc<[AtomicBool]>);

impl Watch {
    pub(crate) fn new(shards: u16) -> Self {
        Self((0..shards).map(|_| AtomicBool::new(false)).collect())
    }

    /// Whether this shard stands still.
    pub(crate) fn is_stalled(&self, shard: usize) -> bool {
        self.0[shard].load(Ordering::Relaxed)
    }

    /// Whether any shard stands still.
    pub(crate) fn any_stalled(&self) -> bool {
        self.0.iter().any(|stalled| stalled.load(Ordering::Relaxed))
    }
}

/// A question to one shard.
struct Asked {
    at: Instant,
    /// None: not even the question found room.
    answer: Option<oneshot::Receiver<()>>,
}

/// Asks every shard for a sign of life, again and again.
pub(crate) struct Watchdog {
    inboxes: Inboxes,
    watch: Watch,
    asked: Vec<Option<Asked>>,
}

impl Watchdog {
    pub(crate) fn new(inboxes: Inboxes, watch: Watch) -> Self {
        let asked = watch.0.iter().map(|_| None).collect();
        Self {
            inboxes,
            watch,
            asked,
        }
    }

    /// Looks until `pause`, which waits for the given time, says that a loop has ended: the others follow it.
    pub(crate) fn run(mut self, mut pause: impl FnMut(Duration) -> bool) {
        while !pause(INTERVAL) {
            self.look(Instant::now());
        }
    }

    fn look(&mut self, now: Instant) {
        for shard in 0..self.asked.len() {
            match &mut self.asked[shard] {
                None => self.ask(now, shard),
                Some(asked) => {
                    let answered = match &mut asked.answer {
                        Some(answer) => match answer.try_recv() {
                            Ok(()) => true,
                            Err(oneshot::TryRecvError::Empty) => false,
                            // Its loop has ended, and with it the watching.
                            Err(oneshot::TryRecvError::Disconnected) => true,
                        },
                        // Is there room now?
                        None => {
                            let (question, answer) = oneshot::channel();
                            let id = ShardId(shard as u16);
                            if self.inboxes.send(id, Item::Ping(question)).is_ok() {
                                asked.answer = Some(answer);
                            }
                            false
                        }
                    };
                    if answered {
                        let waited = now.duration_since(asked.at);
                        self.asked[shard] = None;
                        self.moves(shard, waited);
                        self.ask(now, shard);
                    } else if now.duration_since(asked.at) >= PATIENCE {
                        let waited = now.duration_since(asked.at);
                        self.stands_still(shard, waited);
                    }
                }
            }
        }
    }

    fn ask(&mut self, now: Instant, shard: usize) {
        let (question, answer) = oneshot::channel();
        let sent = self
            .inboxes
            .send(ShardId(shard as u16), Item::Ping(question));
        self.asked[shard] = Some(Asked {
            at: now,
            answer: sent.is_ok().then_some(answer),
        });
    }

    fn stands_still(&self, shard: usize, waited: Duration) {
        if !self.watch.0[shard].swap(true, Ordering::Relaxed) {
            let waited_ms = waited.as_millis() as u64;
            tracing::error!(
                shard,
                waited_ms,
                "the shard does not turn; its connections get nothing, and the node is not ready"
            );
        }
    }

    fn moves(&self, shard: usize, waited: Duration) {
        if self.watch.0[shard].swap(false, Ordering::Relaxed) {
            let waited_ms = waited.as_millis() as u64;
            tracing::warn!(shard, waited_ms, "the shard turns again");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use shardwire_shards::mesh::MailboxEnds;

    use super::*;

    /// Two shards whose loops are the test: nothing happens by itself.
    fn two() -> (Watchdog, Watch, Vec<crossbeam_channel::Receiver<Item>>) {
        let ends = MailboxEnds::connect(2);
        let (inboxes, receivers) = Inboxes::new(2, ends[0].sleepers());
        let watch = Watch::new(2);
        (Watchdog::new(inboxes, watch.clone()), watch, receivers)
    }

    fn answer_all(inbox: &crossbeam_channel::Receiver<Item>) {
        for item in inbox.try_iter() {
            if let Item::Ping(answer) = item {
                // The test's own filling waits for no answer.
                let _ = answer.send(());
            }
        }
    }

    #[test]
    fn a_shard_that_does_not_answer_for_two_seconds_stands_still_until_it_does() {
        let (mut watchdog, watch, inboxes) = two();
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        for ms in [0, 500, 1_000, 1_500] {
            watchdog.look(after(ms));
            answer_all(&inboxes[0]);
            assert!(!watch.any_stalled(), "{ms}");
        }
        watchdog.look(after(2_000));
        answer_all(&inboxes[0]);
        assert_eq!([watch.is_stalled(0), watch.is_stalled(1)], [false, true]);
        assert_eq!(inboxes[1].len(), 1, "one open question is enough");
        answer_all(&inboxes[1]);
        watchdog.look(after(2_500));
        assert!(!watch.any_stalled());
    }

    #[test]
    fn a_shard_whose_inbox_stays_full_stands_still() {
        let (mut watchdog, watch, inboxes) = two();
        let fill = |watchdog: &Watchdog| {
            while watchdog
                .inboxes
                .send(ShardId(0), Item::Ping(oneshot::channel().0))
                .is_ok()
            {}
        };
        fill(&watchdog);
        let start = Instant::now();
        for ms in [0, 1_000, 2_000] {
            watchdog.look(start + Duration::from_millis(ms));
            answer_all(&inboxes[1]);
        }
        assert_eq!([watch.is_stalled(0), watch.is_stalled(1)], [true, false]);
        answer_all(&inboxes[0]);
        for ms in [2_500, 3_000] {
            watchdog.look(start + Duration::from_millis(ms));
            answer_all(&inboxes[0]);
        }
        watchdog.look(start + Duration::from_millis(3_500));
        assert!(!watch.is_stalled(0));
    }
}
