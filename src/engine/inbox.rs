//! What reaches a shard from outside the mesh: commands of the embedding service, sockets handed off by other shards.

use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rustls::ServerConfig;
use shardwire_shards::mesh::Sleepers;
use shardwire_shards::vocabulary::{AnswerId, Command, ConnectionId, ShardId, UserId, Verdict};

use crate::runtime::{Bell, SocketId};
use crate::transport::Stage;
use crate::transport::tls::Session;

/// Items one inbox holds before it refuses more. An item is small, but a command may carry a message of the service's own making;
/// 4,096 is several milliseconds of work for a shard.
const INBOX_MAX: usize = 4096;

/// Milliseconds for which an item that is waited for is offered to a full inbox.
const DELIVER_TRIES: usize = 1000;

/// Something for one shard.
#[derive(Debug)]
pub(crate) enum Item {
    /// Do this.
    Command(Command),
    /// Answer this.
    ConnectionsOfUser {
        user: UserId,
        answer: oneshot::Sender<Vec<ConnectionId>>,
    },
    /// A socket that is at home here.
    Socket(HandedOff),
    /// What a verifier says. (Boxed: it is rare, and larger than the others.)
    Verdict(VerdictFor, Box<Verdict>),
    /// Use this for new TLS handshakes.
    Certificate(Arc<ServerConfig>),
    /// Empty this shard until `deadline_ms`, then stop.
    Drain { deadline_ms: u64 },
}

/// A socket handed off by the shard that accepted it.
#[derive(Debug)]
pub(crate) struct HandedOff {
    pub(crate) socket: OwnedFd,
    /// Its TLS session, where connections speak TLS and it has shaken hands already.
    pub(crate) session: Option<Box<Session>>,
    pub(crate) stage: Stage,
}

/// Who waits for a verdict.
#[derive(Clone, Copy, Debug)]
pub(crate) enum VerdictFor {
    /// A socket whose upgrade is not answered yet.
    Socket(SocketId),
    /// A connection that has shown a token, for the so many-th time on its shard.
    Connection(ConnectionId, u64),
}

/// The sending side of every shard's inbox.
#[derive(Clone, Debug)]
pub(crate) struct Inboxes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    senders: Vec<Sender<Item>>,
    /// Hung up by each shard when its driver exists. A shard cannot sleep before that, so nobody misses a bell.
    bells: Vec<OnceLock<Bell>>,
    sleepers: Sleepers,
}

impl Inboxes {
    /// The inboxes of all shards, and the receiving ends in shard order.
    pub(crate) fn new(shards: u16, sleepers: Sleepers) -> (Self, Vec<Receiver<Item>>) {
        let (senders, receivers) = (0..shards).map(|_| bounded(INBOX_MAX)).unzip();
        let bells = (0..shards).map(|_| OnceLock::new()).collect();
        (
            Self(Arc::new(Inner {
                senders,
                bells,
                sleepers,
            })),
            receivers,
        )
    }

    /// A shard's driver exists.
    pub(crate) fn hang_bell(&self, shard: ShardId, bell: Bell) {
        let first = self.0.bells[shard.index()].set(bell);
        debug_assert!(first.is_ok(), "a shard has one driver");
    }

    /// Puts an item into a shard's inbox and wakes the shard if it sleeps. The item comes back when the inbox is full or its
    /// shard has stopped.
    pub(crate) fn send(&self, to: ShardId, item: Item) -> Result<(), Item> {
        match self.0.senders[to.index()].try_send(item) {
            Ok(()) => {
                self.wake(to);
                Ok(())
            }
            Err(TrySendError::Full(item) | TrySendError::Disconnected(item)) => Err(item),
        }
    }

    /// Wakes a shard if it sleeps; for whoever has put something where only that shard's loop looks.
    pub(crate) fn wake(&self, shard: ShardId) {
        if self.0.sleepers.must_ring(shard) {
            self.ring(shard);
        }
    }

    /// As `send`, from a thread that may wait for room: for what somebody waits for. Given up after a while, because a shard
    /// that takes nothing for so long has stopped.
    pub(crate) fn deliver(&self, to: ShardId, item: Item) {
        let mut item = item;
        for _ in 0..DELIVER_TRIES {
            match self.send(to, item) {
                Ok(()) => return,
                Err(refused) => item = refused,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Wakes a shard.
    pub(crate) fn ring(&self, shard: ShardId) {
        if let Some(bell) = self.0.bells[shard.index()].get() {
            bell.ring();
        }
    }
}

/// Ties questions to whoever waits for their answers.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    next: u64,
    open: Vec<(AnswerId, oneshot::Sender<Vec<ConnectionId>>)>,
}

impl Questions {
    pub(crate) fn ask(&mut self, answer: oneshot::Sender<Vec<ConnectionId>>) -> AnswerId {
        self.next += 1;
        let id = AnswerId(self.next);
        self.open.push((id, answer));
        id
    }

    pub(crate) fn answer(&mut self, id: AnswerId, connections: Vec<ConnectionId>) {
        if let Some(at) = self.open.iter().position(|(open, _)| *open == id) {
            // Whoever asked may have given up waiting.
            let _ = self.open.swap_remove(at).1.send(connections);
        }
    }
}
