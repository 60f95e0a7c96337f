//! Joining and leaving an audience (contract B2, B3, B5, B6).

use serde_json::value::RawValue;

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::envelope::outbound;
use shardwire_protocol::websocket::frame;

use super::audience::{AudienceKey, Interest, Membership, SinceAsked, Waiting};
use super::lag::{Cursor, Lag};
use super::names::{SHARD_COUNTS, is_document_channel, is_reserved, is_valid_channel_name};
use super::place_on_the_wire;
use crate::bounds::WAITING_PER_MEMBER_MAX;
use crate::connections::Connection;
use crate::history::SlowPolicy;
use crate::mesh::Lane;
use crate::permissions::Action;
use crate::presence::{Role, told_about};
use crate::routing::kept_reply;
use crate::shard::Shard;
use crate::vocabulary::{ChannelName, ConnectionId, Now, Position, ShardId, ShardMessage};

impl Shard {
    /// `since`: where the client says it has been.
    pub(crate) fn subscribe(
        &mut self,
        now: Now,
        id: ConnectionId,
        channel: &str,
        since: Option<SinceAsked>,
        reply: Option<&RawValue>,
    ) {
        match self.authorize(id, Action::Subscribe, channel) {
            Ok(()) => self.join(now, id, channel, since, reply),
            Err(code) => self.answer_error(id, code, reply),
        }
    }

    /// The application subscribes a connection: no rule about clients is asked, but names are as for everybody.
    pub(crate) fn subscribe_for_application(&mut self, now: Now, id: ConnectionId, channel: &str) {
        match self.check_name(Action::Subscribe, channel) {
            Ok(()) => self.join(now, id, channel, None, None),
            Err(code) => self.answer_error(id, code, None),
        }
    }

    fn join(
        &mut self,
        now: Now,
        id: ConnectionId,
        channel: &str,
        since: Option<SinceAsked>,
        reply: Option<&RawValue>,
    ) {
        // A handler may be late: what closes or has ended has left its channels, and must not come into one again.
        if !self.registry.get(id).is_some_and(Connection::is_reachable) {
            return;
        }
        let (key, member) = match self.enter_audience(now, id, channel) {
            Ok(entered) => entered,
            Err(code) => return self.answer_error(id, code, reply),
        };
        let Some(audience) = self.channels.audiences.get_mut(key) else {
            return;
        };
        // Who is in already has got, or gets, everything since it came in.
        let since = since.filter(|_| !member);
        let reply_kept = reply.map(|raw| raw.get().into());
        match audience.interest {
            Interest::Noted => self.begin_subscription(key, id, channel, since, reply_kept),
            Interest::Asked(_)
                if audience.waiting.len() >= audience.len() * WAITING_PER_MEMBER_MAX =>
            {
                self.answer_error(id, ErrorCode::Overloaded, reply);
            }
            Interest::Asked(_) => audience.waiting.push(Waiting {
                id,
                reply: reply_kept,
                since,
            }),
        }
        if !member {
            self.begin_to_watch(now, key, id);
        }
    }

    /// Makes an open connection a member of a channel's audience, and tells the channel's home if it is the first; whether it was one
    /// before.
    ///
    /// # Errors
    /// `TooManyChannels` or `Overloaded`.
    pub(crate) fn enter_audience(
        &mut self,
        now: Now,
        id: ConnectionId,
        channel: &str,
    ) -> Result<(AudienceKey, bool), ErrorCode> {
        let max_channels = self.settings.max_channels;
        let connection = self.registry.get(id).ok_or(ErrorCode::Overloaded)?;
        let existing = self.channels.audiences.find(channel);
        let member = existing.is_some_and(|key| {
            connection
                .memberships
                .iter()
                .any(|membership| membership.audience == key)
        });
        if !member && connection.memberships.len() >= max_channels {
            return Err(ErrorCode::TooManyChannels);
        }
        let known = existing.and_then(|key| self.channels.audiences.get(key));
        let role = match known {
            Some(audience) => audience.role.clone(),
            None => self.presence_role(channel),
        };
        if !member && self.is_presence_full(channel, &role) {
            return Err(ErrorCode::Overloaded);
        }
        let key = match existing {
            Some(key) => key,
            None => {
                let name: ChannelName = channel.into();
                let announced = self.announce_interest(now, &name);
                let (interest, place) = announced.ok_or(ErrorCode::Overloaded)?;
                let slow = self.settings.channels.slow_policy_of(channel);
                let audiences = &mut self.channels.audiences;
                audiences.create(name, interest, place, slow, role)
            }
        };
        if !member {
            self.enter(key, id);
            self.count_in(now, key, id);
        }
        Ok((key, member))
    }

    /// Puts a connection into an audience it is not in.
    fn enter(&mut self, key: AudienceKey, id: ConnectionId) {
        self.scatter_all_of(key);
        let (Some(audience), Some(connection)) = (
            self.channels.audiences.get_mut(key),
            self.registry.get_mut(id),
        ) else {
            return;
        };
        let position = u32::try_from(audience.members.len())
            .expect("an audience is at most all connections of a shard");
        audience.members.push(id);
        connection.memberships.push(Membership {
            audience: key,
            position,
            lags: false,
        });
        self.channels.memberships += 1;
        if connection.extension.takes_shared() {
            audience.deflating += 1;
            if audience.deflating == 1 {
                let name = audience.name.clone();
                self.announce_deflates(name, true);
            }
        }
    }

    /// Puts a connection into the audience of one of the server's own channels, whose home knows by itself who listens and has just
    /// said so: what it publishes from here on is for this connection, too.
    pub(crate) fn hear_from_home(&mut self, id: ConnectionId, channel: &ChannelName) {
        let key = match self.channels.audiences.find(channel) {
            Some(key) => key,
            None => {
                let slow = SlowPolicy::Disconnect;
                let audiences = &mut self.channels.audiences;
                audiences.create(channel.clone(), Interest::Noted, None, slow, Role::None)
            }
        };
        let connection = self.registry.get(id);
        let memberships = connection.map(|connection| connection.memberships.iter());
        if memberships.is_some_and(|mut all| all.all(|membership| membership.audience != key)) {
            self.enter(key, id);
        }
    }

    /// Those who were in the audience at a door that opens now are level with the others.
    pub(crate) fn open_door(&mut self, id: ConnectionId, channel: &str) {
        let Some(key) = self.channels.audiences.find(channel) else {
            return;
        };
        let Some(Lag::Door(untold)) = self.lag_mut(key, id) else {
            return;
        };
        let untold = std::mem::take(untold);
        self.set_level(key, id);
        let place = self.channels.audiences.get(key).and_then(|it| it.place);
        for reply in untold {
            self.tell_subscribed(id, channel, place, None, reply);
        }
    }

    /// The home knows of this audience: a subscription begins, or (asked for again) is told where it is.
    fn begin_subscription(
        &mut self,
        key: AudienceKey,
        id: ConnectionId,
        channel: &str,
        since: Option<SinceAsked>,
        reply: Option<Box<str>>,
    ) {
        if let Some(Lag::Door(untold)) = self.lag_mut(key, id) {
            if untold.len() < WAITING_PER_MEMBER_MAX {
                return untold.push(reply);
            }
            let reply = kept_reply(reply);
            return self.answer_error(id, ErrorCode::Overloaded, reply.as_deref());
        }
        let Some(place) = self
            .channels
            .audiences
            .get(key)
            .and_then(|audience| audience.place)
        else {
            // Nothing is kept, so nothing can be recovered.
            let recovered = since.map(|_| false);
            return self.tell_subscribed(id, channel, None, recovered, reply);
        };
        let mut reached = place;
        if let Some(lag) = self.lag_mut(key, id) {
            if let Lag::Log(cursor) = lag
                && !cursor.untold.is_empty()
            {
                if cursor.untold.len() < WAITING_PER_MEMBER_MAX {
                    return cursor.untold.push(reply);
                }
                let reply = kept_reply(reply);
                return self.answer_error(id, ErrorCode::Overloaded, reply.as_deref());
            }
            reached = lag.reached(place);
        }
        let Some(SinceAsked(since)) = since else {
            return self.tell_subscribed(id, channel, Some(reached), None, reply);
        };
        match since {
            Some(since) if since == place => {
                self.counters.recoveries += 1;
                self.tell_subscribed(id, channel, Some(place), Some(true), reply);
            }
            Some(since) if since.epoch == place.epoch && since.offset < place.offset => {
                let cursor = Cursor {
                    next: since.offset + 1,
                    asked: None,
                    untold: vec![reply],
                };
                self.set_lagging(key, id, Lag::Log(cursor));
                self.has_drained(id);
            }
            // Another life of the log, or a place it has not come to.
            _ => {
                self.counters.recoveries_incomplete += 1;
                self.tell_subscribed(id, channel, Some(place), Some(false), reply);
            }
        }
    }

    /// Tells the home that this shard has an audience now, and where the channel's log stands if that is here. None: the way
    /// there is full.
    fn announce_interest(
        &mut self,
        now: Now,
        channel: &ChannelName,
    ) -> Option<(Interest, Option<Position>)> {
        let home = self.placement.home_of_channel(channel);
        if home == self.id {
            self.note_interest_here(now, channel.clone(), self.id, true);
            let log = self.channels.homes.log(channel);
            return Some((Interest::Noted, log.map(|log| log.position())));
        }
        let ask = self.channels.audiences.next_ask();
        let message = ShardMessage::Interest {
            channel: channel.clone(),
            shard: self.id,
            ask,
            on: true,
        };
        self.ends.send(home, Lane::Control, message).ok()?;
        Some((Interest::Asked(ask), None))
    }

    /// Tells the home whether some of this shard's audience take compressed broadcasts.
    fn announce_deflates(&mut self, channel: ChannelName, on: bool) {
        let home = self.placement.home_of_channel(&channel);
        if home == self.id {
            self.channels.homes.note_deflates(&channel, self.id, on);
        } else {
            let message = ShardMessage::Deflates {
                channel,
                shard: self.id,
                on,
            };
            self.ends.post(home, Lane::Control, message);
        }
    }

    /// At home: a shard's audience begins or ends.
    pub(crate) fn note_interest(
        &mut self,
        now: Now,
        channel: ChannelName,
        shard: ShardId,
        ask: u32,
        on: bool,
    ) {
        self.note_interest_here(now, channel.clone(), shard, on);
        if on {
            let log = self.channels.homes.log(&channel);
            let place = log.map(|log| log.position());
            self.ends.post(
                shard,
                Lane::Delivery,
                ShardMessage::Interested {
                    channel,
                    ask,
                    place,
                },
            );
        }
    }

    fn note_interest_here(&mut self, now: Now, channel: ChannelName, shard: ShardId, on: bool) {
        let counts = &*channel == SHARD_COUNTS;
        if on {
            // Without room for one more log the channel goes without: its subscribers are given no place.
            self.begin_log(now, &channel);
        }
        self.channels.homes.note(channel.clone(), shard, on);
        if !on && let Some(log) = self.channels.homes.log_mut(&channel) {
            log.touched = log.touched.max(now.ms);
            self.look_after_log(now, &channel);
        }
        if !on {
            self.unwatched(&channel);
        }
        if counts {
            self.count_round.wanted(
                now,
                !self.channels.homes.interested(SHARD_COUNTS).is_empty(),
            );
        }
    }

    /// Whether the connection is in this channel's audience, and the home knows of that.
    pub(crate) fn is_noted_member(&self, channel: &str, id: ConnectionId) -> bool {
        let audiences = &self.channels.audiences;
        let Some(key) = audiences.find(channel) else {
            return false;
        };
        let noted = audiences
            .get(key)
            .is_some_and(|audience| audience.interest == Interest::Noted);
        noted
            && self.registry.get(id).is_some_and(|connection| {
                let mut memberships = connection.memberships.iter();
                memberships.any(|membership| membership.audience == key)
            })
    }

    /// The home knows: everybody who waited is told. An answer to an older question is not for this audience.
    pub(crate) fn interest_noted(&mut self, channel: &str, ask: u32, place: Option<Position>) {
        let Some(key) = self.channels.audiences.find(channel) else {
            return;
        };
        let Some(audience) = self.channels.audiences.get_mut(key) else {
            return;
        };
        if audience.interest != Interest::Asked(ask) {
            return;
        }
        audience.interest = Interest::Noted;
        audience.place = place;
        for waiting in std::mem::take(&mut audience.waiting) {
            self.begin_subscription(key, waiting.id, channel, waiting.since, waiting.reply);
        }
    }

    /// Leaving a channel one is not in is answered alike: the outcome is what was asked for.
    pub(crate) fn unsubscribe(
        &mut self,
        id: ConnectionId,
        channel: &str,
        reply: Option<&RawValue>,
    ) {
        if !is_valid_channel_name(channel) {
            return self.answer_error(id, ErrorCode::InvalidChannel, reply);
        }
        if is_reserved(channel) && channel != SHARD_COUNTS && told_about(channel).is_none() {
            // One is in there by other means than `subscribe`.
            return self.answer_error(id, ErrorCode::ReservedChannel, reply);
        }
        self.leave_channel(id, channel);
        if self
            .registry
            .get(id)
            .is_some_and(|connection| connection.is_open())
        {
            self.counters.messages_sent += 1;
            self.write(id, |out| {
                frame::write_text_with(out, |out| outbound::unsubscribed(out, channel, reply))
            });
        }
    }

    /// Takes a connection out of a channel, if it is in; out of a room, if the channel is that of the room it is in.
    pub(crate) fn leave_channel(&mut self, id: ConnectionId, channel: &str) {
        self.leave_audience(id, channel);
        self.vacate_with(id, channel);
    }

    fn leave_audience(&mut self, id: ConnectionId, channel: &str) {
        let Some(key) = self.channels.audiences.find(channel) else {
            return;
        };
        self.answer_waiting(id, key, channel);
        if let Some(connection) = self.registry.get_mut(id)
            && let Some(index) = connection
                .memberships
                .iter()
                .position(|membership| membership.audience == key)
        {
            let membership = connection.memberships.swap_remove(index);
            self.leave(id, membership);
        }
    }

    /// Whoever leaves before the home has answered still gets the answer to its `subscribe`, ahead of the next one. Nothing was
    /// recovered for it.
    fn answer_waiting(&mut self, id: ConnectionId, key: AudienceKey, channel: &str) {
        let Some(audience) = self.channels.audiences.get_mut(key) else {
            return;
        };
        let mut place = audience.place;
        let mut own = Vec::new();
        audience.waiting.retain_mut(|waiting| {
            if waiting.id == id {
                own.push((waiting.reply.take(), waiting.since.is_some()));
            }
            waiting.id != id
        });
        if let Some(lag) = self.lag_mut(key, id) {
            place = place.map(|live| lag.reached(live));
        }
        match self.lag_mut(key, id) {
            Some(Lag::Log(cursor)) => {
                own.extend(cursor.untold.drain(..).map(|reply| (reply, true)));
            }
            Some(Lag::Door(untold)) => own.extend(untold.drain(..).map(|reply| (reply, false))),
            _ => {}
        }
        for (reply, asked_since) in own {
            let recovered = asked_since.then_some(false);
            self.tell_subscribed(id, channel, place, recovered, reply);
        }
    }

    pub(super) fn tell_subscribed(
        &mut self,
        id: ConnectionId,
        channel: &str,
        place: Option<Position>,
        recovered: Option<bool>,
        reply: Option<Box<str>>,
    ) {
        let reply = kept_reply(reply);
        let place = place.map(place_on_the_wire);
        self.answer(id, |out| {
            outbound::subscribed(out, channel, place, recovered, reply.as_deref());
        });
    }

    pub(crate) fn leave_all_channels(&mut self, id: ConnectionId) {
        self.scatter_all_for(id);
        while let Some(connection) = self.registry.get_mut(id)
            && let Some(membership) = connection.memberships.pop()
        {
            self.leave(id, membership);
        }
    }

    /// Takes one member out of the audience; it is out of its own list already.
    fn leave(&mut self, id: ConnectionId, membership: Membership) {
        self.channels.memberships -= 1;
        self.take_place(membership);
        self.note_lagging(id);
        let Some(audience) = self.channels.audiences.get_mut(membership.audience) else {
            return;
        };
        audience.waiting.retain(|waiting| waiting.id != id);
        if let Role::Counted(told_in) = &audience.role {
            let told_in = told_in.clone();
            self.leave_presence(told_in, id);
        }
        let Some(audience) = self.channels.audiences.get_mut(membership.audience) else {
            return;
        };
        let deflates = self
            .registry
            .get(id)
            .is_some_and(|connection| connection.extension.takes_shared());
        audience.deflating -= u32::from(deflates);
        if audience.len() == 0 {
            if let Some(audience) = self.channels.audiences.remove(membership.audience) {
                self.end_interest(audience.name);
            }
        } else if deflates && audience.deflating == 0 {
            let name = audience.name.clone();
            self.announce_deflates(name, false);
        }
    }

    fn end_interest(&mut self, channel: ChannelName) {
        if is_document_channel(&channel) {
            return;
        }
        let home = self.placement.home_of_channel(&channel);
        if home == self.id {
            self.note_interest_here(self.now, channel, self.id, false);
        } else {
            let message = ShardMessage::Interest {
                channel,
                shard: self.id,
                ask: 0,
                on: false,
            };
            self.ends.post(home, Lane::Control, message);
        }
    }
}
