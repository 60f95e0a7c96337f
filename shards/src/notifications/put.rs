//! The way of a notification into an inbox, and from there to the devices that are there.

use shardwire_protocol::codes::ErrorCode;

use super::inbox::{Entry, Inbox, State, Unstored};
use super::record;
use crate::shard::Shard;
use crate::vocabulary::{
    AnswerId, Effect, LogKind, LogName, NotificationAnswer, NotificationId, Now, Position,
    SentNotification, StoreRequest, UserId,
};

impl Shard {
    /// As the user's home: takes a notification in, or says why not.
    pub(super) fn put_notification(
        &mut self,
        now: Now,
        user: UserId,
        members: Box<[u8]>,
        lifetime_ms: Option<u64>,
        deliver: bool,
        answer: Option<AnswerId>,
    ) {
        let ttl_ms = match self.admit_notification(members.len()) {
            Ok(ttl_ms) => ttl_ms,
            Err(code) => {
                self.counters.notifications_refused += 1;
                return self
                    .answer_about_notifications(answer, NotificationAnswer::Sent(Err(code)));
            }
        };
        let lifetime_ms = lifetime_ms.map_or(ttl_ms, |wanted| wanted.min(ttl_ms));
        let inbox = self.inbox_for(&user);
        let number = inbox.give_offset();
        let entry = Entry {
            number,
            offset: number,
            unix_ms: now.unix_ms,
            expires_unix_ms: now.unix_ms.saturating_add(lifetime_ms),
            members,
            in_flight: 0,
            state: State::default(),
        };
        if !inbox.durable {
            return self.keep_notification(now, &user, entry, deliver, answer);
        }
        let epoch = inbox.epoch();
        let record = record::put(&entry, inbox.first_to_keep().unwrap_or(number));
        inbox.unstored.push_back(Unstored::Put {
            entry,
            deliver,
            answer,
        });
        self.store(LogName::inbox(user), epoch, record);
    }

    /// Whether another notification of this size may come in; how long such are kept, in milliseconds.
    fn admit_notification(&self, size: usize) -> Result<u64, ErrorCode> {
        let settings = self.settings.notifications;
        // Nobody is asked for what is switched off: the doors know that, too.
        let settings = settings.ok_or(ErrorCode::UnknownType)?;
        if size > settings.max_size {
            return Err(ErrorCode::MessageTooLarge);
        }
        let full = self.notifications.bytes >= settings.memory;
        if full || settings.durable && !self.storing.has_room(LogKind::Inbox) {
            return Err(ErrorCode::Overloaded);
        }
        Ok(settings.ttl_ms)
    }

    /// The user's inbox; begins one if there is none.
    fn inbox_for(&mut self, user: &UserId) -> &mut Inbox {
        if !self.notifications.inboxes.contains_key(user) {
            let durable = self.settings.notifications.is_some_and(|it| it.durable);
            let position = Position {
                epoch: self.history.next_epoch(),
                offset: 0,
            };
            if durable {
                self.effects
                    .push_back(Effect::Store(Box::new(StoreRequest::Begin {
                        log: LogName::inbox(user.clone()),
                        position,
                    })));
            }
            self.install_inbox(user.clone(), Inbox::new(position, durable, user));
        }
        self.notifications
            .inboxes
            .get_mut(user)
            .expect("it was there, or was put there")
    }

    pub(super) fn install_inbox(&mut self, user: UserId, inbox: Inbox) {
        self.notifications.note_change((0, 0), inbox.size());
        self.notifications.inboxes.insert(user, Box::new(inbox));
    }

    /// Into the inbox for good, and on its way to the devices.
    pub(super) fn keep_notification(
        &mut self,
        now: Now,
        user: &UserId,
        entry: Entry,
        deliver: bool,
        answer: Option<AnswerId>,
    ) {
        let max = self
            .settings
            .notifications
            .map_or(usize::MAX, |settings| settings.max_per_user);
        let Some(inbox) = self.notifications.inboxes.get_mut(user) else {
            return;
        };
        let (number, before) = (entry.number, inbox.size());
        let id = NotificationId {
            epoch: inbox.epoch(),
            number,
        };
        let dropped = inbox.put(entry, max);
        let after = inbox.size();
        self.notifications.note_change(before, after);
        self.counters.notifications_put += 1;
        self.counters.notifications_dropped += dropped as u64;
        self.look_after_inbox(now, user);
        let connections = self.send_notification(user, number, deliver);
        let sent = SentNotification { id, connections };
        self.answer_about_notifications(answer, NotificationAnswer::Sent(Ok(sent)));
    }
}
