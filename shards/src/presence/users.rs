//! Users' presence: what they and their services say of them, and their coming and going.

use serde_json::value::RawValue;
use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::envelope::Inbound;

use super::{Due, told_about};
use crate::connections::Flags;
use crate::mesh::Lane;
use crate::shard::Shard;
use crate::vocabulary::{
    Asker, ConnectionId, Now, PresenceAnswer, PresenceChange, PresenceCommand, PresenceMessage,
    ShardMessage, UserId,
};

impl Shard {
    /// A client says something of itself (contract R4).
    pub(crate) fn set_own_presence(
        &mut self,
        now: Now,
        id: ConnectionId,
        inbound: &Inbound<'_>,
    ) -> Result<(), ErrorCode> {
        let change = PresenceChange::from_written(inbound.presence()?)?;
        let connection = self.registry.get(id).ok_or(ErrorCode::NotPermitted)?;
        // Nobody in particular has no presence.
        let user = connection.user.clone().ok_or(ErrorCode::NotPermitted)?;
        let asker = Asker::Client {
            connection: id,
            reply: inbound.id.map(|raw| raw.get().into()),
        };
        if connection.flags.has(Flags::SILENT) {
            // Before the change, so that the answer shows it.
            self.breaks_silence(now, id);
        }
        self.set_presence(now, user, change, asker);
        Ok(())
    }

    /// Changes a user's presence at its home. The change was checked.
    pub(crate) fn set_presence(
        &mut self,
        now: Now,
        user: UserId,
        change: PresenceChange,
        asker: Asker,
    ) {
        let home = self.placement.home_of_user(&user);
        if home == self.id {
            return self.set_presence_at_home(now, user, change, asker);
        }
        if self.ends.is_full(home, Lane::Control) {
            return self.answer_presence(asker, PresenceAnswer::Refused(ErrorCode::Overloaded));
        }
        let message = PresenceMessage::Set {
            user,
            change: Box::new(change),
            asker,
        };
        self.ends
            .post(home, Lane::Control, ShardMessage::Presence(message));
    }

    fn set_presence_at_home(
        &mut self,
        now: Now,
        user: UserId,
        change: PresenceChange,
        asker: Asker,
    ) {
        let connected = self.directory.has(&user);
        let settings = &self.settings.presence;
        let set = self
            .presences
            .records
            .set(now, &user, change, connected, settings);
        self.counters.presence_changes += u64::from(set.is_ok());
        self.arm_record(&user);
        let answer = match set {
            Ok(presence) => PresenceAnswer::Users(vec![(user, presence)]),
            Err(code) => PresenceAnswer::Refused(code),
        };
        self.answer_presence(asker, answer);
    }

    /// At home: a connection of this user was counted in.
    pub(crate) fn user_came(&mut self, now: Now, user: &UserId) {
        if self.presences.records.len() > 0 {
            self.presences.records.speaks(now, user, true);
            self.arm_record(user);
        }
    }

    /// At home: a connection of this user was counted out.
    pub(crate) fn user_went(&mut self, now: Now, user: &UserId) {
        if self.presences.records.len() > 0 && !self.directory.has(user) {
            let settings = &self.settings.presence;
            self.presences.records.went(now, user, settings);
            self.arm_record(user);
        }
    }

    /// Looks at everything of which it is time.
    pub(crate) fn sweep_presence(&mut self, now: Now) {
        let tick = self.tick(now);
        let mut due = std::mem::take(&mut self.presences.due);
        if let Some(wheel) = &mut self.presences.wheel {
            wheel.advance(tick, |it| due.push(it));
        }
        for it in due.drain(..) {
            match it {
                Due::Record(user) => {
                    let connected = self.directory.has(&user);
                    let settings = &self.settings.presence;
                    let records = &mut self.presences.records;
                    if records.look_at(now, &user, connected, settings) {
                        self.ask_heard(now, &user);
                    }
                    self.arm_record(&user);
                }
                Due::Member(told_in, user) => self.look_at_member(now, &told_in, &user),
                Due::Changes(told_in) => self.tell_gathered(now, &told_in),
            }
        }
        self.presences.due = due;
    }

    /// Something from another shard.
    pub(crate) fn presence_message(&mut self, now: Now, message: PresenceMessage) {
        match message {
            PresenceMessage::Joined {
                told_in,
                user,
                connection,
            } => self.member_joined(now, &told_in, user, connection),
            PresenceMessage::Left {
                told_in,
                user,
                connection,
            } => self.member_left(now, &told_in, &user, connection),
            PresenceMessage::Watch {
                told_in,
                connection,
            } => self.watch(now, &told_in, connection),
            PresenceMessage::State {
                told_in,
                connection,
                frame,
            } => self.give_state(&told_in, connection, frame),
            PresenceMessage::AskMembers {
                told_in,
                asker,
                limit,
            } => self.answer_members(&told_in, asker, limit),
            PresenceMessage::Set {
                user,
                change,
                asker,
            } => self.set_presence_at_home(now, user, *change, asker),
            PresenceMessage::Room { user, room, inside } => {
                self.note_room_at_home(now, &user, &room, inside);
            }
            PresenceMessage::Ask {
                users,
                found,
                asker,
            } => self.find_presence(now, users, found, asker),
            PresenceMessage::AskHeard {
                user,
                connections,
                since_ms,
                shard,
                round,
            } => self.answer_heard(now, user, &connections, since_ms, shard, round),
            PresenceMessage::Heard {
                user,
                round,
                heard_ms,
            } => self.note_heard(now, &user, round, heard_ms),
            PresenceMessage::Spoke { user } => self.user_speaks(now, &user),
            PresenceMessage::Found { answer, found } => self.answer_outside(answer, found),
        }
    }

    /// Something asked for from outside.
    pub(crate) fn presence_command(&mut self, now: Now, command: PresenceCommand) {
        let outside = |answer| Asker::Outside {
            shard: self.id,
            answer,
        };
        match command {
            PresenceCommand::Set {
                user,
                change,
                answer,
            } => {
                let asker = answer.map_or(Asker::Nobody, outside);
                self.set_presence(now, user, *change, asker);
            }
            PresenceCommand::Get { users, answer } => {
                let asker = outside(answer);
                self.ask_presence(now, users, asker);
            }
            PresenceCommand::Members {
                channel,
                limit,
                answer,
            } => {
                let asker = outside(answer);
                self.ask_members(&channel, asker, limit);
            }
        }
    }

    /// What a client asks: of users, or who is in a channel (contract R5).
    pub(crate) fn get_presence(
        &mut self,
        now: Now,
        id: ConnectionId,
        inbound: &Inbound<'_>,
    ) -> Result<(), ErrorCode> {
        let reply: Option<&RawValue> = inbound.id;
        let asker = Asker::Client {
            connection: id,
            reply: reply.map(|raw| raw.get().into()),
        };
        match (inbound.ids()?, inbound.channel.as_deref()) {
            (Some(ids), None) => {
                let users = self.check_ids(id, &ids)?;
                self.ask_presence(now, users, asker);
            }
            (None, Some(channel)) => {
                // By either name: the channel itself, or that in which it is told.
                let channel = told_about(channel).unwrap_or(channel);
                self.authorize_presence(id, channel)?;
                self.ask_members(channel, asker, 0);
            }
            _ => return Err(ErrorCode::InvalidMessage),
        }
        Ok(())
    }
}
