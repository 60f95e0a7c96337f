//! At home: who is in which room.

use std::sync::Arc;

use ahash::AHashMap;

use crate::vocabulary::{ChannelName, ConnectionId, UserId};

/// One connection in a room.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// None: nobody in particular.
    pub(crate) user: Option<UserId>,
    pub(crate) name: Arc<str>,
}

/// A user's id and one of its connections.
type Listed<'a> = (Arc<str>, &'a Member);

/// One room.
#[derive(Debug, Default)]
struct Room {
    members: AHashMap<ConnectionId, Member>,
    /// Connections of each user.
    users: AHashMap<UserId, usize>,
}

/// The rooms homed on this shard that anybody is in.
#[derive(Debug, Default)]
pub(crate) struct Rooms(AHashMap<ChannelName, Room>);

impl Rooms {
    /// Rooms there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Connections in a room.
    pub(crate) fn members_of(&self, channel: &str) -> usize {
        self.0.get(channel).map_or(0, |room| room.members.len())
    }

    /// The users in a room, each once, in the order of their ids; none where there are more than `most`. And how many there are.
    pub(crate) fn users_of(&self, channel: &str, most: usize) -> (Option<Vec<Listed<'_>>>, usize) {
        let Some(room) = self.0.get(channel) else {
            return (Some(Vec::new()), 0);
        };
        let guests = room.members.values().filter(|it| it.user.is_none()).count();
        let count = room.users.len() + guests;
        if count > most {
            return (None, count);
        }
        let members = room.members.iter();
        let mut users: Vec<_> = members.map(|(id, it)| (it.shown(*id), it)).collect();
        users.sort_by(|(left, _), (right, _)| left.cmp(right));
        users.dedup_by(|(left, it), (right, _)| it.user.is_some() && left == right);
        (Some(users), count)
    }

    pub(crate) fn member(&self, channel: &str, id: ConnectionId) -> Option<&Member> {
        self.0.get(channel)?.members.get(&id)
    }

    /// Puts a connection into a room that it is not in; whether its user is new there.
    pub(crate) fn enter(&mut self, channel: ChannelName, id: ConnectionId, member: Member) -> bool {
        let room = self.0.entry(channel).or_default();
        let first = match &member.user {
            None => true,
            Some(user) => {
                let connections = room.users.entry(user.clone()).or_default();
                *connections += 1;
                *connections == 1
            }
        };
        let before = room.members.insert(id, member);
        debug_assert!(before.is_none(), "nobody is in a room twice");
        first
    }

    /// Takes a connection out of a room: who that was, and whether its user has gone with it. None: it was not in.
    pub(crate) fn leave(&mut self, channel: &str, id: ConnectionId) -> Option<(Member, bool)> {
        let room = self.0.get_mut(channel)?;
        let member = room.members.remove(&id)?;
        let mut last = true;
        if let Some(user) = &member.user
            && let Some(connections) = room.users.get_mut(user)
        {
            *connections -= 1;
            last = *connections == 0;
            if last {
                room.users.remove(user);
            }
        }
        if room.members.is_empty() {
            self.0.remove(channel);
        }
        Some((member, last))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::vocabulary::ShardId;

    fn id(slot: u32) -> ConnectionId {
        ConnectionId::new(ShardId(0), slot, 0)
    }

    fn member(user: Option<&str>) -> Member {
        Member {
            user: user.map(Into::into),
            name: "name".into(),
        }
    }

    #[test]
    fn contract_c10_a_user_comes_with_its_first_connection_and_a_room_goes_with_its_last() {
        let mut rooms = Rooms::default();
        assert!(rooms.enter("room:1".into(), id(1), member(Some("ann"))));
        assert!(!rooms.enter("room:1".into(), id(2), member(Some("ann"))));
        assert!(rooms.enter("room:1".into(), id(3), member(None)));
        assert!(
            rooms.enter("room:1".into(), id(4), member(None)),
            "two that are nobody are two"
        );
        assert_eq!((rooms.len(), rooms.members_of("room:1")), (1, 4));
        assert!(!rooms.leave("room:1", id(1)).unwrap().1);
        assert!(rooms.leave("room:1", id(1)).is_none());
        assert!(rooms.leave("room:1", id(2)).unwrap().1);
        assert!(rooms.leave("room:1", id(3)).unwrap().1);
        assert!(rooms.leave("room:1", id(4)).unwrap().1);
        assert_eq!((rooms.len(), rooms.members_of("room:1")), (0, 0));
    }
}
