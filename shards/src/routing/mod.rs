//! From a message's `type` to what is done about it.
//!
//! **Lives here:** the table of the built-in messages, the answers that need no other room, commands from outside.
//! **Does not:** parsing (`protocol/envelope`), what a subscription or a publication is (`channels/`).
//! **Invariants:** one parse per message; every message that cannot be served is answered, with the client's own `id`.
//! **Called by:** `connections/inbound`, the shard. **Calls:** `channels/`, `presence/`, `connections/`.
//! **Tests:** `tests/first_messages.rs`.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::envelope::{self, Inbound, TOPIC_PREFIX, outbound};
use shardwire_protocol::websocket::frame;

use crate::bounds::HISTORY_MESSAGES;
use crate::channels::{Channels, SinceAsked};
use crate::collaboration::DocumentRequest;
use crate::connections::{Connection, Tags};
use crate::shard::Shard;
use crate::vocabulary::{
    Answer, AnswerId, Audience, Command, ConnectionId, Effect, Epoch, HistoryQuery, Mark, Mode,
    Now, Position, PublishOptions,
};

/// The `id` of a request whose answer had to wait, as it was kept.
pub(crate) fn kept_reply(kept: Option<Box<str>>) -> Option<Box<RawValue>> {
    // It was read from JSON, so it is JSON.
    kept.and_then(|text| RawValue::from_string(text.into()).ok())
}

/// The channel a message is about; a topic is one, by another name.
fn named_channel<'a>(inbound: &'a Inbound<'_>) -> Result<Cow<'a, str>, ErrorCode> {
    if let Some(channel) = inbound.channel.as_deref() {
        return Ok(Cow::Borrowed(channel));
    }
    let topic = inbound.topic()?.ok_or(ErrorCode::InvalidChannel)?;
    if topic.is_empty() {
        return Err(ErrorCode::InvalidChannel);
    }
    Ok(Cow::Owned(format!("{TOPIC_PREFIX}{}", &*topic)))
}

impl Shard {
    /// One text message of a connection that speaks JSON.
    pub(crate) fn route(&mut self, now: Now, id: ConnectionId, text: &str) {
        let inbound = match envelope::parse(text) {
            Ok(inbound) => inbound,
            Err(code) => return self.answer_error(id, code, None),
        };
        if self.settings.authentication.is_some() {
            // Tokens are nobody's business, not even a middleware's.
            match &*inbound.kind {
                "refresh" => return self.refresh(id, inbound.token.as_deref(), inbound.id),
                // Who one is, one says first or not at all.
                "auth" => return self.answer_error(id, ErrorCode::InvalidMessage, inbound.id),
                _ => {}
            }
        }
        if let Some(target) = self.application_target(&inbound.kind) {
            return self.call(id, target, text.into());
        }
        self.route_built_in(now, id, &inbound);
    }

    fn route_built_in(&mut self, now: Now, id: ConnectionId, inbound: &Inbound<'_>) {
        let reply = inbound.id;
        match &*inbound.kind {
            "ping" => self.answer(id, |out| outbound::pong(out, now.unix_ms, reply)),
            "echo" => {
                let data = inbound.data.map_or("null", RawValue::get);
                self.answer(id, |out| outbound::echo(out, data, now.unix_ms, reply));
            }
            "subscribe" | "subscribe-topic" => match Self::subscription(inbound) {
                Ok((channel, since)) => self.subscribe(now, id, &channel, since, reply),
                Err(code) => self.answer_error(id, code, reply),
            },
            "unsubscribe" | "unsubscribe-topic" => match named_channel(inbound) {
                Ok(channel) => self.unsubscribe(id, &channel, reply),
                Err(code) => self.answer_error(id, code, reply),
            },
            "publish" => {
                if let Err(code) = self.publish_message(now, id, inbound) {
                    self.answer_error(id, code, reply);
                }
            }
            "set-presence" => {
                if let Err(code) = self.set_own_presence(now, id, inbound) {
                    self.answer_error(id, code, reply);
                }
            }
            "get-presence" => {
                if let Err(code) = self.get_presence(now, id, inbound) {
                    self.answer_error(id, code, reply);
                }
            }
            "history" => match Self::history_query(inbound) {
                Ok((channel, query)) => self.ask_history(now, id, &channel, query, reply),
                Err(code) => self.answer_error(id, code, reply),
            },
            "mark-read" => {
                let done = self.mark_message(now, id, inbound, Mark::Read);
                self.answer_failure(id, done, reply);
            }
            "ack-notification" => {
                let done = self.mark_message(now, id, inbound, Mark::Acknowledged);
                self.answer_failure(id, done, reply);
            }
            "get-notifications" => {
                let done = self.list_message(id, inbound);
                self.answer_failure(id, done, reply);
            }
            _ if self.route_chat(now, id, inbound) => {}
            kind => {
                let done = match DocumentRequest::from_kind(kind) {
                    Some(request) if self.settings.collaboration.is_some() => {
                        self.ask_of_document(id, request, inbound)
                    }
                    _ => Err(ErrorCode::UnknownType),
                };
                if let Err(code) = done {
                    self.answer_error(id, code, reply);
                }
            }
        }
    }

    fn subscription<'a>(
        inbound: &'a Inbound<'_>,
    ) -> Result<(Cow<'a, str>, Option<SinceAsked>), ErrorCode> {
        let channel = named_channel(inbound)?;
        let since = inbound.since()?.map(|since| {
            SinceAsked(since.epoch.map(|epoch| Position {
                epoch: Epoch(epoch),
                offset: since.offset,
            }))
        });
        Ok((channel, since))
    }

    fn history_query<'a>(
        inbound: &'a Inbound<'_>,
    ) -> Result<(Cow<'a, str>, HistoryQuery), ErrorCode> {
        let limit = inbound.limit()?;
        let query = HistoryQuery {
            from: inbound.from()?,
            limit: limit.map_or(HISTORY_MESSAGES, |limit| {
                usize::try_from(limit).unwrap_or(usize::MAX)
            }),
            backward: inbound.backward()?,
        };
        Ok((named_channel(inbound)?, query))
    }

    fn publish_message(
        &mut self,
        now: Now,
        id: ConnectionId,
        inbound: &Inbound<'_>,
    ) -> Result<(), ErrorCode> {
        let channel = named_channel(inbound)?;
        let mut exclude = SmallVec::new();
        match inbound.exclude.as_deref() {
            None => {}
            Some("self") => exclude.push(id),
            Some(_) => return Err(ErrorCode::InvalidMessage),
        }
        let message = inbound.message.ok_or(ErrorCode::InvalidMessage)?;
        let options = if inbound.has_publish_options() {
            Some(PublishOptions {
                lifetime_ms: inbound.ttl()?,
                volatile: inbound.volatile()?,
                key: inbound.idempotency_key()?.as_deref().map(Into::into),
            })
        } else {
            None
        };
        self.publish(
            now,
            id,
            &channel,
            message.get(),
            exclude,
            options,
            inbound.id,
        );
        Ok(())
    }

    /// Answers a client with a text message.
    pub(crate) fn answer(&mut self, id: ConnectionId, body: impl FnOnce(&mut Vec<u8>)) {
        if self
            .registry
            .get(id)
            .is_some_and(|connection| connection.is_open())
        {
            self.counters.messages_sent += 1;
            self.write_message(id, |out| frame::write_text_with(out, body));
        }
    }

    fn answer_failure(
        &mut self,
        id: ConnectionId,
        done: Result<(), ErrorCode>,
        reply: Option<&RawValue>,
    ) {
        if let Err(code) = done {
            self.answer_error(id, code, reply);
        }
    }

    /// Tells a client what could not be done.
    pub(crate) fn answer_error(
        &mut self,
        id: ConnectionId,
        code: ErrorCode,
        reply: Option<&RawValue>,
    ) {
        self.counters.errors_answered += 1;
        self.answer(id, |out| outbound::error(out, code, reply));
    }

    /// Something asked for from outside.
    pub(crate) fn command(&mut self, now: Now, command: Command) {
        match command {
            Command::Publish {
                channel,
                message,
                exclude,
                options,
                answer,
            } => {
                self.publish_command(now, &channel, message, exclude.into(), options, answer);
            }
            Command::Broadcast { frame, audience } => self.broadcast(frame, &audience),
            Command::SendToUser {
                user,
                frame,
                except,
                answer,
            } => {
                let reached = self.send_to_user(&user, &frame, &except);
                self.tell(answer, Answer::Count(reached));
            }
            Command::Notification(command) => self.notification_command(now, command),
            Command::CloseUser {
                user,
                code,
                reason,
                except,
                answer,
            } => {
                let reached = self.close_user(now, &user, code, &reason, &except);
                self.tell(answer, Answer::Count(reached));
            }
            Command::ConnectionsOfUser { user, answer } => {
                let connections = self.directory.connections_of(&user);
                self.tell(Some(answer), Answer::Connections(connections));
            }
            Command::SendText {
                connection,
                text,
                answer,
            } => {
                let reached = self.send_text(connection, &text);
                self.tell(answer, Answer::Count(reached));
            }
            Command::Subscribe {
                connection,
                channel,
            } => self.subscribe_for_application(now, connection, &channel),
            Command::Unsubscribe {
                connection,
                channel,
            } => self.unsubscribe(connection, &channel, None),
            Command::Document(question) => self.document_command(now, *question),
            Command::Tag {
                connection,
                tag,
                on,
            } => {
                if self.registry.get(connection).is_some() {
                    self.tags.set(connection, tag, on);
                }
            }
            Command::RouteBuiltIn {
                connection,
                message,
            } => {
                // It was parsed before it came to the application, which may have taken longer than the connection lived.
                let open = self.registry.get(connection).is_some_and(|it| it.is_open());
                if open && let Ok(inbound) = envelope::parse(&message) {
                    self.route_built_in(now, connection, &inbound);
                }
            }
            Command::CloseConnection {
                connection,
                code,
                reason,
                answer,
            } => {
                let reached = self.close_these(now, &[connection], code, &reason);
                self.tell(answer, Answer::Count(reached));
            }
            Command::Presence(command) => self.presence_command(now, command),
            Command::CloseAll { code, reason } => self.close_all(now, code, &reason),
            Command::Drain { window_ms } => self.begin_drain(now, window_ms),
            Command::Settings(settings) => self.change_settings(settings),
        }
    }

    /// Answers a command, if somebody wants to know.
    pub(crate) fn tell(&mut self, id: Option<AnswerId>, answer: Answer) {
        if let Some(id) = id {
            self.effects.push_back(Effect::Answer { id, answer });
        }
    }

    /// One frame to this shard's share of an audience (contract M24).
    fn broadcast(&mut self, frame: Bytes, audience: &Audience) {
        let takes = |id: &ConnectionId| {
            self.registry.get(*id).is_some_and(|connection| {
                connection.is_reachable()
                    && connection.mode == Mode::Json
                    && is_meant(audience, *id, connection, &self.tags, &self.channels)
            })
        };
        let takers: Vec<ConnectionId> = self.registry.ids().filter(takes).collect();
        self.give_each(&takers, frame);
    }
}

/// Whether a connection belongs to an audience.
fn is_meant(
    audience: &Audience,
    id: ConnectionId,
    connection: &Connection,
    tags: &Tags,
    channels: &Channels,
) -> bool {
    let belongs = |audience| is_meant(audience, id, connection, tags, channels);
    match audience {
        Audience::Everyone => true,
        Audience::Users(users) => {
            let user = connection.user.as_ref();
            user.is_some_and(|user| users.contains(user))
        }
        Audience::Except(excluded) => !excluded.contains(&id),
        Audience::Permission(permission) => {
            let identity = connection.identity();
            identity.is_some_and(|who| who.may(permission))
        }
        Audience::Channel(channel) => {
            let key = channels.audiences.find(channel);
            let mut memberships = connection.memberships.iter();
            key.is_some_and(|key| memberships.any(|membership| membership.audience == key))
        }
        Audience::Tag(tag) => tags.of(id).contains(tag),
        Audience::AllOf(audiences) => audiences.iter().all(belongs),
        Audience::AnyOf(audiences) => audiences.iter().any(belongs),
    }
}
