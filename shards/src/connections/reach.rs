//! Reaching particular connections from outside: sending to them and closing them, one by one or all of a user's.

use bytes::Bytes;
use smallvec::SmallVec;

use super::Connection;
use crate::mesh::Lane;
use crate::shard::Shard;
use crate::vocabulary::{ConnectionId, Now, ShardId, ShardMessage, UserId};

type Ids = SmallVec<[ConnectionId; 2]>;

impl Shard {
    /// Puts a frame into the outboxes of these connections of this shard; how many took it. Those on the echo path, which
    /// does not speak JSON, and those on their way in or out do not.
    pub(crate) fn send_to(&mut self, connections: &[ConnectionId], frame: Bytes) -> usize {
        let takes = |id: &ConnectionId| self.registry.get(*id).is_some_and(Connection::speaks);
        let takers: Ids = connections.iter().copied().filter(takes).collect();
        self.give_each(&takers, frame)
    }

    /// One frame into each of these outboxes, compressed once if one of them wants it so; how many there were.
    pub(crate) fn give_each(&mut self, takers: &[ConnectionId], frame: Bytes) -> usize {
        self.scatter();
        let mut forms = self.frames.insert_shared(frame.clone().into());
        let mut compressed = false;
        let mut reached = 0;
        for &id in takers {
            let Some(connection) = self.registry.get_mut(id) else {
                continue;
            };
            if !compressed && connection.extension.takes_shared() {
                compressed = true;
                let deflated = self.codec.compress_shared(&frame);
                forms.deflated = deflated.map(|bytes| self.frames.insert(bytes));
            }
            connection.push_shared(
                id,
                &forms,
                &mut self.frames,
                &mut self.pool,
                &mut self.codec,
            );
            Self::ask_flush(&mut self.effects, &mut self.stuck, id, connection);
            reached += 1;
        }
        self.frames.release_shared(&forms);
        self.counters.messages_sent += reached as u64;
        reached
    }

    /// Sends a text to one connection of this shard; 1 if there is such a one, else 0.
    pub(crate) fn send_text(&mut self, id: ConnectionId, text: &str) -> usize {
        if !self.registry.get(id).is_some_and(Connection::speaks) {
            return 0;
        }
        self.answer(id, |out| out.extend_from_slice(text.as_bytes()));
        1
    }

    /// Closes these connections of this shard; how many there were.
    pub(crate) fn close_these(
        &mut self,
        now: Now,
        connections: &[ConnectionId],
        code: u16,
        reason: &str,
    ) -> usize {
        let mut reached = 0;
        for &id in connections {
            let open =
                |connection: &Connection| !matches!(connection.state, super::State::Closing { .. });
            if self.registry.get(id).is_some_and(open) {
                self.close(now, id, code, reason);
                reached += 1;
            }
        }
        reached
    }

    /// As the user's home: sends to all its connections; how many it was passed on to. A shard to which the way is full is
    /// left out and not counted.
    pub(crate) fn send_to_user(
        &mut self,
        user: &UserId,
        frame: &Bytes,
        except: &[ConnectionId],
    ) -> usize {
        let mut reached = 0;
        for (shard, connections) in self.by_shard(user, except) {
            if shard == self.id {
                reached += self.send_to(&connections, frame.clone());
                continue;
            }
            let count = connections.len();
            let message = ShardMessage::Send {
                connections,
                frame: frame.clone(),
            };
            if self.ends.send(shard, Lane::Delivery, message).is_ok() {
                reached += count;
            }
        }
        reached
    }

    /// As the user's home: closes all its connections but these; how many it was passed on to.
    pub(crate) fn close_user(
        &mut self,
        now: Now,
        user: &UserId,
        code: u16,
        reason: &str,
        except: &[ConnectionId],
    ) -> usize {
        let mut reached = 0;
        for (shard, connections) in self.by_shard(user, except) {
            if shard == self.id {
                reached += self.close_these(now, &connections, code, reason);
                continue;
            }
            let count = connections.len();
            let message = ShardMessage::Close {
                connections,
                code,
                reason: reason.into(),
            };
            if self.ends.send(shard, Lane::Control, message).is_ok() {
                reached += count;
            }
        }
        reached
    }

    /// As the user's home: its connections but these, by their shards.
    pub(crate) fn by_shard(
        &self,
        user: &UserId,
        except: &[ConnectionId],
    ) -> SmallVec<[(ShardId, Ids); 4]> {
        let mut groups: SmallVec<[(ShardId, Ids); 4]> = SmallVec::new();
        for id in self.directory.connections_of(user) {
            if except.contains(&id) {
                continue;
            }
            match groups.iter_mut().find(|(shard, _)| *shard == id.shard()) {
                Some((_, ids)) => ids.push(id),
                None => groups.push((id.shard(), SmallVec::from_slice(&[id]))),
            }
        }
        groups
    }
}
