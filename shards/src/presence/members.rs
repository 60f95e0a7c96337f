//! Who is in a channel: reported by the shards of its subscribers, told by the home of the channel in which it is told.

use bytes::Bytes;
use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::envelope::PRESENCE_PREFIX;
use shardwire_protocol::websocket::frame;

use super::roster::Roster;
use super::{Due, Role, told_about};
use crate::channels::{AudienceKey, is_valid_channel_name};
use crate::mesh::Lane;
use crate::permissions::Action;
use crate::routing::kept_reply;
use crate::shard::Shard;
use crate::timers::tick_at;
use crate::vocabulary::{
    Asker, ChannelMembers, ChannelName, ConnectionId, Now, PresenceAnswer, PresenceMessage,
    ShardMessage, UserId,
};

fn told_in(channel: &str) -> ChannelName {
    format!("{PRESENCE_PREFIX}{channel}").into()
}

impl Shard {
    /// How a channel has to do with presence.
    pub(crate) fn presence_role(&self, channel: &str) -> Role {
        let settings = &self.settings.presence;
        if told_about(channel).is_some() {
            Role::Telling
        } else if settings.covers(channel) {
            Role::Counted(told_in(channel))
        } else {
            Role::None
        }
    }

    /// Whether it may be asked who is in a channel at all.
    pub(crate) fn is_counted(&self, channel: &str) -> bool {
        self.settings.presence.covers(channel) && is_valid_channel_name(&told_in(channel))
    }

    /// Whether this connection may be told who is in a channel.
    ///
    /// # Errors
    /// What the client is to be told.
    pub(super) fn authorize_presence(
        &self,
        id: ConnectionId,
        channel: &str,
    ) -> Result<(), ErrorCode> {
        self.authorize(id, Action::Presence, channel)?;
        if self.is_counted(channel) {
            Ok(())
        } else {
            Err(ErrorCode::NoPresence)
        }
    }

    /// Whether the way to whoever must know of one more subscriber is full.
    pub(crate) fn is_presence_full(&self, channel: &str, role: &Role) -> bool {
        let told_in = match role {
            Role::None => return false,
            Role::Counted(told_in) => told_in,
            Role::Telling => channel,
        };
        let home = self.placement.home_of_channel(told_in);
        home != self.id && self.ends.is_full(home, Lane::Control)
    }

    /// A connection has come into a channel: if it is known who is in it, whoever keeps that is told.
    pub(crate) fn count_in(&mut self, now: Now, key: AudienceKey, id: ConnectionId) {
        let Some(audience) = self.channels.audiences.get(key) else {
            return;
        };
        let Role::Counted(told_in) = audience.role.clone() else {
            return;
        };
        let user = self.registry.get(id).and_then(|it| it.user.clone());
        let Some(user) = user else { return };
        let home = self.placement.home_of_channel(&told_in);
        if home == self.id {
            return self.member_joined(now, &told_in, user, id);
        }
        let message = PresenceMessage::Joined {
            told_in,
            user,
            connection: id,
        };
        self.ends
            .post(home, Lane::Control, ShardMessage::Presence(message));
    }

    /// A connection has subscribed to a channel: if it is one in which it is told who is in another, it gets a state first.
    pub(crate) fn begin_to_watch(&mut self, now: Now, key: AudienceKey, id: ConnectionId) {
        let Some(audience) = self.channels.audiences.get(key) else {
            return;
        };
        if audience.role != Role::Telling {
            return;
        }
        let told_in = audience.name.clone();
        let home = self.placement.home_of_channel(&told_in);
        if home == self.id {
            return self.watch(now, &told_in, id);
        }
        let message = PresenceMessage::Watch {
            told_in,
            connection: id,
        };
        self.ends
            .post(home, Lane::Control, ShardMessage::Presence(message));
    }

    /// A connection is not a subscriber any more of a channel that is told in this one.
    pub(crate) fn leave_presence(&mut self, told_in: ChannelName, id: ConnectionId) {
        let user = self.registry.get(id).and_then(|it| it.user.clone());
        let Some(user) = user else { return };
        #[cfg(feature = "planted-faults")]
        if self.planted.strikes(crate::planted::Fault::ForgetLeave) {
            return;
        }
        let home = self.placement.home_of_channel(&told_in);
        if home == self.id {
            return self.member_left(self.now, &told_in, &user, id);
        }
        let message = PresenceMessage::Left {
            told_in,
            user,
            connection: id,
        };
        self.ends
            .post(home, Lane::Control, ShardMessage::Presence(message));
    }

    fn roster(&mut self, now: Now, told_in: &ChannelName) -> &mut Roster {
        if !self.presences.rosters.contains_key(told_in) {
            let roster = Roster::new(now.ms, told_in, &self.settings.presence);
            self.presences.rosters.insert(told_in.clone(), roster);
        }
        self.presences
            .rosters
            .get_mut(told_in)
            .expect("inserted just above")
    }

    /// At home: a connection of a user is in the channel.
    pub(super) fn member_joined(
        &mut self,
        now: Now,
        told_in: &ChannelName,
        user: UserId,
        connection: ConnectionId,
    ) {
        self.roster(now, told_in).join(user, connection);
        self.tell_of(now, told_in, false);
    }

    /// At home: a connection of a user is not in the channel any more.
    pub(super) fn member_left(
        &mut self,
        now: Now,
        told_in: &ChannelName,
        user: &UserId,
        connection: ConnectionId,
    ) {
        let grace_ms = self.settings.presence.grace_ms;
        let Some(roster) = self.presences.rosters.get_mut(told_in) else {
            return;
        };
        if !roster.leave(now.ms, user, connection) {
            return;
        }
        if grace_ms == 0 {
            return self.look_at_member(now, told_in, user);
        }
        let at = tick_at(now.ms.saturating_add(grace_ms));
        self.presences
            .arm(at, Due::Member(told_in.clone(), user.clone()));
    }

    /// At home: a user's grace period may be over.
    pub(super) fn look_at_member(&mut self, now: Now, told_in: &ChannelName, user: &UserId) {
        let grace_ms = self.settings.presence.grace_ms;
        if let Some(roster) = self.presences.rosters.get_mut(told_in) {
            roster.look_at(now.ms, user, grace_ms);
            self.tell_of(now, told_in, false);
            self.forget_if_over(told_in);
        }
    }

    /// At home: a connection begins to watch.
    pub(super) fn watch(&mut self, now: Now, told_in: &ChannelName, connection: ConnectionId) {
        // Its shard may have lost interest since.
        let watched = !self.channels.homes.interested(told_in).is_empty();
        let settings = std::sync::Arc::clone(&self.settings);
        let channel = told_about(told_in).unwrap_or(told_in);
        let roster = self.roster(now, told_in);
        roster.set_watched(watched, &settings.presence);
        let frame = roster.state(channel);
        self.counters.presence_states += 1;
        if connection.shard() == self.id {
            self.give_state(told_in, connection, frame);
        } else {
            let state = PresenceMessage::State {
                told_in: told_in.clone(),
                connection,
                frame,
            };
            self.ends.post(
                connection.shard(),
                Lane::Delivery,
                ShardMessage::Presence(state),
            );
        }
        self.forget_if_over(told_in);
    }

    /// Who is in a channel, for one of this shard's connections, unless it does not watch any more. What arrives while the home has
    /// still to answer was meant for an audience that has left since.
    pub(super) fn give_state(&mut self, told_in: &str, id: ConnectionId, frame: Bytes) {
        if self.is_noted_member(told_in, id) {
            self.give_each(&[id], frame);
        }
    }

    /// At home: no shard has an audience any more for this channel.
    pub(crate) fn unwatched(&mut self, told_in: &ChannelName) {
        let watched = !self.channels.homes.interested(told_in).is_empty();
        let settings = &self.settings.presence;
        if let Some(roster) = self.presences.rosters.get_mut(told_in)
            && !watched
        {
            roster.set_watched(false, settings);
            self.forget_if_over(told_in);
        }
    }

    fn forget_if_over(&mut self, told_in: &ChannelName) {
        let roster = self.presences.rosters.get(told_in);
        if roster.is_some_and(Roster::is_over) {
            self.presences.rosters.remove(told_in);
        }
    }

    /// At home: the interval is over in which changes were gathered.
    pub(super) fn tell_gathered(&mut self, now: Now, told_in: &ChannelName) {
        if let Some(roster) = self.presences.rosters.get_mut(told_in) {
            roster.armed = false;
            self.tell_of(now, told_in, true);
        }
    }

    /// At home: tells all who watch what there is to tell now, and sees that the rest follows.
    fn tell_of(&mut self, now: Now, told_in: &ChannelName, over: bool) {
        let settings = std::sync::Arc::clone(&self.settings);
        let settings = &settings.presence;
        let channel = told_about(told_in).unwrap_or(told_in);
        let Some(roster) = self.presences.rosters.get_mut(told_in) else {
            return;
        };
        let mut text = std::mem::take(&mut self.presences.text);
        let telling = roster.next(now.ms, channel, over, settings, &mut text);
        if let Some(telling) = telling {
            let bytes = frame::header_len(text.len()) + text.len();
            // Refused, it stays untold, and is told together with what follows.
            let taken = self.ways_are_free(told_in);
            if taken {
                self.tell_audience(told_in, &[], |out| out.extend_from_slice(&text));
            }
            self.counters.presence_messages += u64::from(taken);
            self.counters.presence_refused += u64::from(!taken);
            if taken && let Some(roster) = self.presences.rosters.get_mut(told_in) {
                roster.tell(telling, bytes);
            }
        }
        self.presences.text = text;
        let Some(roster) = self.presences.rosters.get_mut(told_in) else {
            return;
        };
        if !roster.armed && roster.waits(settings) {
            roster.armed = true;
            let at = tick_at(now.ms.saturating_add(settings.batch_interval_ms));
            self.presences.arm(at, Due::Changes(told_in.clone()));
        }
    }

    /// Finds out who is in a channel, and tells whoever asks.
    pub(super) fn ask_members(&mut self, channel: &str, asker: Asker, limit: usize) {
        let told_in = told_in(channel);
        let home = self.placement.home_of_channel(&told_in);
        if home == self.id {
            return self.answer_members(&told_in, asker, limit);
        }
        if self.ends.is_full(home, Lane::Control) {
            return self.answer_presence(asker, PresenceAnswer::Refused(ErrorCode::Overloaded));
        }
        let message = PresenceMessage::AskMembers {
            told_in,
            asker,
            limit,
        };
        self.ends
            .post(home, Lane::Control, ShardMessage::Presence(message));
    }

    /// At home: who is in the channel. To a client in the lane of deliveries, so that it keeps its place among what all are told.
    pub(super) fn answer_members(&mut self, told_in: &str, asker: Asker, limit: usize) {
        let roster = self.presences.rosters.get_mut(told_in);
        match asker {
            Asker::Client { connection, reply } => {
                let reply = kept_reply(reply);
                let channel = told_about(told_in).unwrap_or(told_in);
                let text = match roster {
                    Some(roster) => {
                        roster.answer(channel, &self.settings.presence, reply.as_deref())
                    }
                    None => Roster::answer_of_none(channel, reply.as_deref()),
                };
                self.answer_client(connection, text, Lane::Delivery);
            }
            asker => {
                let members = roster.map_or_else(ChannelMembers::default, |it| it.first(limit));
                self.answer_presence(asker, PresenceAnswer::Members(members));
            }
        }
    }
}
