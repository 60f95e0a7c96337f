//! One shard's ends of all its mailboxes.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_queue::SegQueue;

use super::Slumber;
use crate::bounds::{LANE_MESSAGES_MAX, MAIL_BATCH, OVERFLOW_BYTES_MAX, OVERFLOW_MESSAGES_MAX};
use crate::vocabulary::{ShardId, ShardMessage};

/// What a loss would cost decides the lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// Admission, interest, questions: state that must agree.
    Control,
    /// Publications and what must stay in order with them.
    Delivery,
}

const LANES: [Lane; 2] = [Lane::Control, Lane::Delivery];

/// How much one lane takes before its sender keeps messages itself, and how much of that before it refuses. A server uses
/// the default, the maxima of [`bounds`](crate::bounds); tests and the simulator make lanes small, to see them full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneBounds {
    /// Messages in the lane.
    pub lane_messages: usize,
    /// Messages in the overflow behind it.
    pub overflow_messages: usize,
    /// Payload bytes in the overflow behind it.
    pub overflow_bytes: usize,
}

impl Default for LaneBounds {
    fn default() -> Self {
        Self {
            lane_messages: LANE_MESSAGES_MAX,
            overflow_messages: OVERFLOW_MESSAGES_MAX,
            overflow_bytes: OVERFLOW_BYTES_MAX,
        }
    }
}

/// The lane and its overflow are full: nothing was queued, and the source is to be refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused;

/// Storage between all pairs. A segmented queue costs an idle pair nearly nothing (a ring of full size for every pair of
/// 64 shards would be hundreds of megabytes); its bound is kept by its one sender.
#[derive(Debug)]
struct Mesh {
    shards: usize,
    bounds: LaneBounds,
    queues: Box<[SegQueue<ShardMessage>]>,
    slumbers: Box<[Slumber]>,
}

impl Mesh {
    fn queue(&self, from: usize, to: usize, lane: Lane) -> &SegQueue<ShardMessage> {
        &self.queues[(to * self.shards + from) * LANES.len() + lane as usize]
    }
}

/// What a sender keeps for one lane that is full.
#[derive(Debug, Default)]
struct Overflow {
    messages: VecDeque<ShardMessage>,
    bytes: usize,
}

/// One shard's ends: receiving from every shard, sending to every shard. Not to be shared; its owner is the lane's only sender.
#[derive(Debug)]
pub struct MailboxEnds {
    shard: ShardId,
    mesh: Arc<Mesh>,
    overflow: Box<[Overflow]>,
    held: usize,
    /// Shards that got mail since the last [`poll_ring`](Self::poll_ring).
    mailed: Vec<ShardId>,
    /// Where the next batch begins, so that no sender is always first.
    first: usize,
}

impl MailboxEnds {
    /// The ends of all shards of a node, in shard order.
    #[must_use]
    pub fn connect(shards: u16) -> Vec<Self> {
        Self::connect_bounded(shards, LaneBounds::default())
    }

    /// As [`connect`](Self::connect), with lanes of another size.
    #[must_use]
    pub fn connect_bounded(shards: u16, bounds: LaneBounds) -> Vec<Self> {
        let count = usize::from(shards);
        let mesh = Arc::new(Mesh {
            shards: count,
            bounds,
            queues: (0..count * count * LANES.len())
                .map(|_| SegQueue::new())
                .collect(),
            slumbers: (0..count).map(|_| Slumber::default()).collect(),
        });
        (0..shards)
            .map(|shard| Self {
                shard: ShardId(shard),
                mesh: Arc::clone(&mesh),
                overflow: (0..count * LANES.len())
                    .map(|_| Overflow::default())
                    .collect(),
                held: 0,
                mailed: Vec::with_capacity(count),
                first: 0,
            })
            .collect()
    }

    /// Whose ends these are.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// A view of the sleep flags for senders outside the shards.
    #[must_use]
    pub fn sleepers(&self) -> Sleepers {
        Sleepers(Arc::clone(&self.mesh))
    }

    /// Whether one more message to `to` would be refused. What is asked here can be relied on until the next send, so
    /// that a publication reaches every audience or none.
    #[must_use]
    pub fn is_full(&self, to: ShardId, lane: Lane) -> bool {
        let overflow = &self.overflow[to.index() * LANES.len() + lane as usize];
        let bounds = &self.mesh.bounds;
        overflow.messages.len() >= bounds.overflow_messages
            || overflow.bytes >= bounds.overflow_bytes
    }

    /// Whether one more message to `to` would go straight into the lane: for senders with much to send that can wait.
    #[must_use]
    pub fn has_room(&self, to: ShardId, lane: Lane) -> bool {
        let overflow = &self.overflow[to.index() * LANES.len() + lane as usize];
        let queue = self.mesh.queue(self.shard.index(), to.index(), lane);
        overflow.messages.is_empty() && queue.len() < self.mesh.bounds.lane_messages
    }

    /// Queues a message.
    ///
    /// # Errors
    /// [`Refused`] when lane and overflow are full: the caller refuses whoever caused the message.
    pub fn send(&mut self, to: ShardId, lane: Lane, message: ShardMessage) -> Result<(), Refused> {
        if self.is_full(to, lane) {
            return Err(Refused);
        }
        self.post(to, lane, message);
        Ok(())
    }

    /// Queues a message that must not be refused because something else would stay wrong for ever (an answer, a release).
    /// Their number is bounded by what was admitted before.
    pub fn post(&mut self, to: ShardId, lane: Lane, message: ShardMessage) {
        debug_assert_ne!(to, self.shard, "a shard does not write to itself");
        let overflow = &mut self.overflow[to.index() * LANES.len() + lane as usize];
        let queue = self.mesh.queue(self.shard.index(), to.index(), lane);
        if overflow.messages.is_empty() && queue.len() < self.mesh.bounds.lane_messages {
            queue.push(message);
        } else {
            overflow.bytes += message.payload_len();
            overflow.messages.push_back(message);
            self.held += 1;
        }
        if !self.mailed.contains(&to) {
            self.mailed.push(to);
        }
    }

    /// Messages waiting in overflow: while there are any, [`retry`](Self::retry) is owed.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Moves what it can from overflow into the lanes.
    pub fn retry(&mut self) {
        if self.held == 0 {
            return;
        }
        for to in 0..self.mesh.shards {
            for lane in LANES {
                let overflow = &mut self.overflow[to * LANES.len() + lane as usize];
                let queue = self.mesh.queue(self.shard.index(), to, lane);
                while queue.len() < self.mesh.bounds.lane_messages {
                    let Some(message) = overflow.messages.pop_front() else {
                        break;
                    };
                    overflow.bytes -= message.payload_len();
                    self.held -= 1;
                    queue.push(message);
                    let to = ShardId(to as u16);
                    if !self.mailed.contains(&to) {
                        self.mailed.push(to);
                    }
                }
            }
        }
    }

    /// A shard to wake, of those that got mail; asked once per turn until none, so that a batch rings once.
    pub fn poll_ring(&mut self) -> Option<ShardId> {
        while let Some(to) = self.mailed.pop() {
            if self.mesh.slumbers[to.index()].disturb() {
                return Some(to);
            }
        }
        None
    }

    /// Whether any lane holds mail for this shard.
    #[must_use]
    pub fn has_mail(&self) -> bool {
        (0..self.mesh.shards).any(|from| {
            LANES
                .iter()
                .any(|&lane| !self.mesh.queue(from, self.shard.index(), lane).is_empty())
        })
    }

    /// Takes at most [`MAIL_BATCH`] messages from each lane of each sender.
    pub fn take_batch(&mut self, into: &mut Vec<ShardMessage>) {
        for step in 0..self.mesh.shards {
            let from = (self.first + step) % self.mesh.shards;
            for lane in LANES {
                let queue = self.mesh.queue(from, self.shard.index(), lane);
                for _ in 0..MAIL_BATCH {
                    let Some(message) = queue.pop() else { break };
                    into.push(message);
                }
            }
        }
        self.first = (self.first + 1) % self.mesh.shards;
    }

    /// Announces sleep. True: nothing waits, the caller may block until it is rung. False: there is mail, do not block.
    #[must_use]
    pub fn fall_asleep(&self) -> bool {
        let slumber = &self.mesh.slumbers[self.shard.index()];
        slumber.announce();
        if self.has_mail() {
            slumber.end();
            return false;
        }
        true
    }

    /// The shard runs again.
    pub fn wake_up(&self) {
        self.mesh.slumbers[self.shard.index()].end();
    }
}

/// The sleep flags, for whoever puts work into a shard's other queues (commands, handed-off sockets).
#[derive(Clone, Debug)]
pub struct Sleepers(Arc<Mesh>);

impl Sleepers {
    /// To be asked after something was queued for that shard. True: the caller must ring its bell.
    #[must_use]
    pub fn must_ring(&self, shard: ShardId) -> bool {
        self.0.slumbers[shard.index()].disturb()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn query(n: u16) -> ShardMessage {
        ShardMessage::CountQuery {
            shard: ShardId(n),
            round: 0,
        }
    }

    fn two() -> (MailboxEnds, MailboxEnds) {
        let mut ends = MailboxEnds::connect(2);
        let b = ends.pop().unwrap();
        (ends.pop().unwrap(), b)
    }

    #[test]
    fn order_holds_through_lane_and_overflow() {
        let (mut a, mut b) = two();
        let total = LANE_MESSAGES_MAX + 500;
        for n in 0..total {
            a.send(ShardId(1), Lane::Control, query(n as u16)).unwrap();
        }
        assert_eq!(a.held(), 500);
        let mut got = Vec::new();
        while got.len() < total {
            b.take_batch(&mut got);
            a.retry();
        }
        assert_eq!(a.held(), 0);
        let expected: Vec<_> = (0..total).map(|n| query(n as u16)).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn a_full_overflow_refuses_and_an_answer_still_passes() {
        let (mut a, _b) = two();
        for _ in 0..LANE_MESSAGES_MAX + OVERFLOW_MESSAGES_MAX {
            a.send(ShardId(1), Lane::Delivery, query(0)).unwrap();
        }
        assert_eq!(a.send(ShardId(1), Lane::Delivery, query(0)), Err(Refused));
        assert!(
            !a.is_full(ShardId(1), Lane::Control),
            "lanes fill up apart from each other"
        );
        a.post(ShardId(1), Lane::Delivery, query(0));
        assert_eq!(a.held(), OVERFLOW_MESSAGES_MAX + 1);
    }

    #[test]
    fn overflow_is_bounded_in_bytes_too() {
        let (mut a, _b) = two();
        let large = ShardMessage::Deliver {
            channel: "c".into(),
            frame: bytes::Bytes::from(vec![0; 1 << 20]).into(),
            exclude: smallvec::SmallVec::new(),
            place: None,
        };
        let mut sent = 0;
        while a.send(ShardId(1), Lane::Delivery, large.clone()).is_ok() {
            sent += 1;
        }
        assert_eq!(sent, LANE_MESSAGES_MAX + (OVERFLOW_BYTES_MAX >> 20));
    }

    #[test]
    fn a_sleeper_is_rung_once_per_batch_and_mail_keeps_it_awake() {
        let (mut a, mut b) = two();
        assert!(b.fall_asleep());
        a.send(ShardId(1), Lane::Control, query(1)).unwrap();
        a.send(ShardId(1), Lane::Delivery, query(2)).unwrap();
        assert_eq!(a.poll_ring(), Some(ShardId(1)));
        assert_eq!(a.poll_ring(), None);
        b.wake_up();
        assert!(!b.fall_asleep(), "there is mail");
        let mut got = Vec::new();
        b.take_batch(&mut got);
        assert_eq!(got.len(), 2);
        assert!(b.fall_asleep());
        assert!(a.sleepers().must_ring(ShardId(1)));
        assert!(!a.sleepers().must_ring(ShardId(1)), "one ring is enough");
    }

    #[test]
    fn a_batch_leaves_the_rest_of_a_long_lane_for_later() {
        let (mut a, mut b) = two();
        for n in 0..200 {
            a.send(ShardId(1), Lane::Delivery, query(n)).unwrap();
        }
        a.send(ShardId(1), Lane::Control, query(999)).unwrap();
        let mut got = Vec::new();
        b.take_batch(&mut got);
        assert_eq!(got.len(), MAIL_BATCH + 1);
        assert_eq!(got[0], query(999));
    }
}
