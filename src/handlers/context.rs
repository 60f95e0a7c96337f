//! A handler's view of its connection and its engine (contract M30).

use std::any::{Any, TypeId};
use std::cell::{RefCell, RefMut};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;

use serde::Serialize;
use shardwire_shards::vocabulary::{Command, ConnectionId, UserId};

use crate::engine::{EngineHandle, PublishError};

/// What handlers of one shard have asked for and the shard has not applied yet.
pub(super) type Asked = Rc<RefCell<VecDeque<Command>>>;

/// What handlers keep with one connection, by type.
pub(super) type Keepsakes = Rc<RefCell<HashMap<TypeId, Box<dyn Any>>>>;

/// A handler's view of the connection it was called for. Cheap to clone; stays on the connection's core.
///
/// What is asked for here is applied in that order, after the handler has awaited or returned; a connection that is gone by then is
/// passed over.
#[derive(Clone)]
pub struct Context {
    pub(super) connection: ConnectionId,
    pub(super) user: Option<UserId>,
    pub(super) address: IpAddr,
    pub(super) asked: Asked,
    pub(super) keepsakes: Keepsakes,
    pub(super) engine: EngineHandle,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("connection", &self.connection)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// The connection.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// Who it is, if it said so.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The peer's address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The engine, for what lies beyond this connection.
    #[must_use]
    pub fn engine(&self) -> &EngineHandle {
        &self.engine
    }

    /// Sends a message to this connection, as it is (contract M28).
    ///
    /// # Errors
    /// The message has no JSON form, or one longer than `connections.max_outgoing_message_size`.
    pub fn send(&self, message: &(impl Serialize + ?Sized)) -> Result<(), serde_json::Error> {
        let text = serde_json::to_string(message)?.into_boxed_str();
        let (len, max) = (text.len(), self.engine.max_outgoing_message_size());
        if len > max {
            return Err(serde::ser::Error::custom(format_args!(
                "the message has {len} bytes; connections.max_outgoing_message_size allows {max}"
            )));
        }
        self.ask(Command::SendText {
            connection: self.connection,
            text,
            answer: None,
        });
        Ok(())
    }

    /// Publishes to everybody who is subscribed to the channel, as [`EngineHandle::publish`] does.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub fn publish(
        &self,
        channel: &str,
        message: &(impl Serialize + ?Sized),
    ) -> Result<(), PublishError> {
        self.publish_except(channel, message, Vec::new())
    }

    /// Publishes to everybody else who is subscribed to the channel.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub fn publish_to_others(
        &self,
        channel: &str,
        message: &(impl Serialize + ?Sized),
    ) -> Result<(), PublishError> {
        self.publish_except(channel, message, vec![self.connection])
    }

    fn publish_except(
        &self,
        channel: &str,
        message: &(impl Serialize + ?Sized),
        exclude: Vec<ConnectionId>,
    ) -> Result<(), PublishError> {
        let command = self.engine.publish_command(channel, message, exclude)?;
        self.ask(command);
        Ok(())
    }

    /// Subscribes this connection to a channel. The client is told `subscribed`, as if it had asked itself, or an error.
    pub fn subscribe(&self, channel: &str) {
        self.ask(Command::Subscribe {
            connection: self.connection,
            channel: channel.into(),
        });
    }

    /// Ends this connection's subscription to a channel. The client is told `unsubscribed`.
    pub fn unsubscribe(&self, channel: &str) {
        self.ask(Command::Unsubscribe {
            connection: self.connection,
            channel: channel.into(),
        });
    }

    /// Closes this connection with the closing handshake.
    pub fn close(&self, code: u16, reason: &str) {
        self.ask(Command::CloseConnection {
            connection: self.connection,
            code,
            reason: reason.to_owned(),
            answer: None,
        });
    }

    /// What handlers keep with this connection under the type `T`, made on first use, dropped with the connection. Not to be
    /// held across an `await`: another handler of this connection (its close hook) may want it.
    ///
    /// # Panics
    /// When it is borrowed already, by code that calls this while it holds what an earlier call gave.
    pub fn data<T: Default + 'static>(&self) -> RefMut<'_, T> {
        RefMut::map(self.keepsakes.borrow_mut(), |keepsakes| {
            let kept = keepsakes
                .entry(TypeId::of::<T>())
                .or_insert_with(|| Box::new(T::default()));
            kept.downcast_mut().expect("it is kept under its own type")
        })
    }

    pub(super) fn ask(&self, command: Command) {
        self.asked.borrow_mut().push_back(command);
    }
}
