//! Reaching clients from outside: channels, connections, users.

use bytes::Bytes;
use serde::Serialize;
use shardwire_protocol::codes::close;
use shardwire_protocol::envelope::MAX_KEY_BYTES;
use shardwire_protocol::websocket::frame;
use shardwire_shards::is_valid_channel_name;
use shardwire_shards::vocabulary::{Audience, Command, ConnectionId, PublishOptions, ShardId};

use super::error::{CloseError, PublishError};
use super::handle::EngineHandle;
use super::inbox::{Item, Waiting};
use super::pending::{Pending, PendingPublication};

impl EngineHandle {
    /// Publishes a message into a channel (contract B4): every subscriber on every shard gets
    /// `{"type":"broadcast","channel":…,"message":…,"timestamp":…}`. `message` may be text or any value that has a JSON form.
    /// [`publish_to`](Self::publish_to) leaves connections out, and tells what became of it.
    ///
    /// # Errors
    /// See [`PublishError`]; when it says so, nobody got anything.
    pub fn publish(
        &self,
        channel: &str,
        message: &(impl Serialize + ?Sized),
    ) -> Result<(), PublishError> {
        let command = self.publish_command(channel, message, Vec::new())?;
        self.inner
            .inboxes
            .send(self.home_of_channel(channel), Item::Command(command))
            .map_err(|_| PublishError::Overloaded)
    }

    /// As [`publish`](Self::publish), but not to these connections (contract D10). The answer is true once the channel's home has
    /// taken the message, false if it could not.
    ///
    /// # Errors
    /// See [`PublishError`]; when it says so, nobody got anything.
    pub fn publish_to(
        &self,
        channel: &str,
        message: &(impl Serialize + ?Sized),
        exclude: &[ConnectionId],
    ) -> Result<Pending<bool>, PublishError> {
        check_channel(channel)?;
        let message = Bytes::from(self.encode(message)?);
        let (waiting, taken) = oneshot::channel();
        let home = self.home_of_channel(channel);
        let command = |answer| Command::Publish {
            channel: channel.into(),
            message,
            exclude: exclude.to_vec(),
            options: None,
            answer: Some(answer),
        };
        self.inner
            .inboxes
            .ask(home, Waiting::Taken(waiting), command)
            .map_err(|_| PublishError::Overloaded)?;
        Ok(Pending(taken))
    }

    /// As [`publish`](Self::publish), with wishes of its own, and says what became of it: in a channel with history, the place at
    /// which it is kept.
    ///
    /// ```no_run
    /// # use shardwire::{EngineHandle, PublishOptions};
    /// # async fn sell(engine: EngineHandle) -> Result<(), shardwire::PublishError> {
    /// let once = PublishOptions { key: Some("order-4711".into()), ..PublishOptions::default() };
    /// let place = engine.publish_with("topic:orders", &"sold", once)?.await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`PublishError`]; when it says so, nobody got anything.
    pub fn publish_with(
        &self,
        channel: &str,
        message: &(impl Serialize + ?Sized),
        options: PublishOptions,
    ) -> Result<PendingPublication, PublishError> {
        check_channel(channel)?;
        let key = options.key.as_deref();
        if key.is_some_and(|key| key.is_empty() || key.len() > MAX_KEY_BYTES) {
            return Err(PublishError::Key);
        }
        let message = Bytes::from(self.encode(message)?);
        let (waiting, published) = oneshot::channel();
        let command = |answer| Command::Publish {
            channel: channel.into(),
            message,
            exclude: Vec::new(),
            options: Some(Box::new(options)),
            answer: Some(answer),
        };
        self.inner
            .inboxes
            .ask(
                self.home_of_channel(channel),
                Waiting::Published(waiting),
                command,
            )
            .map_err(|_| PublishError::Overloaded)?;
        Ok(PendingPublication(published))
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
        let encoded = self.text_frame(message)?;
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

    /// Sends a message to one connection, as it is, without an envelope. The answer is how many it reached: 1, or 0 if there is no
    /// such connection (any more), or one that does not speak JSON.
    ///
    /// # Errors
    /// See [`PublishError`]; when it says so, nothing was sent.
    pub fn send(
        &self,
        connection: ConnectionId,
        message: &(impl Serialize + ?Sized),
    ) -> Result<Pending<usize>, PublishError> {
        let text = self.encode(message)?.into_boxed_str();
        let shard = self.shard_of(connection);
        Ok(self.count(shard, |answer| Command::SendText {
            connection,
            text,
            answer,
        }))
    }

    /// Sends a message to all connections of a user, wherever they are (contract M23), but for `except`. The answer is how many
    /// connections it was passed on to.
    ///
    /// # Errors
    /// See [`PublishError`]; when it says so, nothing was sent.
    pub fn send_to_user(
        &self,
        user: &str,
        message: &(impl Serialize + ?Sized),
        except: &[ConnectionId],
    ) -> Result<Pending<usize>, PublishError> {
        let frame = self.text_frame(message)?;
        let home = self.inner.placement.home_of_user(user);
        Ok(self.count(Some(home), |answer| Command::SendToUser {
            user: user.into(),
            frame,
            except: except.to_vec(),
            answer,
        }))
    }

    /// Closes one connection with the closing handshake. The answer is how many there were: 1 or 0.
    ///
    /// # Errors
    /// See [`CloseError`].
    pub fn kick(
        &self,
        connection: ConnectionId,
        code: u16,
        reason: &str,
    ) -> Result<Pending<usize>, CloseError> {
        check_code(code)?;
        let shard = self.shard_of(connection);
        Ok(self.count(shard, |answer| Command::CloseConnection {
            connection,
            code,
            reason: reason.to_owned(),
            answer,
        }))
    }

    /// Closes all connections of a user, wherever they are, but for `except`. The answer is how many there were.
    ///
    /// # Errors
    /// See [`CloseError`].
    pub fn kick_user(
        &self,
        user: &str,
        code: u16,
        reason: &str,
        except: &[ConnectionId],
    ) -> Result<Pending<usize>, CloseError> {
        check_code(code)?;
        let home = self.inner.placement.home_of_user(user);
        Ok(self.count(Some(home), |answer| Command::CloseUser {
            user: user.into(),
            code,
            reason: reason.to_owned(),
            except: except.to_vec(),
            answer,
        }))
    }

    /// Closes **all** connections with the closing handshake (contract M25). New ones are still accepted. Waits for room where a
    /// shard's inbox is full.
    pub fn close(&self, code: u16, reason: &str) {
        for shard in self.inner.placement.all() {
            self.insist(shard, || {
                Item::Command(Command::CloseAll {
                    code,
                    reason: reason.to_owned(),
                })
            });
        }
    }

    /// The shard a connection says it lives on; none if this engine never had so many.
    fn shard_of(&self, connection: ConnectionId) -> Option<ShardId> {
        let shard = connection.shard();
        (shard.0 < self.shards()).then_some(shard)
    }

    fn count(
        &self,
        shard: Option<ShardId>,
        command: impl FnOnce(Option<shardwire_shards::vocabulary::AnswerId>) -> Command,
    ) -> Pending<usize> {
        let (waiting, count) = oneshot::channel();
        if let Some(shard) = shard {
            // A refused question drops its sender, and the receiver then says so.
            let _ = self
                .inner
                .inboxes
                .ask(shard, Waiting::Count(waiting), |id| command(Some(id)));
        }
        Pending(count)
    }

    /// A publication from outside the wire, checked at this door: what goes in is a good name and one valid JSON value.
    pub(crate) fn publish_command(
        &self,
        channel: &str,
        message: &(impl Serialize + ?Sized),
        exclude: Vec<ConnectionId>,
    ) -> Result<Command, PublishError> {
        check_channel(channel)?;
        Ok(Command::Publish {
            channel: channel.into(),
            message: Bytes::from(self.encode(message)?),
            exclude,
            options: None,
            answer: None,
        })
    }

    /// A message of the embedding service as JSON, if it is not too long.
    fn encode(&self, message: &(impl Serialize + ?Sized)) -> Result<String, PublishError> {
        let text = serde_json::to_string(message)?;
        let (len, max) = (text.len(), self.max_outgoing_message_size());
        if len > max {
            return Err(PublishError::TooLarge { len, max });
        }
        Ok(text)
    }

    /// The same as one frame, for many.
    fn text_frame(&self, message: &(impl Serialize + ?Sized)) -> Result<Bytes, PublishError> {
        let text = self.encode(message)?;
        let mut encoded = Vec::with_capacity(frame::header_len(text.len()) + text.len());
        frame::write_server(&mut encoded, frame::Kind::Text, text.as_bytes());
        Ok(Bytes::from(encoded))
    }

    pub(super) fn home_of_channel(&self, channel: &str) -> ShardId {
        self.inner.placement.home_of_channel(channel)
    }
}

fn check_channel(channel: &str) -> Result<(), PublishError> {
    if !is_valid_channel_name(channel) || channel.starts_with('$') {
        return Err(PublishError::Channel(channel.to_owned()));
    }
    Ok(())
}

/// A code a server may send (RFC 6455, 7.4): the registered ones that travel, and those of services.
pub(crate) fn check_code(code: u16) -> Result<(), CloseError> {
    match code {
        close::NORMAL..=close::UNSUPPORTED_DATA
        | close::INVALID_PAYLOAD..=close::TRY_AGAIN_LATER
        | 3000..=4999 => Ok(()),
        _ => Err(CloseError::Code(code)),
    }
}
