//! The room that a user's presence shows: the one it came into last, of those it is in (contract C1, C2).
//!
//! A user is in as many rooms as it has connections at most, and the homes of two rooms tell the user's home in no order between each
//! other. So the user's home keeps the rooms it is in: in whichever order it hears of them, the same are left at the end.

use crate::bounds::PRESENCE_ROOMS_MAX;
use crate::mesh::Lane;
use crate::shard::Shard;
use crate::vocabulary::{Now, PresenceMessage, ShardMessage, UserId};

/// Rooms that one user is in, the one it came into last at the end.
#[derive(Debug, Default)]
pub(super) struct Rooms(Vec<Box<str>>);

impl Rooms {
    /// A connection of the user has come into this one, be it the first there or not.
    pub(super) fn enter(&mut self, room: &str) {
        self.leave(room);
        if self.0.len() >= PRESENCE_ROOMS_MAX {
            self.0.remove(0);
        }
        self.0.push(room.into());
    }

    /// The user's last connection has left this one.
    pub(super) fn leave(&mut self, room: &str) {
        self.0.retain(|known| **known != *room);
    }

    /// Where it came last.
    pub(super) fn last(&self) -> Option<&str> {
        self.0.last().map(|room| &**room)
    }
}

impl Shard {
    /// At a room's home: a user has come in, or its last connection has left.
    pub(crate) fn note_room(&mut self, now: Now, user: &UserId, room: &str, inside: bool) {
        let home = self.placement.home_of_user(user);
        if home == self.id {
            return self.note_room_at_home(now, user, room, inside);
        }
        // There are as many of these as connections were let in.
        let message = PresenceMessage::Room {
            user: user.clone(),
            room: room.into(),
            inside,
        };
        self.ends
            .post(home, Lane::Control, ShardMessage::Presence(message));
    }

    /// At the user's home.
    pub(super) fn note_room_at_home(&mut self, now: Now, user: &UserId, room: &str, inside: bool) {
        let records = &mut self.presences.records;
        let changed = if inside {
            let connected = self.directory.has(user);
            records.entered(now, user, room, connected, &self.settings.presence)
        } else {
            records.left(user, room)
        };
        self.counters.presence_changes += u64::from(changed);
        self.arm_record(user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_entered_last_is_shown_of_those_that_were_not_left() {
        let mut rooms = Rooms::default();
        assert_eq!(rooms.last(), None);
        for room in ["a", "b", "a"] {
            rooms.enter(room);
        }
        assert_eq!(rooms.last(), Some("a"));
        rooms.leave("a");
        assert_eq!(rooms.last(), Some("b"));
        rooms.leave("never");
        rooms.leave("b");
        assert_eq!(rooms.last(), None);
    }

    #[test]
    fn no_more_rooms_are_remembered_than_may_be() {
        let mut rooms = Rooms::default();
        for room in 0..=PRESENCE_ROOMS_MAX {
            rooms.enter(&room.to_string());
        }
        assert_eq!(rooms.0.len(), PRESENCE_ROOMS_MAX);
        assert_eq!(*rooms.0[0], *"1");
    }
}
