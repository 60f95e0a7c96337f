//! What reaches a shard from outside the mesh: commands of the embedding service, sockets handed off by other shards.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rustls::ServerConfig;
use shardwire_protocol::codes::ErrorCode;
use shardwire_shards::Shard;
use shardwire_shards::mesh::Sleepers;
use shardwire_shards::search::Search;
use shardwire_shards::vocabulary::{
    Answer, AnswerId, Command, ConnectionId, DocumentOutcome, EditOutcome, NotificationAnswer,
    NotificationList, Now, PresenceAnswer, PublishOutcome, SentNotification, ShardId, Verdict,
};

use crate::runtime::{Bell, SocketId};
use crate::telemetry::ShardReport;
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
    /// Do this, and tell what came of it.
    Ask {
        id: AnswerId,
        command: Command,
        waiting: Waiting,
    },
    /// Tell your numbers.
    Report(oneshot::Sender<ShardReport>),
    /// Look through what you hold, slice by slice.
    Search(Box<dyn Errand>),
    /// Are you there?
    Ping(oneshot::Sender<()>),
    /// A socket that is at home here.
    Socket(HandedOff),
    /// What a verifier says. (Boxed: it is rare, and larger than the others.)
    Verdict(VerdictFor, Box<Verdict>),
    /// Use this for new TLS handshakes.
    Certificate(Arc<ServerConfig>),
    /// Empty this shard, its connections one after the other within `window_ms`; stop at `deadline_ms` at the latest.
    Drain { window_ms: u64, deadline_ms: u64 },
}

/// Who waits for the answer to a command.
#[derive(Debug)]
pub(crate) enum Waiting {
    Connections(oneshot::Sender<Vec<ConnectionId>>),
    Count(oneshot::Sender<usize>),
    Taken(oneshot::Sender<bool>),
    Published(oneshot::Sender<PublishOutcome>),
    Sent(oneshot::Sender<Result<SentNotification, ErrorCode>>),
    Inbox(oneshot::Sender<NotificationList>),
    Document(oneshot::Sender<DocumentOutcome>),
    Edited(oneshot::Sender<EditOutcome>),
    Presence(oneshot::Sender<PresenceAnswer>),
}

/// A search of any kind, with whoever waits for what it finds.
pub(crate) trait Errand: Send {
    /// Looks at the next slice. False: it is over, and who asked has been told.
    fn step(&mut self, now: Now, shard: &Shard) -> bool;
}

impl fmt::Debug for dyn Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Errand")
    }
}

/// See [`Errand`]. Both are there until it is over.
pub(crate) struct SearchErrand<S: Search>(Option<(S, oneshot::Sender<S::Found>)>);

impl<S: Search> SearchErrand<S> {
    pub(crate) fn new(search: S, answer: oneshot::Sender<S::Found>) -> Self {
        Self(Some((search, answer)))
    }
}

impl<S: Search> Errand for SearchErrand<S> {
    fn step(&mut self, now: Now, shard: &Shard) -> bool {
        let Some((search, answer)) = &mut self.0 else {
            return false;
        };
        // Nobody waits any more: no need to look further.
        if !answer.is_closed() && search.step(now, shard) {
            return true;
        }
        if let Some((search, answer)) = self.0.take() {
            let _ = answer.send(search.found());
        }
        false
    }
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
    /// Numbers of the questions asked so far.
    asked: AtomicU64,
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
                asked: AtomicU64::new(0),
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

    /// Has a command carried out whose outcome somebody waits for. One that is refused drops its sender, and the receiver
    /// then says so.
    pub(crate) fn ask(
        &self,
        to: ShardId,
        waiting: Waiting,
        command: impl FnOnce(AnswerId) -> Command,
    ) -> Result<(), Item> {
        let id = AnswerId(self.0.asked.fetch_add(1, Ordering::Relaxed));
        let command = command(id);
        self.send(
            to,
            Item::Ask {
                id,
                command,
                waiting,
            },
        )
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
pub(crate) struct Questions(HashMap<AnswerId, Waiting>);

impl Questions {
    pub(crate) fn note(&mut self, id: AnswerId, waiting: Waiting) {
        self.0.insert(id, waiting);
    }

    pub(crate) fn answer(&mut self, id: AnswerId, answer: Answer) {
        // Whoever asked may have given up waiting.
        match (self.0.remove(&id), answer) {
            (Some(Waiting::Connections(sender)), Answer::Connections(connections)) => {
                let _ = sender.send(connections);
            }
            (Some(Waiting::Count(sender)), Answer::Count(count)) => {
                let _ = sender.send(count);
            }
            (Some(Waiting::Taken(sender)), Answer::Published(outcome)) => {
                let _ = sender.send(outcome.is_ok());
            }
            (Some(Waiting::Document(sender)), Answer::Document(text)) => {
                let _ = sender.send(text);
            }
            (Some(Waiting::Edited(sender)), Answer::Edited(outcome)) => {
                let _ = sender.send(outcome);
            }
            (Some(Waiting::Published(sender)), Answer::Published(outcome)) => {
                let _ = sender.send(outcome);
            }
            (Some(Waiting::Presence(sender)), Answer::Presence(answer)) => {
                let _ = sender.send(answer);
            }
            (Some(Waiting::Sent(sender)), Answer::Notification(NotificationAnswer::Sent(sent))) => {
                let _ = sender.send(sent);
            }
            (
                Some(Waiting::Inbox(sender)),
                Answer::Notification(NotificationAnswer::List(list)),
            ) => {
                let _ = sender.send(list);
            }
            (
                Some(Waiting::Count(sender)),
                Answer::Notification(NotificationAnswer::Marked(count)),
            ) => {
                let _ = sender.send(count);
            }
            (waiting, answer) => {
                debug_assert!(
                    waiting.is_none(),
                    "{answer:?} answers another question than {waiting:?}"
                );
            }
        }
    }
}
