//! Joining and leaving an audience (contract B2, B3, B5, B6).

use serde_json::value::RawValue;

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::envelope::outbound;
use shardwire_protocol::websocket::frame;

use super::audience::{AudienceKey, Interest, Membership};
use super::names::{SHARD_COUNTS, is_valid_channel_name};
use crate::bounds::WAITING_PER_MEMBER_MAX;
use crate::mesh::Lane;
use crate::permissions::Action;
use crate::routing::kept_reply;
use crate::shard::Shard;
use crate::vocabulary::{ChannelName, ConnectionId, Now, ShardId, ShardMessage};

impl Shard {
    pub(crate) fn subscribe(
        &mut self,
        now: Now,
        id: ConnectionId,
        channel: &str,
        reply: Option<&RawValue>,
    ) {
        match self.authorize(id, Action::Subscribe, channel) {
            Ok(()) => self.join(now, id, channel, reply),
            Err(code) => self.answer_error(id, code, reply),
        }
    }

    /// The application subscribes a connection: no rule about clients is asked, but names are as for everybody.
    pub(crate) fn subscribe_for_application(&mut self, now: Now, id: ConnectionId, channel: &str) {
        match self.check_name(Action::Subscribe, channel) {
            Ok(()) => self.join(now, id, channel, None),
            Err(code) => self.answer_error(id, code, None),
        }
    }

    fn join(&mut self, now: Now, id: ConnectionId, channel: &str, reply: Option<&RawValue>) {
        let max_channels = self.settings.max_channels;
        // A handler may be late: what closes or has ended has left its channels, and must not come into one again.
        let Some(connection) = self.registry.get_mut(id).filter(|it| it.is_reachable()) else {
            return;
        };
        let existing = self.channels.audiences.find(channel);
        let member = existing.is_some_and(|key| {
            connection
                .memberships
                .iter()
                .any(|membership| membership.audience == key)
        });
        if !member && connection.memberships.len() >= max_channels {
            return self.answer_error(id, ErrorCode::TooManyChannels, reply);
        }
        let key = match existing {
            Some(key) => key,
            None => {
                let name: ChannelName = channel.into();
                let Some(interest) = self.announce_interest(now, &name) else {
                    return self.answer_error(id, ErrorCode::Overloaded, reply);
                };
                self.channels.audiences.create(name, interest)
            }
        };
        let (Some(audience), Some(connection)) = (
            self.channels.audiences.get_mut(key),
            self.registry.get_mut(id),
        ) else {
            return;
        };
        if !member {
            let position = u32::try_from(audience.members.len())
                .expect("an audience is at most all connections of a shard");
            audience.members.push(id);
            connection.memberships.push(Membership {
                audience: key,
                position,
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
        let Some(audience) = self.channels.audiences.get_mut(key) else {
            return;
        };
        match audience.interest {
            Interest::Noted => self.answer(id, |out| outbound::subscribed(out, channel, reply)),
            Interest::Asked(_)
                if audience.waiting.len() >= audience.members.len() * WAITING_PER_MEMBER_MAX =>
            {
                self.answer_error(id, ErrorCode::Overloaded, reply);
            }
            Interest::Asked(_) => audience
                .waiting
                .push((id, reply.map(|raw| raw.get().into()))),
        }
    }

    /// Tells the home that this shard has an audience now. None: the way there is full.
    fn announce_interest(&mut self, now: Now, channel: &ChannelName) -> Option<Interest> {
        let home = self.placement.home_of_channel(channel);
        if home == self.id {
            self.note_interest_here(now, channel.clone(), self.id, true);
            return Some(Interest::Noted);
        }
        let ask = self.channels.audiences.next_ask();
        let message = ShardMessage::Interest {
            channel: channel.clone(),
            shard: self.id,
            ask,
            on: true,
        };
        self.ends.send(home, Lane::Control, message).ok()?;
        Some(Interest::Asked(ask))
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
            self.ends.post(
                shard,
                Lane::Delivery,
                ShardMessage::Interested { channel, ask },
            );
        }
    }

    fn note_interest_here(&mut self, now: Now, channel: ChannelName, shard: ShardId, on: bool) {
        let counts = &*channel == SHARD_COUNTS;
        self.channels.homes.note(channel, shard, on);
        if counts {
            self.count_round.wanted(
                now,
                !self.channels.homes.interested(SHARD_COUNTS).is_empty(),
            );
        }
    }

    /// The home knows: everybody who waited is told. An answer to an older question is not for this audience.
    pub(crate) fn interest_noted(&mut self, channel: &str, ask: u32) {
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
        let waiting = std::mem::take(&mut audience.waiting);
        for (id, reply) in waiting {
            self.tell_subscribed(id, channel, reply);
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

    /// Takes a connection out of a channel, if it is in.
    pub(crate) fn leave_channel(&mut self, id: ConnectionId, channel: &str) {
        if let Some(key) = self.channels.audiences.find(channel)
            && let Some(connection) = self.registry.get_mut(id)
            && let Some(index) = connection
                .memberships
                .iter()
                .position(|membership| membership.audience == key)
        {
            let membership = connection.memberships.swap_remove(index);
            self.answer_waiting(id, key, channel);
            self.leave(id, membership);
        }
    }

    /// Whoever leaves before the home has answered still gets the answer to its `subscribe`, ahead of the next one.
    fn answer_waiting(&mut self, id: ConnectionId, key: AudienceKey, channel: &str) {
        let Some(audience) = self.channels.audiences.get_mut(key) else {
            return;
        };
        let mut own = Vec::new();
        audience.waiting.retain_mut(|(waiting, reply)| {
            if *waiting == id {
                own.push(reply.take());
            }
            *waiting != id
        });
        for reply in own {
            self.tell_subscribed(id, channel, reply);
        }
    }

    fn tell_subscribed(&mut self, id: ConnectionId, channel: &str, reply: Option<Box<str>>) {
        let reply = kept_reply(reply);
        self.answer(id, |out| {
            outbound::subscribed(out, channel, reply.as_deref())
        });
    }

    pub(crate) fn leave_all_channels(&mut self, id: ConnectionId) {
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        for membership in std::mem::take(&mut connection.memberships) {
            self.leave(id, membership);
        }
    }

    /// Takes one member out; the last one's place is filled by the last member, who is told its new position.
    fn leave(&mut self, id: ConnectionId, membership: Membership) {
        self.channels.memberships -= 1;
        let Some(audience) = self.channels.audiences.get_mut(membership.audience) else {
            return;
        };
        let position = membership.position as usize;
        debug_assert_eq!(audience.members[position], id);
        audience.members.swap_remove(position);
        audience.waiting.retain(|(waiting, _)| *waiting != id);
        if let Some(&moved) = audience.members.get(position)
            && let Some(connection) = self.registry.get_mut(moved)
            && let Some(theirs) = connection
                .memberships
                .iter_mut()
                .find(|theirs| theirs.audience == membership.audience)
        {
            theirs.position = membership.position;
        }
        let deflates = self
            .registry
            .get(id)
            .is_some_and(|connection| connection.extension.takes_shared());
        audience.deflating -= u32::from(deflates);
        if audience.members.is_empty() {
            if let Some(audience) = self.channels.audiences.remove(membership.audience) {
                self.end_interest(audience.name);
            }
        } else if deflates && audience.deflating == 0 {
            let name = audience.name.clone();
            self.announce_deflates(name, false);
        }
    }

    fn end_interest(&mut self, channel: ChannelName) {
        let home = self.placement.home_of_channel(&channel);
        if home == self.id {
            self.note_interest_here(Now::default(), channel, self.id, false);
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
