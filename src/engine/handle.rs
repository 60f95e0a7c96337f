//! The engine as everybody outside its shards sees it.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use shardwire_protocol::websocket::frame;
use shardwire_shards::placement::Placement;
use shardwire_shards::vocabulary::{Audience, Command, ConnectionId, ShardId};
use shardwire_shards::{NodeCount, is_valid_channel_name};

use super::certificates::Certificates;
use super::ending::Endings;
use super::error::{EngineError, PublishError};
use super::inbox::{Inboxes, Item};
use crate::runtime::{Clock, ShardThread};

/// A running engine. Cheap to clone; works from any thread and any async runtime; dropping it does not stop the engine.
#[derive(Clone)]
pub struct EngineHandle {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) address: SocketAddr,
    pub(super) placement: Placement,
    pub(super) inboxes: Inboxes,
    pub(super) node_count: NodeCount,
    pub(super) clock: Clock,
    pub(super) max_message_size: usize,
    pub(super) drain_timeout: Duration,
    pub(super) join_timeout: Duration,
    pub(super) threads: Mutex<Vec<ShardThread>>,
    pub(super) endings: Endings,
    /// Where connections speak TLS.
    pub(super) certificates: Option<Certificates>,
}

impl fmt::Debug for EngineHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineHandle")
            .field("address", &self.inner.address)
            .finish_non_exhaustive()
    }
}

impl EngineHandle {
    /// Where the engine listens; with port 0 in the configuration, the port it got.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.inner.address
    }

    /// How many shards run.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.inner.placement.shards()
    }

    /// Connections now, those being closed included (contract M22).
    #[must_use]
    pub fn active_connections(&self) -> usize {
        self.inner.node_count.get()
    }

    /// Publishes a message into a channel (contract B4): every subscriber on every shard gets
    /// `{"type":"broadcast","channel":…,"message":…,"timestamp":…}`. `message` may be text or any value that has a JSON form.
    ///
    /// # Errors
    /// See [`PublishError`]; when it says so, nobody got anything.
    pub fn publish(
        &self,
        channel: &str,
        message: &(impl Serialize + ?Sized),
    ) -> Result<(), PublishError> {
        let command = self.publish_command(channel, message, Vec::new())?;
        let home = self.inner.placement.home_of_channel(channel);
        self.inner
            .inboxes
            .send(home, Item::Command(command))
            .map_err(|_| PublishError::Overloaded)
    }

    /// Sends a message to connections wherever they are (contract M24), as it is, without an envelope.
    ///
    /// # Errors
    /// See [`PublishError`]. With several shards, `Overloaded` can mean that some shards took it and one did not.
    pub fn broadcast(
        &self,
        message: &(impl Serialize + ?Sized),
        audience: &Audience,
    ) -> Result<(), PublishError> {
        let text = self.encode(message)?;
        let mut encoded = Vec::with_capacity(frame::header_len(text.len()) + text.len());
        frame::write_server(&mut encoded, frame::Kind::Text, &text);
        let encoded = Bytes::from(encoded);
        let mut taken = Ok(());
        for shard in self.inner.placement.all() {
            let command = Command::Broadcast {
                frame: encoded.clone(),
                audience: audience.clone(),
            };
            if self
                .inner
                .inboxes
                .send(shard, Item::Command(command))
                .is_err()
            {
                taken = Err(PublishError::Overloaded);
            }
        }
        taken
    }

    /// The connections of a user, on whichever shard they are (contract M23).
    #[must_use]
    pub fn user_connections(&self, user: &str) -> Pending<Vec<ConnectionId>> {
        let (answer, receiver) = oneshot::channel();
        let home = self.inner.placement.home_of_user(user);
        // A refused question drops its sender, and the receiver then says so.
        let _ = self.inner.inboxes.send(
            home,
            Item::ConnectionsOfUser {
                user: user.into(),
                answer,
            },
        );
        Pending(receiver)
    }

    /// Closes **all** connections with the closing handshake (contract M25). New ones are still accepted.
    pub fn close(&self, code: u16, reason: &str) {
        for shard in self.inner.placement.all() {
            let command = Command::CloseAll {
                code,
                reason: reason.to_owned(),
            };
            self.send_for_certain(shard, Item::Command(command));
        }
    }

    /// For what is rare and important: waits for room rather than leave a shard out, unless the engine ends.
    pub(super) fn send_for_certain(&self, shard: ShardId, mut item: Item) {
        while let Err(refused) = self.inner.inboxes.send(shard, item) {
            if self.inner.endings.any() {
                return;
            }
            item = refused;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Empties the engine: no new connections, every client is closed with code 4200 (come back at once), what waits is
    /// flushed, then the shards end. Returns as soon as every shard has been told; [`wait`](Self::wait) waits for the end.
    pub fn drain(&self) {
        let timeout_ms = u64::try_from(self.inner.drain_timeout.as_millis()).unwrap_or(u64::MAX);
        let deadline_ms = self.inner.clock.elapsed_ms().saturating_add(timeout_ms);
        for shard in self.inner.placement.all() {
            let mut item = Item::Drain { deadline_ms };
            while let Err(refused) = self.inner.inboxes.send(shard, item) {
                // Full: wait for room. Ended: it needs no telling.
                if self.inner.clock.elapsed_ms() >= deadline_ms || self.inner.endings.any() {
                    break;
                }
                item = refused;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Blocks until the engine has ended: drained by [`drain`](Self::drain), or broken. When one shard broke, the others are
    /// drained, because a node without one of its shards would serve some names and not others.
    ///
    /// # Errors
    /// [`EngineError`] when a shard panicked or did not end, or when connections had to be cut after `drain_timeout`. Of
    /// several callers one gets the error.
    pub fn wait(&self) -> Result<(), EngineError> {
        self.inner.endings.wait_for_one();
        self.drain();
        let patience = self.inner.drain_timeout + self.inner.join_timeout;
        // Whoever else waits does so at this lock.
        self.with_threads(|threads| {
            let mut result = Ok(());
            for thread in threads.drain(..) {
                if let Err(error) = thread.join(Some(patience)) {
                    tracing::error!(%error, "a shard did not end in order");
                    result = Err(EngineError::Shard(error));
                }
            }
            let connections = self.inner.node_count.get();
            if result.is_ok() && connections > 0 {
                result = Err(EngineError::Cut { connections });
            }
            result
        })
    }

    /// [`drain`](Self::drain), then [`wait`](Self::wait).
    ///
    /// # Errors
    /// As `wait`.
    pub fn drain_and_stop(&self) -> Result<(), EngineError> {
        self.drain();
        self.wait()
    }

    /// A publication from outside the wire, checked at this door: what goes in is a good name and one valid JSON value.
    pub(crate) fn publish_command(
        &self,
        channel: &str,
        message: &(impl Serialize + ?Sized),
        exclude: Vec<ConnectionId>,
    ) -> Result<Command, PublishError> {
        if !is_valid_channel_name(channel) || channel.starts_with('$') {
            return Err(PublishError::Channel(channel.to_owned()));
        }
        Ok(Command::Publish {
            channel: channel.into(),
            message: Bytes::from(self.encode(message)?),
            exclude,
        })
    }

    /// A message of the embedding service as JSON, if it is not too long.
    fn encode(&self, message: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, PublishError> {
        let text = serde_json::to_vec(message)?;
        let (len, max) = (text.len(), self.inner.max_message_size);
        if len > max {
            return Err(PublishError::TooLarge { len, max });
        }
        Ok(text)
    }

    /// The longest message the embedding service may send, in bytes.
    pub(crate) fn max_message_size(&self) -> usize {
        self.inner.max_message_size
    }

    pub(super) fn add_thread(&self, thread: ShardThread) {
        self.with_threads(|threads| threads.push(thread));
    }

    fn with_threads<T>(&self, f: impl FnOnce(&mut Vec<ShardThread>) -> T) -> T {
        f(&mut self
            .inner
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner))
    }
}

/// An answer that is on its way: `.await` it from any async runtime, or [`wait`](Self::wait) for it.
#[derive(Debug)]
pub struct Pending<T>(oneshot::Receiver<T>);

impl<T: Default> Pending<T> {
    /// Blocks until the answer is there. Empty when the engine is overloaded or has stopped.
    #[must_use]
    pub fn wait(self) -> T {
        self.0.recv().unwrap_or_default()
    }
}

impl<T: Default + Send + 'static> IntoFuture for Pending<T> {
    type Output = T;
    type IntoFuture = Pin<Box<dyn Future<Output = T> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let receiver = self.0.into_future();
        Box::pin(async move { receiver.await.unwrap_or_default() })
    }
}
