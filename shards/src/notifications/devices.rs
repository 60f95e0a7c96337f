//! A user's devices, as the home of its inbox sees them: what each is sent, and what becomes of that.

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use shardwire_protocol::envelope::notifications as wire;
use shardwire_protocol::websocket::frame;

use super::Owed;
use super::inbox::{Entry, State};
use crate::mesh::Lane;
use crate::shard::Shard;
use crate::vocabulary::{
    ConnectionId, DeviceFrame, Effect, Epoch, Event, NotificationId, NotificationMail, Now,
    ShardId, ShardMessage, UserId,
};

type Frames = SmallVec<[DeviceFrame; 2]>;

/// One server text frame.
fn framed(body: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = Vec::new();
    frame::write_text_with(&mut out, body);
    Bytes::from(out)
}

fn notification(epoch: Epoch, entry: &Entry) -> DeviceFrame {
    let id = NotificationId {
        epoch,
        number: entry.number,
    };
    DeviceFrame {
        id: Some(id),
        frame: framed(|out| wire::notification(out, id, &entry.members, entry.unix_ms)),
    }
}

fn unread_count(unread: usize) -> DeviceFrame {
    DeviceFrame {
        id: None,
        frame: framed(|out| wire::unread_count(out, unread)),
    }
}

impl Shard {
    /// Sends a notification to the devices that are there, and how many are unread now. How many devices it was passed on to.
    pub(super) fn send_notification(&mut self, user: &UserId, number: u64, deliver: bool) -> usize {
        let Some(inbox) = self.notifications.inboxes.get_mut(user) else {
            return 0;
        };
        let (epoch, unread) = (inbox.epoch(), inbox.unread());
        if !deliver {
            self.tell_unread(user);
            return 0;
        }
        // It may have been too much for the inbox even alone.
        let Some(entry) = inbox.get_mut(number) else {
            return 0;
        };
        let frames: Frames = smallvec![notification(epoch, entry), unread_count(unread)];
        let id = NotificationId { epoch, number };
        let mut groups = self.by_shard(user, &[]);
        groups.retain(|(shard, _)| self.has_way_to_devices(user, *shard, Some(id)));
        let connections: usize = groups.iter().map(|(_, ids)| ids.len()).sum();
        let Some(entry) = self
            .notifications
            .inboxes
            .get_mut(user)
            .and_then(|inbox| inbox.get_mut(number))
        else {
            return 0;
        };
        entry.in_flight = u16::try_from(connections).unwrap_or(u16::MAX);
        if groups.is_empty() {
            self.note_unreached(user, number);
        }
        for (shard, connections) in groups {
            self.pass_on(shard, user, connections, frames.clone(), false);
        }
        connections
    }

    /// Tells every device of a user how many are unread.
    pub(super) fn tell_unread(&mut self, user: &UserId) {
        let inbox = self.notifications.inboxes.get(user);
        let unread = inbox.map_or(0, |inbox| inbox.unread());
        for (shard, connections) in self.by_shard(user, &[]) {
            if self.has_way_to_devices(user, shard, None) {
                let frames = smallvec![unread_count(unread)];
                self.pass_on(shard, user, connections, frames, false);
            }
        }
    }

    /// A new device gets what is pending, oldest first, and how many are unread if any are (contract N13).
    pub(super) fn welcome_device(&mut self, user: &UserId, connection: ConnectionId) {
        let mut frames = Frames::new();
        let mut unread = 0;
        if let Some(inbox) = self.notifications.inboxes.get_mut(user) {
            let epoch = inbox.epoch();
            unread = inbox.unread();
            for entry in inbox.entries_mut().filter(|entry| entry.is_pending()) {
                entry.in_flight = entry.in_flight.saturating_add(1);
                frames.push(notification(epoch, entry));
            }
        }
        if unread > 0 {
            frames.push(unread_count(unread));
        }
        self.pass_on(
            connection.shard(),
            user,
            smallvec![connection],
            frames,
            true,
        );
    }

    /// Whether the shard of some devices can be sent something now: this notification, and the count; else that is made up for.
    fn has_way_to_devices(
        &mut self,
        user: &UserId,
        shard: ShardId,
        id: Option<NotificationId>,
    ) -> bool {
        let full = shard != self.id && self.ends.is_full(shard, Lane::Delivery);
        if full {
            let owed = self.notifications.behind.entry((user.clone(), shard));
            let owed = owed.or_default();
            owed.count = true;
            if let Some(id) = id {
                // What the inbox does not hold any more, nobody gets.
                let inbox = self.notifications.inboxes.get(user);
                let first = inbox.and_then(|inbox| inbox.first_number()).unwrap_or(0);
                let held = |it: &NotificationId| it.epoch == id.epoch && it.number >= first;
                owed.notifications.retain(|it| held(it));
                owed.notifications.push(id);
            }
            self.try_again_soon();
        }
        !full
    }

    /// There may be room in full lanes again: whoever was left out gets what is pending and on its way to nobody, and the count. What is
    /// still on its way to another device stays owed.
    pub(crate) fn catch_up_devices(&mut self) {
        for ((user, shard), owed) in std::mem::take(&mut self.notifications.behind) {
            if !self.has_way_to_devices(&user, shard, None) {
                let again = self.notifications.behind.entry((user, shard));
                again.or_default().notifications = owed.notifications;
                continue;
            }
            let mut groups = self.by_shard(&user, &[]).into_iter();
            let Some((_, connections)) = groups.find(|(at, _)| *at == shard) else {
                continue;
            };
            let mut frames = Frames::new();
            let mut unread = 0;
            let mut on_their_way = SmallVec::new();
            if let Some(inbox) = self.notifications.inboxes.get_mut(&user) {
                let epoch = inbox.epoch();
                unread = inbox.unread();
                let devices = u16::try_from(connections.len()).unwrap_or(u16::MAX);
                for id in owed.notifications.iter().filter(|id| id.epoch == epoch) {
                    match inbox.get_mut(id.number) {
                        Some(entry) if entry.is_pending() && entry.in_flight == 0 => {
                            entry.in_flight = devices;
                            frames.push(notification(epoch, entry));
                        }
                        Some(entry) if entry.is_pending() => on_their_way.push(*id),
                        _ => {}
                    }
                }
            }
            if !on_their_way.is_empty() {
                let still = Owed {
                    count: false,
                    notifications: on_their_way,
                };
                self.notifications
                    .behind
                    .insert((user.clone(), shard), still);
            }
            if owed.count || !frames.is_empty() {
                frames.push(unread_count(unread));
                self.pass_on(shard, &user, connections, frames, false);
            }
        }
    }

    fn pass_on(
        &mut self,
        shard: ShardId,
        user: &UserId,
        connections: SmallVec<[ConnectionId; 2]>,
        frames: Frames,
        welcome: bool,
    ) {
        if shard == self.id {
            let now = self.now;
            return self.take_frames(now, user, &connections, frames, welcome);
        }
        let deliver = NotificationMail::Deliver {
            user: user.clone(),
            connections,
            frames,
            welcome,
        };
        self.ends.post(
            shard,
            Lane::Delivery,
            ShardMessage::Notification(Box::new(deliver)),
        );
    }

    /// What became of notifications on their way to one device.
    pub(super) fn note_receipt(
        &mut self,
        now: Now,
        user: &UserId,
        ids: &[NotificationId],
        written: bool,
    ) {
        let Some(inbox) = self.notifications.inboxes.get_mut(user) else {
            return;
        };
        let epoch = inbox.epoch();
        let mut unreached: SmallVec<[u64; 2]> = SmallVec::new();
        for id in ids.iter().filter(|id| id.epoch == epoch) {
            let Some(entry) = inbox.get_mut(id.number) else {
                continue;
            };
            entry.in_flight = entry.in_flight.saturating_sub(1);
            if !written && entry.in_flight == 0 && entry.is_pending() {
                unreached.push(id.number);
            }
        }
        if written {
            let numbers = ids.iter().filter(|id| id.epoch == epoch);
            let changed = inbox.mark(numbers.map(|id| id.number), State::DELIVERED);
            self.counters.notifications_delivered += changed.len() as u64;
            self.save_marks(now, user, changed);
        }
        // Another device may be owed what was lost here.
        if !unreached.is_empty() && !self.notifications.behind.is_empty() {
            self.try_again_soon();
        }
        for number in unreached {
            self.note_unreached(user, number);
        }
    }

    /// A notification was on its way to no device, or to none that it came to: the service is told, once.
    fn note_unreached(&mut self, user: &UserId, number: u64) {
        let Some(inbox) = self.notifications.inboxes.get_mut(user) else {
            return;
        };
        let epoch = inbox.epoch();
        let Some(entry) = inbox.get_mut(number) else {
            return;
        };
        if entry.state.add(State::TOLD) {
            self.counters.notifications_unreached += 1;
            let notice = Box::new(entry.notice(epoch));
            self.effects.push_back(Effect::Event(Event::Unreached {
                user: user.clone(),
                notice,
            }));
        }
    }
}
