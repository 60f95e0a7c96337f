//! At the shard of a user's devices: what is on its way to which socket, so that "delivered" is said of what was written and of nothing else.

use std::collections::VecDeque;

use ahash::AHashMap;
use smallvec::{SmallVec, smallvec};

use crate::connections::{Connection, Flags};
use crate::mesh::Lane;
use crate::shard::Shard;
use crate::vocabulary::{
    ConnectionId, DeviceFrame, NotificationId, NotificationMail, Now, ShardMessage, UserId,
};

/// The connections of this shard that are being watched.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// Those that wait for their welcome, with what has come live meanwhile.
    greeting: AHashMap<ConnectionId, Live>,
    /// Those whose outbox has notifications in it.
    unwritten: AHashMap<ConnectionId, Unwritten>,
}

impl Sockets {
    pub(super) fn watched(&self) -> usize {
        self.greeting.len() + self.unwritten.len()
    }
}

/// Notifications that came ahead of a welcome, in order: of one life of the inbox, and no more than it may hold.
type Live = SmallVec<[NotificationId; 1]>;

/// Notes that this one came. What an inbox does not hold any more is in no welcome.
fn note_live(live: &mut Live, id: NotificationId, max: usize) {
    live.retain(|known| known.epoch == id.epoch);
    if let Err(at) = live.binary_search(&id) {
        live.insert(at, id);
    }
    if live.len() > max {
        live.remove(0);
    }
}

/// Notifications in one outbox.
#[derive(Debug)]
struct Unwritten {
    user: UserId,
    /// Bytes its socket has taken since it is watched.
    taken: usize,
    /// What is written once it has taken so many.
    row: VecDeque<(usize, NotificationId)>,
}

impl Shard {
    /// A connection is open: its user's home is told, and sends what is pending.
    pub(crate) fn announce_device(&mut self, connection: ConnectionId) {
        if self.settings.notifications.is_none() {
            return;
        }
        let Some(user) = self.registry.get(connection).and_then(|it| it.user.clone()) else {
            return;
        };
        if !self.is_device(connection) {
            return;
        }
        self.notifications
            .sockets
            .greeting
            .insert(connection, Live::new());
        let home = self.placement.home_of_user(&user);
        if home == self.id {
            return self.welcome_device(&user, connection);
        }
        let opened = NotificationMail::Opened { user, connection };
        self.ends.post(
            home,
            Lane::Control,
            ShardMessage::Notification(Box::new(opened)),
        );
    }

    /// Frames from a home for devices that are, or were, on this shard.
    pub(super) fn take_frames(
        &mut self,
        now: Now,
        user: &UserId,
        connections: &[ConnectionId],
        mut frames: SmallVec<[DeviceFrame; 2]>,
        welcome: bool,
    ) {
        let (takers, missing): (SmallVec<[ConnectionId; 2]>, SmallVec<[ConnectionId; 2]>) =
            connections
                .iter()
                .copied()
                .partition(|id| self.is_device(*id));
        let all: SmallVec<[NotificationId; 2]> = frames.iter().filter_map(|one| one.id).collect();
        for _ in missing {
            self.send_receipt(now, user, all.clone(), false);
        }
        let max = self.settings.notifications.map_or(0, |it| it.max_per_user);
        for taker in &takers {
            let greeting = &mut self.notifications.sockets.greeting;
            if !welcome {
                if let Some(live) = greeting.get_mut(taker) {
                    all.iter().for_each(|id| note_live(live, *id, max));
                }
            } else if let Some(live) = greeting.remove(taker) {
                let is_repeated = |id: &NotificationId| live.binary_search(id).is_ok();
                let repeated: SmallVec<_> = all.iter().copied().filter(is_repeated).collect();
                frames.retain(|one| !one.id.as_ref().is_some_and(is_repeated));
                self.send_receipt(now, user, repeated, false);
            }
        }
        for one in frames {
            self.send_to(&takers, one.frame);
            if let Some(id) = one.id {
                for taker in &takers {
                    self.watch_socket(*taker, user, id);
                }
            }
        }
    }

    fn is_device(&self, connection: ConnectionId) -> bool {
        self.registry
            .get(connection)
            .is_some_and(Connection::speaks)
    }

    /// This notification is the last thing in the connection's outbox.
    fn watch_socket(&mut self, connection: ConnectionId, user: &UserId, id: NotificationId) {
        let Some(watched) = self.registry.get_mut(connection) else {
            return;
        };
        watched.flags.set(Flags::NOTIFIED, true);
        let waiting = watched.outbox.len();
        let unwritten = self
            .notifications
            .sockets
            .unwritten
            .entry(connection)
            .or_insert_with(|| Unwritten {
                user: user.clone(),
                taken: 0,
                row: VecDeque::new(),
            });
        unwritten.row.push_back((unwritten.taken + waiting, id));
    }

    /// The socket of a watched connection took so many bytes.
    pub(crate) fn notifications_written(
        &mut self,
        now: Now,
        connection: ConnectionId,
        bytes: usize,
    ) {
        let Some(unwritten) = self.notifications.sockets.unwritten.get_mut(&connection) else {
            return;
        };
        unwritten.taken += bytes;
        let mut written: SmallVec<[NotificationId; 2]> = smallvec![];
        while let Some((end, id)) = unwritten.row.front()
            && *end <= unwritten.taken
        {
            written.push(*id);
            unwritten.row.pop_front();
        }
        let user = unwritten.user.clone();
        if unwritten.row.is_empty() {
            self.notifications.sockets.unwritten.remove(&connection);
            if let Some(watched) = self.registry.get_mut(connection) {
                watched.flags.set(Flags::NOTIFIED, false);
            }
        }
        self.send_receipt(now, &user, written, true);
    }

    /// Nothing more is written to a connection: what was on its way to it is not delivered by it.
    pub(crate) fn notifications_lost(&mut self, connection: ConnectionId) {
        let sockets = &mut self.notifications.sockets;
        sockets.greeting.remove(&connection);
        if let Some(unwritten) = sockets.unwritten.remove(&connection) {
            let lost = unwritten.row.into_iter().map(|(_, id)| id).collect();
            let now = self.now;
            self.send_receipt(now, &unwritten.user, lost, false);
        }
    }

    fn send_receipt(
        &mut self,
        now: Now,
        user: &UserId,
        ids: SmallVec<[NotificationId; 2]>,
        written: bool,
    ) {
        if ids.is_empty() {
            return;
        }
        let home = self.placement.home_of_user(user);
        if home == self.id {
            return self.note_receipt(now, user, &ids, written);
        }
        let receipt = NotificationMail::Receipt {
            user: user.clone(),
            ids,
            written,
        };
        self.ends.post(
            home,
            Lane::Control,
            ShardMessage::Notification(Box::new(receipt)),
        );
    }
}
