//! A user's inbox: notifications that wait for its devices, and what became of them (contract section 9).
//!
//! **Lives here,** at the user's home: the inbox (`inbox.rs`), how a notification gets into it (`put.rs`), what becomes of it (`marks.rs`), reading
//! (`list.rs`), its devices as the home sees them (`devices.rs`), time (`sweep.rs`), and what is kept of it on disk (`record.rs`, `keep.rs`); at the shards of
//! its devices: what is on its way to which socket (`sockets.rs`). **Does not:** which connections a user has (`users/`), outboxes and sockets
//! (`connections/`), disks (`storing/`).
//! **Invariants:**
//! * Pending is what is neither delivered nor read. Delivered means that the bytes went into a socket of the user (decision D9), not that they
//!   were queued; what was on its way to a device that is gone stays pending.
//! * A device is sent a notification at most once per connection: what comes live before its welcome is left out of the welcome.
//! * Whenever the number of unread ones changes, every device of the user is told, the one that changed it too.
//! * An inbox holds `max_per_user` notifications and [`INBOX_BYTES_MAX`](crate::bounds::INBOX_BYTES_MAX) bytes, oldest first out; the inboxes of a shard
//!   hold `memory` bytes, and who would exceed that is refused.
//! * On disk, a notification is stored before anybody gets it or is promised anything. Marks are stored behind it; what is lost of them in a
//!   crash makes a notification come once more, never less.
//!
//! **Called by:** `routing/`, `connections/` (a device is there, has written, is gone), `storing/`, the shard. **Calls:** `users/`, `connections/`, `mesh/`,
//! `storing/`.
//! **Tests:** beside each file, `tests/notifications.rs` on whole shards, the simulator.

mod devices;
mod inbox;
mod keep;
mod list;
mod marks;
mod put;
mod record;
mod sockets;
mod sweep;

use std::collections::BTreeMap;

use ahash::AHashMap;
use smallvec::SmallVec;

use crate::shard::Shard;
use crate::timers::Wheel;
use crate::vocabulary::{
    Answer, AnswerId, Effect, NotificationAnswer, NotificationCommand, NotificationId,
    NotificationMail, Now, ShardId, UserId,
};

use inbox::Inbox;
use sockets::Sockets;

/// What the operator chose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotificationSettings {
    /// Notifications of one user; beyond it the oldest goes (contract N2).
    pub max_per_user: usize,
    /// How long one is kept, in milliseconds (contract N3).
    pub ttl_ms: u64,
    /// Bytes of what one says, as JSON.
    pub max_size: usize,
    /// Bytes that the inboxes of one shard may take.
    pub memory: usize,
    /// Whether they are kept on disk, too (contract N1).
    pub durable: bool,
}

impl Default for NotificationSettings {
    /// The contract's defaults, for tests and the simulator; the server's come from its configuration.
    fn default() -> Self {
        Self {
            max_per_user: 100,
            ttl_ms: 7 * 24 * 3_600_000,
            max_size: 8 << 10,
            memory: 256 << 20,
            durable: false,
        }
    }
}

/// What the devices of a user on one shard have not been told.
#[derive(Debug, Default)]
struct Owed {
    /// How many are unread.
    count: bool,
    /// These, oldest first. Who got them elsewhere has got them; but they may be lost there.
    notifications: SmallVec<[NotificationId; 2]>,
}

/// The inboxes of the users homed on this shard, and what is on its way to this shard's sockets.
#[derive(Debug, Default)]
pub(crate) struct Notifications {
    inboxes: AHashMap<UserId, Box<Inbox>>,
    /// Bytes of all.
    bytes: usize,
    /// Notifications of all.
    held: usize,
    /// When inboxes are to be looked at.
    wheel: Wheel<UserId>,
    due: Vec<UserId>,
    /// Shards whose lane was full when something was to be told to the devices of a user.
    behind: BTreeMap<(UserId, ShardId), Owed>,
    sockets: Sockets,
}

impl Notifications {
    /// Inboxes there are.
    pub(crate) fn inboxes(&self) -> usize {
        self.inboxes.len()
    }

    /// Notifications in them.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Bytes they take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Connections of this shard for which something is on its way, or that wait for their welcome.
    pub(crate) fn watched(&self) -> usize {
        self.sockets.watched()
    }

    /// An inbox has other numbers of bytes and notifications than before.
    fn note_change(&mut self, before: (usize, usize), after: (usize, usize)) {
        self.bytes = self.bytes + after.0 - before.0;
        self.held = self.held + after.1 - before.1;
    }
}

impl Shard {
    /// Something asked for from outside.
    pub(crate) fn notification_command(&mut self, now: Now, command: NotificationCommand) {
        match command {
            NotificationCommand::Send {
                user,
                members,
                lifetime_ms,
                deliver,
                answer,
            } => self.put_notification(now, user, members, lifetime_ms, deliver, answer),
            NotificationCommand::List {
                user,
                query,
                answer,
            } => {
                let list = self.list_notifications(&user, query);
                self.answer_about_notifications(Some(answer), NotificationAnswer::List(list));
            }
            NotificationCommand::Mark {
                user,
                ids,
                mark,
                answer,
            } => {
                let changed = self.mark_notifications(now, &user, &ids, mark);
                self.answer_about_notifications(answer, NotificationAnswer::Marked(changed));
            }
        }
    }

    /// Something another shard says.
    pub(crate) fn notification_mail(&mut self, now: Now, mail: NotificationMail) {
        match mail {
            NotificationMail::Opened { user, connection } => {
                self.welcome_device(&user, connection);
            }
            NotificationMail::Deliver {
                user,
                connections,
                frames,
                welcome,
            } => {
                self.take_frames(now, &user, &connections, frames, welcome);
            }
            NotificationMail::Receipt { user, ids, written } => {
                self.note_receipt(now, &user, &ids, written);
            }
            NotificationMail::Mark {
                user,
                connection,
                ids,
                mark,
                reply,
            } => self.mark_for_device(now, &user, connection, &ids, mark, reply),
            NotificationMail::List {
                user,
                connection,
                query,
                reply,
            } => self.list_for_device(&user, connection, query, reply),
        }
    }

    fn answer_about_notifications(&mut self, id: Option<AnswerId>, answer: NotificationAnswer) {
        if let Some(id) = id {
            self.effects.push_back(Effect::Answer {
                id,
                answer: Answer::Notification(answer),
            });
        }
    }
}
