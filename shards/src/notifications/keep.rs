//! What is kept of an inbox on disk: records behind each other, the front of them let go of as notifications go.

use smallvec::SmallVec;

use shardwire_protocol::codes::ErrorCode;

use super::inbox::{Inbox, Numbers, State, Unstored};
use super::record::{self, Record};
use crate::bounds::{INBOX_LOG_RECORDS, INBOX_MOVED_AT_ONCE, STORE_TRIM_RECORDS};
use crate::shard::Shard;
use crate::vocabulary::{
    Effect, LogKind, LogName, NotificationAnswer, Now, Position, StoreOutcome, StoreRequest,
    StoredRecord, UserId,
};

impl Shard {
    /// Has the store keep what became of these notifications, now or when it has room.
    pub(super) fn save_marks(&mut self, now: Now, user: &UserId, changed: Numbers) {
        let Some(inbox) = self.notifications.inboxes.get_mut(user) else {
            return;
        };
        if !inbox.durable || changed.is_empty() {
            return;
        }
        for number in &changed {
            if let Some(entry) = inbox.get_mut(*number) {
                entry.state.add(State::UNSAVED);
            }
        }
        self.save_unsaved(user);
        self.look_after_inbox(now, user);
    }

    /// Has the store keep whatever it does not know yet, if it has room.
    pub(super) fn save_unsaved(&mut self, user: &UserId) {
        let unix_ms = self.now.unix_ms;
        while self.storing.has_room(LogKind::Inbox) {
            let Some(inbox) = self.notifications.inboxes.get_mut(user) else {
                return;
            };
            let Some(first) = inbox
                .entries()
                .find(|entry| entry.state.has(State::UNSAVED))
            else {
                return;
            };
            // One record for all that came to the same.
            let saved = first.state.saved();
            let mut numbers = Numbers::new();
            for entry in inbox.entries_mut() {
                if entry.state.has(State::UNSAVED) && entry.state.saved() == saved {
                    entry.state.remove(State::UNSAVED);
                    numbers.push(entry.number);
                }
            }
            let (offset, epoch) = (inbox.give_offset(), inbox.epoch());
            let record = record::marks(offset, unix_ms, State::restored(saved), &numbers);
            inbox.unstored.push_back(Unstored::Marks(numbers));
            self.store(LogName::inbox(user.clone()), epoch, record);
        }
    }

    /// The store has answered: the oldest of what waits is there, or is not.
    pub(crate) fn inbox_stored(&mut self, now: Now, user: &UserId, outcome: StoreOutcome) {
        let Some(inbox) = self.notifications.inboxes.get_mut(user) else {
            return;
        };
        let Some(unstored) = inbox.unstored.pop_front() else {
            return;
        };
        let stored = outcome == StoreOutcome::Stored;
        match unstored {
            Unstored::Put {
                entry,
                deliver,
                answer,
            } if stored => self.keep_notification(now, user, entry, deliver, answer),
            Unstored::Put { answer, .. } => {
                self.counters.notifications_refused += 1;
                let code = match outcome {
                    StoreOutcome::Full => ErrorCode::StorageFull,
                    StoreOutcome::Stored | StoreOutcome::Failed => ErrorCode::StorageFailed,
                };
                self.answer_about_notifications(answer, NotificationAnswer::Sent(Err(code)));
            }
            Unstored::Marks(numbers) => {
                for number in numbers.iter().filter(|_| !stored) {
                    if let Some(entry) = inbox.get_mut(*number) {
                        entry.state.add(State::UNSAVED);
                    }
                }
            }
            Unstored::Moved { number, offset } => {
                if let Some(entry) = inbox.get_mut(number).filter(|_| stored) {
                    entry.offset = offset;
                }
            }
        }
        if stored {
            self.trim_inbox(user);
        }
        if !self.end_inbox(user) {
            self.look_after_inbox(now, user);
        }
    }

    /// Lets the store let go of the front of an inbox's log, and moves what is in the way of that behind the rest, so that a log grows with
    /// what is in the inbox and not with all that ever was.
    pub(super) fn trim_inbox(&mut self, user: &UserId) {
        let Some(inbox) = self.notifications.inboxes.get_mut(user) else {
            return;
        };
        if !inbox.durable {
            return;
        }
        let epoch = inbox.epoch();
        let through = inbox.first_offset() - 1;
        if through >= inbox.trimmed + STORE_TRIM_RECORDS {
            inbox.trimmed = through;
            self.effects
                .push_back(Effect::Store(Box::new(StoreRequest::Trim {
                    log: LogName::inbox(user.clone()),
                    through: Position {
                        epoch,
                        offset: through,
                    },
                })));
        }
        let allowed = INBOX_LOG_RECORDS + 4 * inbox.len() as u64;
        let moving = |unstored: &Unstored| matches!(unstored, Unstored::Moved { .. });
        if inbox.head() - through <= allowed || inbox.unstored.iter().any(moving) {
            return;
        }
        let mut by_offset: SmallVec<[(u64, u64); 128]> = inbox
            .entries()
            .map(|entry| (entry.offset, entry.number))
            .collect();
        by_offset.sort_unstable();
        for (_, number) in by_offset.into_iter().take(INBOX_MOVED_AT_ONCE) {
            if !self.storing.has_room(LogKind::Inbox) {
                return;
            }
            let Some(record) = self.moved(user, number) else {
                return;
            };
            self.store(LogName::inbox(user.clone()), epoch, record);
        }
    }

    fn moved(&mut self, user: &UserId, number: u64) -> Option<StoredRecord> {
        let inbox = self.notifications.inboxes.get_mut(user)?;
        let (first, offset) = (inbox.first_number()?, inbox.give_offset());
        let entry = inbox.get_mut(number)?;
        let record = StoredRecord {
            offset,
            ..record::put(entry, first)
        };
        inbox.unstored.push_back(Unstored::Moved { number, offset });
        Some(record)
    }

    /// Takes over an inbox that a store has kept; one that the configuration does not keep (any more) is passed over.
    pub(crate) fn restore_inbox(
        &mut self,
        now: Now,
        user: UserId,
        head: Position,
        records: &[StoredRecord],
    ) {
        let Some(settings) = self.settings.notifications.filter(|it| it.durable) else {
            return;
        };
        let mut inbox = Inbox::new(head, true, &user);
        for kept in records {
            match record::read(kept) {
                Some(Record::Put { entry, first }) => {
                    inbox.drop_before(first);
                    if entry.number >= first {
                        inbox.put(entry, settings.max_per_user);
                    }
                }
                Some(Record::Marks { state, numbers }) => {
                    inbox.mark(numbers, state);
                }
                // A store gives back what it was given; something else is nothing to us.
                None => debug_assert!(false, "a record that no inbox has written"),
            }
        }
        inbox.expire(now.unix_ms);
        self.install_inbox(user.clone(), inbox);
        if !self.end_inbox(&user) {
            self.look_after_inbox(now, &user);
        }
    }
}
