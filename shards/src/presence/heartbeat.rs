//! The presence heartbeat (contract R2, decision D13): a user of whom something is known, and from whom no message has come for too
//! long, counts as offline although its connections live. Pongs do not count: they tell that a machine is there, not anybody at it.
//!
//! Nothing is sent while users talk. When it is time, the home asks the shards of the user's connections when those last spoke;
//! a connection that was found silent tells the home with its next message.

use super::Due;
use crate::connections::Flags;
use crate::mesh::Lane;
use crate::shard::Shard;
use crate::timers::tick_at;
use crate::vocabulary::{ConnectionId, Now, PresenceMessage, ShardId, ShardMessage, UserId};

impl Shard {
    /// At home: when did this user's connections last speak?
    pub(super) fn ask_heard(&mut self, now: Now, user: &UserId) {
        let timeout_ms = self.settings.presence.heartbeat_timeout_ms;
        let since_ms = now.ms.saturating_sub(timeout_ms);
        let groups = self.by_shard(user, &[]);
        let round = self
            .presences
            .records
            .begin_round(user, groups.len(), since_ms);
        for (shard, connections) in groups {
            if shard == self.id {
                let heard_ms = self.last_spoke(now, &connections, since_ms);
                self.note_heard(now, user, round, heard_ms);
                continue;
            }
            let message = PresenceMessage::AskHeard {
                user: user.clone(),
                connections,
                since_ms,
                shard: self.id,
                round,
            };
            self.ends
                .post(shard, Lane::Control, ShardMessage::Presence(message));
        }
    }

    /// Another shard asks.
    pub(super) fn answer_heard(
        &mut self,
        now: Now,
        user: UserId,
        connections: &[ConnectionId],
        since_ms: u64,
        shard: ShardId,
        round: u32,
    ) {
        let heard_ms = self.last_spoke(now, connections, since_ms);
        let heard = PresenceMessage::Heard {
            user,
            round,
            heard_ms,
        };
        self.ends
            .post(shard, Lane::Control, ShardMessage::Presence(heard));
    }

    /// When one of these connections last spoke. One that has not since then tells when it does again.
    fn last_spoke(&mut self, now: Now, connections: &[ConnectionId], since_ms: u64) -> u64 {
        let mut heard_ms = 0;
        for &id in connections {
            let Some(connection) = self.registry.get_mut(id) else {
                continue;
            };
            // What one that was found silent has said before, the home knows.
            if connection.flags.has(Flags::SILENT) {
                continue;
            }
            let spoke_ms = connection.spoke.ms(now);
            heard_ms = heard_ms.max(spoke_ms);
            connection.flags.set(Flags::SILENT, spoke_ms <= since_ms);
        }
        heard_ms
    }

    /// At home: a shard has answered.
    pub(super) fn note_heard(&mut self, now: Now, user: &UserId, round: u32, heard_ms: u64) {
        let records = &mut self.presences.records;
        records.note_heard(now, user, round, heard_ms);
        self.arm_record(user);
    }

    /// A connection that was found silent speaks again.
    pub(crate) fn breaks_silence(&mut self, now: Now, id: ConnectionId) {
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        connection.flags.set(Flags::SILENT, false);
        let Some(user) = connection.user.clone() else {
            return;
        };
        let home = self.placement.home_of_user(&user);
        if home == self.id {
            return self.user_speaks(now, &user);
        }
        let spoke = ShardMessage::Presence(PresenceMessage::Spoke { user });
        self.ends.post(home, Lane::Control, spoke);
    }

    /// At home: a user that was silent is there again.
    pub(super) fn user_speaks(&mut self, now: Now, user: &UserId) {
        let connected = self.directory.has(user);
        self.presences.records.speaks(now, user, connected);
        self.arm_record(user);
    }

    pub(super) fn arm_record(&mut self, user: &UserId) {
        let settings = &self.settings.presence;
        if let Some(at) = self.presences.records.arm(user, settings) {
            self.presences.arm(tick_at(at), Due::Record(user.clone()));
        }
    }
}
