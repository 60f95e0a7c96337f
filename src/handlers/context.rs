//! A handler's view of its connection and its engine (contract M30).

use std::any::{Any, TypeId};
use std::cell::{RefCell, RefMut};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;

use serde::Serialize;
use shardwire_shards::bounds::TAGS_MAX;
use shardwire_shards::is_valid_tag;
use shardwire_shards::vocabulary::{
    Command, ConnectionId, Identity, PresenceChange, PresenceCommand, UserId,
};

use super::TagError;
use crate::engine::{EngineHandle, PresenceError, PublishError};

/// What handlers of one shard have asked for and the shard has not applied yet.
pub(super) type Asked = Rc<RefCell<VecDeque<Command>>>;

/// What handlers keep with one connection.
#[derive(Default)]
pub(super) struct Kept {
    by_type: RefCell<HashMap<TypeId, Box<dyn Any>>>,
    /// As the shard will have them when it has applied what was asked for.
    tags: RefCell<Vec<Box<str>>>,
}

/// For whom a handler is called.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) connection: ConnectionId,
    pub(crate) user: Option<UserId>,
    pub(crate) identity: Option<Identity>,
    pub(crate) address: IpAddr,
    /// In which words its peer closed it.
    pub(crate) close_reason: Option<Box<str>>,
}

/// A handler's view of the connection it was called for. Cheap to clone; stays on the connection's core.
///
/// What is asked for here is applied in that order, after the handler has awaited or returned; a connection that is gone by then is
/// passed over.
#[derive(Clone)]
pub struct Context {
    pub(super) caller: Caller,
    pub(super) asked: Asked,
    pub(super) kept: Rc<Kept>,
    pub(super) engine: EngineHandle,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("connection", &self.caller.connection)
            .field("user", &self.caller.user)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// The connection.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        self.caller.connection
    }

    /// Who it is: verified, or the name the client gave itself while nobody verifies.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.caller.user.as_deref()
    }

    /// Who it is, as a verifier found out: name, permissions, expiry (contract M30). None: nobody was verified.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.caller.identity.as_ref()
    }

    /// The client's address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.caller.address
    }

    /// In which words the client closed the connection (contract M29): at most 123 bytes. Empty if in none, and everywhere but in
    /// [`on_close`](crate::EngineBuilder::on_close).
    #[must_use]
    pub fn close_reason(&self) -> &str {
        self.caller.close_reason.as_deref().unwrap_or_default()
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
            connection: self.connection(),
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
        self.publish_except(channel, message, vec![self.connection()])
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
            connection: self.connection(),
            channel: channel.into(),
        });
    }

    /// Ends this connection's subscription to a channel. The client is told `unsubscribed`.
    pub fn unsubscribe(&self, channel: &str) {
        self.ask(Command::Unsubscribe {
            connection: self.connection(),
            channel: channel.into(),
        });
    }

    /// Changes what is known of this connection's user, field by field, as [`EngineHandle::set_presence`] does (contract R4, D7). Without
    /// effect on connections without a user.
    ///
    /// # Errors
    /// See [`PresenceError`].
    pub fn set_presence(&self, change: PresenceChange) -> Result<(), PresenceError> {
        change.check().map_err(PresenceError::from_code)?;
        if let Some(user) = self.caller.user.clone() {
            self.ask(Command::Presence(PresenceCommand::Set {
                user,
                change: Box::new(change),
                answer: None,
            }));
        }
        Ok(())
    }

    /// Tags this connection, so that a broadcast can mean it ([`Audience::Tag`](crate::Audience::Tag), contract M24) and the check of
    /// permissions can see it. A tag it has already is no error. Tags end with the connection.
    ///
    /// # Errors
    /// [`TagError`].
    pub fn tag(&self, tag: &str) -> Result<(), TagError> {
        if !is_valid_tag(tag) {
            return Err(TagError::Invalid);
        }
        let mut tags = self.kept.tags.borrow_mut();
        if tags.iter().any(|known| **known == *tag) {
            return Ok(());
        }
        if tags.len() >= TAGS_MAX {
            return Err(TagError::TooMany);
        }
        tags.push(tag.into());
        self.ask_tag(tag, true);
        Ok(())
    }

    /// Takes a tag off this connection.
    pub fn untag(&self, tag: &str) {
        self.kept.tags.borrow_mut().retain(|known| **known != *tag);
        self.ask_tag(tag, false);
    }

    /// This connection's tags, in the order it got them.
    #[must_use]
    pub fn tags(&self) -> Vec<String> {
        let tags = self.kept.tags.borrow();
        tags.iter().map(|tag| tag.to_string()).collect()
    }

    fn ask_tag(&self, tag: &str, on: bool) {
        self.ask(Command::Tag {
            connection: self.connection(),
            tag: tag.into(),
            on,
        });
    }

    /// Closes this connection with the closing handshake.
    pub fn close(&self, code: u16, reason: &str) {
        self.ask(Command::CloseConnection {
            connection: self.connection(),
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
        RefMut::map(self.kept.by_type.borrow_mut(), |by_type| {
            let kept = by_type
                .entry(TypeId::of::<T>())
                .or_insert_with(|| Box::new(T::default()));
            kept.downcast_mut().expect("it is kept under its own type")
        })
    }

    pub(super) fn ask(&self, command: Command) {
        self.asked.borrow_mut().push_back(command);
    }
}
