//! Questions about users, which go from home to home, and answers.

use bytes::Bytes;
use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::envelope::{Text, presence};

use crate::bounds::PRESENCE_IDS_MAX;
use crate::mesh::Lane;
use crate::permissions::Action;
use crate::routing::kept_reply;
use crate::shard::Shard;
use crate::vocabulary::{
    Answer, AnswerId, Asker, ConnectionId, Effect, Now, Presence, PresenceAnswer, PresenceMessage,
    ShardMessage, UserId, is_valid_user,
};

impl Shard {
    /// The users a client asks for, if it may.
    pub(super) fn check_ids(
        &self,
        id: ConnectionId,
        ids: &[Text<'_>],
    ) -> Result<Vec<UserId>, ErrorCode> {
        if ids.len() > PRESENCE_IDS_MAX {
            return Err(ErrorCode::MessageTooLarge);
        }
        let own = self.registry.get(id).and_then(|it| it.user.clone());
        ids.iter()
            .map(|user| {
                if !is_valid_user(user) {
                    return Err(ErrorCode::InvalidMessage);
                }
                if own.as_deref() != Some(&**user) {
                    self.authorize(id, Action::Presence, &format!("@{}", &**user))?;
                }
                Ok(UserId::from(&**user))
            })
            .collect()
    }

    /// Finds out what is known of these users, and tells whoever asks.
    pub(super) fn ask_presence(&mut self, now: Now, mut users: Vec<UserId>, asker: Asker) {
        // Each home once, this shard's own last: it is where the answer goes.
        let placement = self.placement;
        let here = self.id;
        users.sort_by_key(|user| {
            let home = placement.home_of_user(user);
            (home != here, home)
        });
        users.dedup();
        let found = Vec::with_capacity(users.len());
        self.find_presence(now, users, found, asker);
    }

    /// Adds what is known here, and passes the rest on.
    pub(super) fn find_presence(
        &mut self,
        now: Now,
        mut users: Vec<UserId>,
        mut found: Vec<(UserId, Presence)>,
        asker: Asker,
    ) {
        while let Some(user) = users.pop() {
            let home = self.placement.home_of_user(&user);
            if home == self.id {
                let connected = self.directory.has(&user);
                let presence = self.presences.records.get(now, &user, connected);
                found.push((user, presence));
                continue;
            }
            users.push(user);
            if self.ends.is_full(home, Lane::Control) {
                let refused = PresenceAnswer::Refused(ErrorCode::Overloaded);
                return self.answer_presence(asker, refused);
            }
            let message = PresenceMessage::Ask {
                users,
                found,
                asker,
            };
            return self
                .ends
                .post(home, Lane::Control, ShardMessage::Presence(message));
        }
        self.answer_presence(asker, PresenceAnswer::Users(found));
    }

    /// Tells whoever asked, wherever it is.
    pub(super) fn answer_presence(&mut self, asker: Asker, answer: PresenceAnswer) {
        match asker {
            Asker::Nobody => {}
            Asker::Outside { shard, answer: id } if shard == self.id => {
                self.answer_outside(id, answer);
            }
            Asker::Outside { shard, answer: id } => {
                let found = PresenceMessage::Found {
                    answer: id,
                    found: answer,
                };
                self.ends
                    .post(shard, Lane::Control, ShardMessage::Presence(found));
            }
            Asker::Client { connection, reply } => match answer {
                PresenceAnswer::Users(users) => {
                    let reply = kept_reply(reply);
                    let mut text = Vec::new();
                    let shown = users.iter().map(|(user, it)| (&**user, it.shown()));
                    presence::update(&mut text, shown, reply.as_deref());
                    self.answer_client(connection, text, Lane::Control);
                }
                PresenceAnswer::Refused(code) if connection.shard() == self.id => {
                    self.answer_error(connection, code, kept_reply(reply).as_deref());
                }
                PresenceAnswer::Refused(code) => {
                    let refused = ShardMessage::Refused {
                        connection,
                        code,
                        reply,
                    };
                    self.ends.post(connection.shard(), Lane::Control, refused);
                }
                // Of these a client is told in another form.
                PresenceAnswer::Members(_) => {}
            },
        }
    }

    /// The text of one message for a client on whichever shard.
    pub(super) fn answer_client(&mut self, connection: ConnectionId, text: Vec<u8>, lane: Lane) {
        if connection.shard() == self.id {
            return self.answer(connection, |out| out.extend_from_slice(&text));
        }
        let answered = ShardMessage::Answered {
            connection,
            text: Bytes::from(text),
        };
        self.ends.post(connection.shard(), lane, answered);
    }

    /// Somebody outside asked this shard.
    pub(super) fn answer_outside(&mut self, id: AnswerId, answer: PresenceAnswer) {
        self.effects.push_back(Effect::Answer {
            id,
            answer: Answer::Presence(answer),
        });
    }
}
