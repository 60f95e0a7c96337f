//! At a connection's shard: the room it is in, from its `join-room` until it leaves.

use std::sync::Arc;

use serde_json::value::RawValue;
use smallvec::SmallVec;

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::envelope::chat::{self, ROOM_PREFIX};
use shardwire_protocol::envelope::{Inbound, outbound};

use super::ChatSettings;
use super::rooms::Member;
use crate::bounds::WAITING_PER_MEMBER_MAX;
use crate::channels::Lag;
use crate::connections::Connection;
use crate::mesh::Lane;
use crate::permissions::Action;
use crate::routing::kept_reply;
use crate::shard::Shard;
use crate::timers::Tick;
use crate::vocabulary::{
    ChannelName, ChatDeed, ChatMessage, ConnectionId, Identity, Now, ShardMessage, UserId,
};

/// Where a connection is.
#[derive(Debug)]
pub(crate) struct Seat {
    /// The room's channel.
    channel: ChannelName,
    /// The question to its home.
    ask: u32,
    state: State,
    /// It was subscribed to the channel before it came into the room, and stays so when it leaves.
    subscribed: bool,
    /// It types, until then unless it says so again.
    pub(super) typing: Option<Tick>,
    user: Option<UserId>,
    name: Arc<str>,
}

#[derive(Debug)]
enum State {
    /// The home has still to answer; the `id`s of its messages that wait for that.
    Joining(SmallVec<[Box<str>; 1]>),
    Joined,
}

/// A connection's name where others read it; `user` is the fallback, and a connection that is nobody is a guest by its own id.
pub(super) fn shown(user: Option<&UserId>, id: ConnectionId) -> Arc<str> {
    user.cloned()
        .unwrap_or_else(|| format!("guest:{id}").into())
}

pub(super) fn room_of(channel: &str) -> &str {
    channel.strip_prefix(ROOM_PREFIX).unwrap_or(channel)
}

impl Shard {
    /// One message about rooms, if it is one. False: it is not, or there are no rooms here.
    pub(crate) fn route_chat(&mut self, now: Now, id: ConnectionId, inbound: &Inbound<'_>) -> bool {
        let Some(settings) = self.settings.chat else {
            return false;
        };
        let reply = inbound.id;
        let outcome = match &*inbound.kind {
            "join-room" => self.join_room(now, id, inbound),
            "leave-room" => self.leave_room(id, reply),
            "send-message" => self.say(now, id, &settings, inbound),
            "typing-start" => self.type_on(now, id, &settings, reply),
            "typing-stop" => self.type_off(now, id, reply),
            _ => return false,
        };
        if let Err(code) = outcome {
            self.answer_error(id, code, reply);
        }
        true
    }

    /// Contract C1: out of the room it is in, and into this one.
    fn join_room(
        &mut self,
        now: Now,
        id: ConnectionId,
        inbound: &Inbound<'_>,
    ) -> Result<(), ErrorCode> {
        let room = inbound.room()?;
        if room.is_empty() {
            return Err(ErrorCode::InvalidChannel);
        }
        let reachable = self.registry.get(id).is_some_and(Connection::is_reachable);
        if !reachable && !self.chat.seats.contains_key(&id) {
            return Ok(());
        }
        let channel = format!("{ROOM_PREFIX}{}", &*room);
        self.authorize(id, Action::Join, &channel)?;
        let reply = inbound.id;
        if let Some(seat) = self.chat.seats.get_mut(&id)
            && *seat.channel == *channel
        {
            return match (&mut seat.state, reply) {
                (_, None) => Ok(()),
                (State::Joined, Some(_)) => {
                    self.answer(id, |out| chat::room_joined(out, &room, None, reply));
                    Ok(())
                }
                (State::Joining(untold), Some(_)) if untold.len() >= WAITING_PER_MEMBER_MAX => {
                    Err(ErrorCode::RateLimitExceeded)
                }
                (State::Joining(untold), Some(reply)) => {
                    untold.push(reply.get().into());
                    Ok(())
                }
            };
        }
        self.vacate(id);
        // Its socket has ended, so it comes in nowhere any more; but what it has said behind this is not for the room it was in.
        if !reachable {
            return Ok(());
        }
        let (key, subscribed) = self.enter_audience(now, id, &channel)?;
        if !subscribed {
            // What is published before it is in the room is not for it.
            self.set_lagging(key, id, Lag::Door(Vec::new()));
        }
        let Some(connection) = self.registry.get(id) else {
            return Ok(());
        };
        let user = connection.user.clone();
        let name = connection.identity().and_then(Identity::name);
        let name = name.map_or_else(|| shown(user.as_ref(), id), Arc::from);
        let channel = self.channel_name(&channel);
        self.chat.asks = self.chat.asks.wrapping_add(1);
        let ask = self.chat.asks;
        let seat = Seat {
            channel: channel.clone(),
            ask,
            state: State::Joining(reply.iter().map(|raw| raw.get().into()).collect()),
            subscribed,
            typing: None,
            user: user.clone(),
            name: name.clone(),
        };
        self.chat.seats.insert(id, seat);
        let join = ChatDeed::Join {
            ask,
            user,
            name,
            listed: reply.is_some(),
        };
        if !self.do_in_room(now, &channel, id, join) {
            self.chat.seats.remove(&id);
            if !subscribed {
                self.leave_channel(id, &channel);
            }
            return Err(ErrorCode::Overloaded);
        }
        Ok(())
    }

    /// Contract C2.
    fn leave_room(&mut self, id: ConnectionId, reply: Option<&RawValue>) -> Result<(), ErrorCode> {
        match self.vacate(id) {
            Some(channel) => {
                if reply.is_some() {
                    self.answer(id, |out| chat::room_left(out, room_of(&channel), reply));
                }
                Ok(())
            }
            None => ignored(reply),
        }
    }

    /// Contract C3.
    fn say(
        &mut self,
        now: Now,
        id: ConnectionId,
        settings: &ChatSettings,
        inbound: &Inbound<'_>,
    ) -> Result<(), ErrorCode> {
        let (raw, content) = inbound.content()?;
        if content.is_empty() {
            return Err(ErrorCode::InvalidMessage);
        }
        if content.len() > settings.max_content {
            return Err(ErrorCode::MessageTooLarge);
        }
        let key = inbound.idempotency_key()?;
        let Some(seat) = self.chat.seats.get(&id) else {
            return ignored(inbound.id);
        };
        let channel = seat.channel.clone();
        self.authorize(id, Action::Publish, &channel)?;
        self.counters.publications += 1;
        let say = ChatDeed::Say {
            content: raw.get().into(),
            key: key.as_deref().map(Into::into),
            reply: inbound.id.map(|raw| raw.get().into()),
        };
        if self.do_in_room(now, &channel, id, say) {
            Ok(())
        } else {
            self.counters.publications_refused += 1;
            Err(ErrorCode::Overloaded)
        }
    }

    /// Tells the room's home what a connection does there. False: the way is full.
    pub(super) fn do_in_room(
        &mut self,
        now: Now,
        channel: &ChannelName,
        id: ConnectionId,
        deed: ChatDeed,
    ) -> bool {
        let home = self.placement.home_of_channel(channel);
        let message = ChatMessage {
            channel: channel.clone(),
            connection: id,
            deed,
        };
        if home == self.id {
            self.chat_message(now, message);
            return true;
        }
        let leaves = matches!(message.deed, ChatDeed::Leave);
        let message = ShardMessage::Chat(Box::new(message));
        if leaves {
            // There are as many of these as there were admitted.
            self.ends.post(home, Lane::Control, message);
            return true;
        }
        self.ends.send(home, Lane::Control, message).is_ok()
    }

    /// Takes a connection out of the room it is in; which that was.
    fn vacate(&mut self, id: ConnectionId) -> Option<ChannelName> {
        let seat = self.take_seat(id)?;
        if !seat.subscribed {
            self.leave_channel(id, &seat.channel);
        }
        // Who has left hears no more, not even of that.
        self.do_in_room(self.now, &seat.channel, id, ChatDeed::Leave);
        Some(seat.channel)
    }

    /// A connection leaves this channel for another reason: if that is its room, it has left that, too.
    pub(crate) fn vacate_with(&mut self, id: ConnectionId, channel: &str) {
        let seat = self.chat.seats.get(&id);
        if seat.is_some_and(|seat| *seat.channel == *channel) {
            self.take_seat(id);
            let channel = self.channel_name(channel);
            self.do_in_room(self.now, &channel, id, ChatDeed::Leave);
        }
    }

    fn take_seat(&mut self, id: ConnectionId) -> Option<Seat> {
        let mut seat = self.chat.seats.remove(&id)?;
        if let State::Joining(untold) = &mut seat.state {
            // It was on its way in, and is out again: both is said in order.
            for reply in std::mem::take(untold) {
                let reply = kept_reply(Some(reply));
                let room = room_of(&seat.channel);
                self.answer(id, |out| {
                    chat::room_joined(out, room, None, reply.as_deref())
                });
            }
        }
        Some(seat)
    }

    /// The home lets it in. An answer to an older question is not for this seat.
    pub(super) fn joined(
        &mut self,
        channel: &str,
        id: ConnectionId,
        ask: u32,
        (unix_ms, first): (u64, bool),
        (members, history): (Option<&[u8]>, Option<&[u8]>),
    ) {
        let Some(seat) = self.chat.seats.get_mut(&id).filter(|seat| seat.ask == ask) else {
            return;
        };
        let State::Joining(untold) = std::mem::replace(&mut seat.state, State::Joined) else {
            return;
        };
        let (user, name) = (shown(seat.user.as_ref(), id), seat.name.clone());
        self.open_door(id, channel);
        for reply in untold {
            let reply = kept_reply(Some(reply));
            self.answer(id, |out| {
                chat::room_joined(out, room_of(channel), members, reply.as_deref());
            });
        }
        if let Some(history) = history {
            self.answer(id, |out| out.extend_from_slice(history));
        }
        if !first {
            let (user, name) = (&*user, &*name);
            self.answer(id, |out| {
                chat::user_joined(out, chat::Member { user, name }, unix_ms);
            });
        }
    }

    /// The home does not let it in: it is in no room.
    pub(super) fn not_joined(&mut self, id: ConnectionId, ask: u32, code: ErrorCode) {
        let seat = self.chat.seats.get(&id);
        if seat.is_none_or(|seat| seat.ask != ask) {
            return;
        }
        let Some(seat) = self.chat.seats.remove(&id) else {
            return;
        };
        if !seat.subscribed {
            self.leave_channel(id, &seat.channel);
        }
        let State::Joining(untold) = seat.state else {
            return;
        };
        if untold.is_empty() {
            self.answer_error(id, code, None);
        }
        for reply in untold {
            let reply = kept_reply(Some(reply));
            self.answer_error(id, code, reply.as_deref());
        }
    }

    /// Permissions changed: whoever could join its room `before` and cannot now is out of it, and is told.
    pub(crate) fn leave_forbidden_room(&mut self, id: ConnectionId, before: &Identity) {
        let Some(channel) = self.chat.seats.get(&id).map(|seat| seat.channel.clone()) else {
            return;
        };
        let permissions = &self.settings.permissions;
        if permissions.allow(Action::Join, &channel, Some(before))
            && self.authorize(id, Action::Join, &channel).is_err()
        {
            self.vacate(id);
            self.answer(id, |out| {
                outbound::taken_out(out, &channel, ErrorCode::NotPermitted);
            });
        }
    }

    /// The channel that a connection listens to because it is in that room, or on its way in.
    pub(crate) fn room_entered(&self, id: ConnectionId) -> Option<ChannelName> {
        let seat = self.chat.seats.get(&id).filter(|seat| !seat.subscribed)?;
        Some(seat.channel.clone())
    }

    /// A connection is over: nothing is said to it any more.
    pub(crate) fn leave_room_for_good(&mut self, id: ConnectionId) {
        if let Some(seat) = self.chat.seats.remove(&id) {
            self.do_in_room(self.now, &seat.channel, id, ChatDeed::Leave);
        }
    }
}

impl Seat {
    pub(super) fn channel(&self) -> &ChannelName {
        &self.channel
    }
}

impl Member {
    /// As others read of it.
    pub(super) fn shown(&self, id: ConnectionId) -> Arc<str> {
        shown(self.user.as_ref(), id)
    }
}

/// What only a member may do has no effect for others (contract C3); who gave an `id` is told so.
pub(super) fn ignored(reply: Option<&RawValue>) -> Result<(), ErrorCode> {
    match reply {
        None => Ok(()),
        Some(_) => Err(ErrorCode::NotJoined),
    }
}
