//! Inboxes let go of what is too old, and end.

use super::inbox::State;
use crate::bounds::INBOX_RETRY_MS;
use crate::shard::Shard;
use crate::timers::{TICK_MS, tick_at};
use crate::vocabulary::{Effect, LogName, Now, StoreRequest, UserId};

impl Shard {
    /// Sees to it that somebody looks at an inbox again when something in it is due.
    pub(super) fn look_after_inbox(&mut self, now: Now, user: &UserId) {
        let Some(inbox) = self.notifications.inboxes.get_mut(user) else {
            return;
        };
        let expiry = inbox
            .next_expiry()
            .map(|unix_ms| now.ms.saturating_add(unix_ms.saturating_sub(now.unix_ms)));
        let unsaved = inbox.unstored.is_empty()
            && inbox.durable
            && inbox.entries().any(|entry| entry.state.has(State::UNSAVED));
        let retry = unsaved.then(|| now.ms + INBOX_RETRY_MS);
        let Some(due) = expiry.into_iter().chain(retry).min() else {
            return;
        };
        let at = tick_at(due.max(now.ms));
        if inbox.armed.is_none_or(|armed| at < armed) {
            inbox.armed = Some(at);
            self.notifications.wheel.arm(at, user.clone());
        }
    }

    /// When inboxes are to be looked at again, in milliseconds since start.
    pub(crate) fn next_inbox_deadline(&self) -> Option<u64> {
        let tick = self.notifications.wheel.next_tick();
        tick.map(|tick| u64::from(tick) * TICK_MS)
    }

    /// Looks at the inboxes that are due.
    pub(crate) fn sweep_inboxes(&mut self, now: Now) {
        let tick = self.tick(now);
        let mut due = std::mem::take(&mut self.notifications.due);
        self.notifications
            .wheel
            .advance(tick, |user| due.push(user));
        for user in due.drain(..) {
            let inbox = self.notifications.inboxes.get_mut(&user);
            if let Some(inbox) = inbox
                && inbox.armed.is_some_and(|at| at <= tick)
            {
                inbox.armed = None;
                self.sweep_inbox(now, &user);
            }
        }
        self.notifications.due = due;
    }

    fn sweep_inbox(&mut self, now: Now, user: &UserId) {
        let Some(inbox) = self.notifications.inboxes.get_mut(user) else {
            return;
        };
        let (before, unread) = (inbox.size(), inbox.unread());
        let expired = inbox.expire(now.unix_ms);
        let (after, changed) = (inbox.size(), inbox.unread() != unread);
        self.notifications.note_change(before, after);
        self.counters.notifications_expired += expired as u64;
        if changed {
            self.tell_unread(user);
        }
        self.save_unsaved(user);
        self.trim_inbox(user);
        if !self.end_inbox(user) {
            self.look_after_inbox(now, user);
        }
    }

    /// Lets go of an inbox in which nothing is any more.
    pub(super) fn end_inbox(&mut self, user: &UserId) -> bool {
        let over = |inbox: &super::Inbox| inbox.is_over();
        if !self
            .notifications
            .inboxes
            .get(user)
            .is_some_and(|inbox| over(inbox))
        {
            return false;
        }
        let Some(inbox) = self.notifications.inboxes.remove(user) else {
            return false;
        };
        self.notifications.note_change(inbox.size(), (0, 0));
        if inbox.durable {
            self.effects
                .push_back(Effect::Store(Box::new(StoreRequest::Forget {
                    log: LogName::inbox(user.clone()),
                    epoch: inbox.epoch(),
                })));
        }
        true
    }
}
