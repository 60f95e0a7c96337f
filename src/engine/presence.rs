//! Who is there, asked and said from outside.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use shardwire_protocol::codes::ErrorCode;
use shardwire_shards::bounds::{PRESENCE_IDS_MAX, PRESENCE_MEMBERS_MAX};
use shardwire_shards::is_valid_channel_name;
use shardwire_shards::vocabulary::{
    AnswerId, ChannelMembers, PresenceAnswer, PresenceChange, PresenceCommand, ShardId, UserId,
    is_valid_user,
};
use shardwire_shards::vocabulary::{Command, Presence};

use super::error::PresenceError;
use super::handle::EngineHandle;
use super::inbox::Waiting;

/// An answer about presence: `.await` it from any async runtime, or [`wait`](Self::wait) for it.
#[derive(Debug)]
#[must_use = "the answer is lost unless somebody waits for it"]
pub struct PendingPresence<T> {
    receiver: oneshot::Receiver<PresenceAnswer>,
    read: fn(PresenceAnswer) -> Option<T>,
}

impl<T> PendingPresence<T> {
    /// Blocks until it is known.
    ///
    /// # Errors
    /// See [`PresenceError`]. `Overloaded` can also mean that the engine stopped meanwhile.
    pub fn wait(self) -> Result<T, PresenceError> {
        answered(self.receiver.recv(), self.read)
    }
}

impl<T: Send + 'static> IntoFuture for PendingPresence<T> {
    type Output = Result<T, PresenceError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let (receiver, read) = (self.receiver.into_future(), self.read);
        Box::pin(async move { answered(receiver.await, read) })
    }
}

fn answered<T>(
    told: Result<PresenceAnswer, oneshot::RecvError>,
    read: fn(PresenceAnswer) -> Option<T>,
) -> Result<T, PresenceError> {
    match told {
        Ok(PresenceAnswer::Refused(code)) => Err(PresenceError::from_code(code)),
        Ok(answer) => read(answer).ok_or(PresenceError::from_code(ErrorCode::Overloaded)),
        Err(_) => Err(PresenceError::Overloaded),
    }
}

impl EngineHandle {
    /// Changes what is known of a user, field by field: what the change does not name stays (contract R4, D7). The answer is what others
    /// see then. Of a user without connections it is kept for `presence.status_expiration`.
    ///
    /// ```no_run
    /// # use shardwire::{EngineHandle, Presence, PresenceChange, PresenceError};
    /// # async fn on_the_phone(engine: EngineHandle) -> Result<(), PresenceError> {
    /// let busy = PresenceChange::read(r#"{"status":"busy","metadata":{"device":"phone"}}"#)
    ///     .map_err(PresenceError::from_code)?;
    /// let ann: Presence = engine.set_presence("ann", busy)?.await?;
    /// assert_eq!(&*ann.status, "busy");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`PresenceError`]; when it says so, nothing was changed.
    pub fn set_presence(
        &self,
        user: &str,
        change: PresenceChange,
    ) -> Result<PendingPresence<Presence>, PresenceError> {
        check_user(user)?;
        change.check().map_err(PresenceError::from_code)?;
        let home = self.inner.placement.home_of_user(user);
        self.ask_presence(home, one, |answer| PresenceCommand::Set {
            user: user.into(),
            change: Box::new(change),
            answer: Some(answer),
        })
    }

    /// What is known of users, at most 100 (contract R5): each of them once, in no particular order. A user of whom nothing is known
    /// is `online` while it has connections.
    ///
    /// # Errors
    /// See [`PresenceError`].
    pub fn presence(
        &self,
        users: &[&str],
    ) -> Result<PendingPresence<Vec<(UserId, Presence)>>, PresenceError> {
        if users.len() > PRESENCE_IDS_MAX {
            return Err(PresenceError::TooMuch);
        }
        users.iter().try_for_each(|user| check_user(user))?;
        let first = users.first().copied().unwrap_or_default();
        let home = self.inner.placement.home_of_user(first);
        self.ask_presence(home, all, |answer| PresenceCommand::Get {
            users: users.iter().map(|user| (*user).into()).collect(),
            answer,
        })
    }

    /// Who is in a channel of `presence.channels`: how many users, and the first `limit` of them (at most 10,000) in order of their
    /// names. Nobody is in any other channel.
    ///
    /// # Errors
    /// See [`PresenceError`].
    pub fn channel_presence(
        &self,
        channel: &str,
        limit: usize,
    ) -> Result<PendingPresence<ChannelMembers>, PresenceError> {
        if !is_valid_channel_name(channel) {
            return Err(PresenceError::Name(channel.to_owned()));
        }
        let home = self.home_of_channel(channel);
        self.ask_presence(home, members, |answer| PresenceCommand::Members {
            channel: channel.into(),
            limit: limit.min(PRESENCE_MEMBERS_MAX),
            answer,
        })
    }

    fn ask_presence<T>(
        &self,
        shard: ShardId,
        read: fn(PresenceAnswer) -> Option<T>,
        command: impl FnOnce(AnswerId) -> PresenceCommand,
    ) -> Result<PendingPresence<T>, PresenceError> {
        let (waiting, receiver) = oneshot::channel();
        self.inner
            .inboxes
            .ask(shard, Waiting::Presence(waiting), |answer| {
                Command::Presence(command(answer))
            })
            .map_err(|_| PresenceError::Overloaded)?;
        Ok(PendingPresence { receiver, read })
    }
}

fn check_user(user: &str) -> Result<(), PresenceError> {
    if is_valid_user(user) {
        Ok(())
    } else {
        Err(PresenceError::Name(user.to_owned()))
    }
}

fn one(answer: PresenceAnswer) -> Option<Presence> {
    all(answer)?.pop().map(|(_, presence)| presence)
}

fn all(answer: PresenceAnswer) -> Option<Vec<(UserId, Presence)>> {
    match answer {
        PresenceAnswer::Users(users) => Some(users),
        _ => None,
    }
}

fn members(answer: PresenceAnswer) -> Option<ChannelMembers> {
    match answer {
        PresenceAnswer::Members(members) => Some(members),
        _ => None,
    }
}
