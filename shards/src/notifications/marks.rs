//! What becomes of notifications: marked by devices and from outside.

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::envelope::{Inbound, notifications as wire};

use super::inbox::State;
use crate::mesh::Lane;
use crate::routing::kept_reply;
use crate::shard::Shard;
use crate::vocabulary::{
    ConnectionId, Mark, NotificationId, NotificationMail, Now, ShardId, ShardMessage, UserId,
};

impl Shard {
    /// `mark-read` and `ack-notification` of a client.
    pub(crate) fn mark_message(
        &mut self,
        now: Now,
        id: ConnectionId,
        inbound: &Inbound<'_>,
        mark: Mark,
    ) -> Result<(), ErrorCode> {
        let user = self.inbox_owner(id)?;
        // What is no id of ours is an id of nothing, like that of a notification that is gone.
        let ids = inbound.notification_ids()?;
        let ids: Vec<NotificationId> = ids.iter().filter_map(|id| id.parse().ok()).collect();
        let reply = inbound.id.map(|raw| raw.get().into());
        let home = self.placement.home_of_user(&user);
        if home == self.id {
            self.mark_for_device(now, &user, id, &ids, mark, reply);
            return Ok(());
        }
        self.ask_inbox(
            home,
            NotificationMail::Mark {
                user,
                connection: id,
                ids,
                mark,
                reply,
            },
        )
    }

    /// Whose inbox a connection may speak of: that of its user, if inboxes are switched on.
    pub(super) fn inbox_owner(&self, id: ConnectionId) -> Result<UserId, ErrorCode> {
        if self.settings.notifications.is_none() {
            return Err(ErrorCode::UnknownType);
        }
        let connection = self.registry.get(id);
        let user = connection.and_then(|connection| connection.user.clone());
        user.ok_or(ErrorCode::NotPermitted)
    }

    /// A client's wish on its way to its user's home.
    pub(super) fn ask_inbox(
        &mut self,
        home: ShardId,
        mail: NotificationMail,
    ) -> Result<(), ErrorCode> {
        let message = ShardMessage::Notification(Box::new(mail));
        self.ends
            .send(home, Lane::Control, message)
            .map_err(|_| ErrorCode::Overloaded)
    }

    /// At home: marks, and answers the device. (All devices are told of the new count before that.)
    pub(super) fn mark_for_device(
        &mut self,
        now: Now,
        user: &UserId,
        connection: ConnectionId,
        ids: &[NotificationId],
        mark: Mark,
        reply: Option<Box<str>>,
    ) {
        let changed = self.mark_notifications(now, user, ids, mark);
        let inbox = self.notifications.inboxes.get(user);
        let unread = inbox.map_or(0, |inbox| inbox.unread());
        let id = kept_reply(reply.clone());
        self.answer_device(connection, reply, |out| match mark {
            Mark::Read => wire::marked_read(out, changed, unread, id.as_deref()),
            Mark::Acknowledged | Mark::Delivered => {
                wire::acknowledged(out, changed, unread, id.as_deref());
            }
        });
    }

    /// At home: notes what became of notifications; how many this has changed.
    pub(super) fn mark_notifications(
        &mut self,
        now: Now,
        user: &UserId,
        ids: &[NotificationId],
        mark: Mark,
    ) -> usize {
        let Some(inbox) = self.notifications.inboxes.get_mut(user) else {
            return 0;
        };
        let (epoch, before) = (inbox.epoch(), inbox.unread());
        let known = ids.iter().filter(|id| id.epoch == epoch);
        let changed = inbox.mark(known.map(|id| id.number), State::from(mark));
        let (count, after) = (changed.len(), inbox.unread());
        self.save_marks(now, user, changed);
        if after != before {
            #[cfg(feature = "planted-faults")]
            if self.planted.strikes(crate::planted::Fault::ForgetCount) {
                return count;
            }
            self.tell_unread(user);
        }
        count
    }

    /// Answers a client, wherever it is.
    pub(super) fn answer_device(
        &mut self,
        connection: ConnectionId,
        reply: Option<Box<str>>,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let shard = connection.shard();
        if shard == self.id {
            return self.answer(connection, body);
        }
        if self.ends.is_full(shard, Lane::Delivery) {
            let refused = ShardMessage::Refused {
                connection,
                code: ErrorCode::Overloaded,
                reply,
            };
            return self.ends.post(shard, Lane::Control, refused);
        }
        let mut text = Vec::new();
        body(&mut text);
        let answered = ShardMessage::Answered {
            connection,
            text: text.into(),
        };
        self.ends.post(shard, Lane::Delivery, answered);
    }
}
