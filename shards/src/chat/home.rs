//! At home: a room lets in and out, and tells its channel.

use bytes::Bytes;

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::envelope::chat;

use super::rooms::Member;
use super::seats::room_of;
use crate::bounds::ROOM_LISTED_MAX;
use crate::channels::Body;
use crate::history::Origin;
use crate::mesh::Lane;
use crate::shard::Shard;
use crate::vocabulary::{
    ChannelName, ChatDeed, ChatMessage, ConnectionId, HistoryQuery, Now, PublishOptions,
    ShardMessage, UserId,
};

impl Shard {
    /// What another shard says about a room, or this one to itself.
    pub(crate) fn chat_message(&mut self, now: Now, message: ChatMessage) {
        let ChatMessage {
            channel,
            connection,
            deed,
        } = message;
        match deed {
            ChatDeed::Join {
                ask,
                user,
                name,
                listed,
            } => {
                let member = Member { user, name };
                self.seat_member(now, channel, connection, (ask, listed), member);
            }
            ChatDeed::Leave => self.unseat_member(now, &channel, connection),
            ChatDeed::Say {
                content,
                key,
                reply,
            } => {
                let options = key.map(|key| PublishOptions {
                    key: Some(key),
                    ..PublishOptions::default()
                });
                let origin = Origin {
                    publisher: Some(connection),
                    reply: reply.as_deref(),
                    options: options.as_ref(),
                    ..Origin::default()
                };
                self.said(now, &channel, connection, &content, origin);
            }
            ChatDeed::Typing(on) => self.typed(now, &channel, connection, on),
            ChatDeed::Joined {
                ask,
                unix_ms,
                first,
                members,
                history,
            } => {
                let told = (members.as_deref(), history.as_deref());
                self.joined(&channel, connection, ask, (unix_ms, first), told);
            }
            ChatDeed::Refused { ask, code } => self.not_joined(connection, ask, code),
        }
    }

    fn seat_member(
        &mut self,
        now: Now,
        channel: ChannelName,
        id: ConnectionId,
        (ask, listed): (u32, bool),
        member: Member,
    ) {
        let Some(settings) = self.settings.chat else {
            return;
        };
        let refused = if self.chat.rooms.member(&channel, id).is_some() {
            debug_assert!(false, "nobody joins twice");
            return;
        } else if self.chat.rooms.members_of(&channel) >= settings.max_members {
            Some(ErrorCode::TooManyMembers)
        } else if self.is_way_full(&channel) {
            Some(ErrorCode::Overloaded)
        } else {
            None
        };
        if let Some(code) = refused {
            return self.answer_member(now, channel, id, ChatDeed::Refused { ask, code });
        }
        let history = self.said_before(now, &channel, settings.history);
        self.note_where(now, member.user.as_ref(), &channel, true);
        let first = self.chat.rooms.enter(channel.clone(), id, member.clone());
        self.counters.rooms_joined += 1;
        let joined = ChatDeed::Joined {
            ask,
            unix_ms: now.unix_ms,
            first,
            members: listed.then(|| self.who_is_in(&channel)),
            history,
        };
        self.answer_member(now, channel.clone(), id, joined);
        if first {
            let user = member.shown(id);
            self.tell_room(now, &channel, &[], Origin::MUST, |out| {
                chat::user_joined_event(out, written(&user, &member), now.unix_ms);
            });
        }
    }

    /// The users in a room, as its newcomer is told.
    fn who_is_in(&self, channel: &str) -> Bytes {
        let (users, count) = self.chat.rooms.users_of(channel, ROOM_LISTED_MAX);
        let mut told = Vec::new();
        let members = users.as_ref().map(|users| {
            let users = users.iter();
            users.map(|(user, member)| written(user, member))
        });
        chat::members(&mut told, members, count as u64);
        Bytes::from(told)
    }

    fn unseat_member(&mut self, now: Now, channel: &ChannelName, id: ConnectionId) {
        #[cfg(feature = "planted-faults")]
        if self.planted.strikes(crate::planted::Fault::KeepSeat) {
            return;
        }
        if let Some((member, true)) = self.chat.rooms.leave(channel, id) {
            self.note_where(now, member.user.as_ref(), channel, false);
            let user = member.shown(id);
            self.tell_room(now, channel, &[], Origin::MUST, |out| {
                chat::user_left_event(out, written(&user, &member), now.unix_ms);
            });
        }
    }

    /// Contract C1, C2: a user's presence shows the room it is in. One that is nobody in particular has none.
    fn note_where(&mut self, now: Now, user: Option<&UserId>, channel: &str, inside: bool) {
        if let Some(user) = user
            && self.settings.chat.is_some_and(|chat| chat.presence)
        {
            self.note_room(now, user, room_of(channel), inside);
        }
    }

    fn said(
        &mut self,
        now: Now,
        channel: &ChannelName,
        id: ConnectionId,
        content: &str,
        origin: Origin<'_>,
    ) {
        let Some(member) = self.chat.rooms.member(channel, id).cloned() else {
            // It was refused meanwhile.
            if origin.reply.is_some() {
                self.settle(channel, origin, Err(ErrorCode::NotJoined));
            }
            return;
        };
        self.chat.said += 1;
        self.counters.room_messages += 1;
        let message = format!("{:016x}-{:x}", self.chat.life, self.chat.said);
        let user = member.shown(id);
        self.tell_room(now, channel, &[], origin, |out| {
            let member = written(&user, &member);
            chat::message_event(out, &message, member, content, now.unix_ms);
        });
    }

    fn typed(&mut self, now: Now, channel: &ChannelName, id: ConnectionId, on: bool) {
        let Some(member) = self.chat.rooms.member(channel, id).cloned() else {
            return;
        };
        let options = PublishOptions {
            volatile: true,
            ..PublishOptions::default()
        };
        let origin = Origin {
            options: Some(&options),
            ..Origin::default()
        };
        let user = member.shown(id);
        self.tell_room(now, channel, &[id], origin, |out| {
            chat::typing_event(out, on, written(&user, &member));
        });
    }

    /// Publishes an event in a room's channel.
    fn tell_room(
        &mut self,
        now: Now,
        channel: &str,
        exclude: &[ConnectionId],
        origin: Origin<'_>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut event = std::mem::take(&mut self.chat.event);
        event.clear();
        write(&mut event);
        self.publish_at_home(now, channel, Body::Event(&event), exclude, origin);
        self.chat.event = event;
    }

    fn answer_member(
        &mut self,
        now: Now,
        channel: ChannelName,
        connection: ConnectionId,
        deed: ChatDeed,
    ) {
        let message = ChatMessage {
            channel,
            connection,
            deed,
        };
        if connection.shard() == self.id {
            return self.chat_message(now, message);
        }
        // In the lane of deliveries: what is behind it there, the connection gets as a member.
        let message = ShardMessage::Chat(Box::new(message));
        self.ends.post(connection.shard(), Lane::Delivery, message);
    }

    /// Whether a publication without history would be refused: then nobody comes in, since nobody could be told.
    fn is_way_full(&self, channel: &str) -> bool {
        let Some(home) = self.channels.homes.get(channel) else {
            return false;
        };
        home.log.is_none()
            && home
                .interested
                .iter()
                .any(|at| at.shard != self.id && self.ends.is_full(at.shard, Lane::Delivery))
    }

    /// What the channel's log has of the last so many publications, newest first, as the answer to `history`.
    fn said_before(&mut self, now: Now, channel: &str, limit: usize) -> Option<Bytes> {
        let log = self.channels.homes.log(channel)?;
        if limit == 0 || log.is_empty() {
            return None;
        }
        let query = HistoryQuery {
            from: None,
            limit,
            backward: true,
        };
        let text = self.read_history(now, channel, query, None).ok()?;
        Some(Bytes::from(text))
    }
}

fn written<'a>(user: &'a str, member: &'a Member) -> chat::Member<'a> {
    chat::Member {
        user,
        name: &member.name,
    }
}
