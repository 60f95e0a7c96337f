//! Reading in an inbox.

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::envelope::Inbound;
use shardwire_protocol::envelope::notifications::{self as wire, Listed};

use super::inbox::Entry;
use crate::bounds::{
    NOTIFICATIONS_LISTED, NOTIFICATIONS_LISTED_BYTES_MAX, NOTIFICATIONS_LISTED_MAX,
};
use crate::routing::kept_reply;
use crate::shard::Shard;
use crate::vocabulary::{
    ConnectionId, NotificationId, NotificationList, NotificationMail, NotificationQuery, UserId,
};

/// Shortens a page to what one answer takes; the number to go on behind.
fn cut(page: &mut Vec<&Entry>, next: Option<u64>) -> Option<u64> {
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        bytes += entry.members.len();
        bytes > NOTIFICATIONS_LISTED_BYTES_MAX
    };
    match page.iter().position(fits) {
        Some(at) => {
            page.truncate(at.max(1));
            page.last().map(|entry| entry.number)
        }
        None => next,
    }
}

impl Shard {
    /// `get-notifications` of a client (contract N12).
    pub(crate) fn list_message(
        &mut self,
        id: ConnectionId,
        inbound: &Inbound<'_>,
    ) -> Result<(), ErrorCode> {
        let user = self.inbox_owner(id)?;
        let number = |given: Option<u64>| given.map(|it| usize::try_from(it).unwrap_or(usize::MAX));
        let cursor = match inbound.cursor()? {
            Some(text) => Some(text.parse().map_err(|_| ErrorCode::InvalidMessage)?),
            None => None,
        };
        let query = NotificationQuery {
            pending: false,
            limit: number(inbound.limit()?).unwrap_or(NOTIFICATIONS_LISTED),
            offset: number(inbound.offset()?).unwrap_or(0),
            cursor,
        };
        let reply = inbound.id.map(|raw| raw.get().into());
        let home = self.placement.home_of_user(&user);
        if home == self.id {
            self.list_for_device(&user, id, query, reply);
            return Ok(());
        }
        self.ask_inbox(
            home,
            NotificationMail::List {
                user,
                connection: id,
                query,
                reply,
            },
        )
    }

    /// At home: answers a device.
    pub(super) fn list_for_device(
        &mut self,
        user: &UserId,
        connection: ConnectionId,
        mut query: NotificationQuery,
        reply: Option<Box<str>>,
    ) {
        query.limit = query.limit.min(NOTIFICATIONS_LISTED_MAX);
        let id = kept_reply(reply.clone());
        let mut text = Vec::new();
        match self.notifications.inboxes.get(user) {
            None => wire::notifications::<&str>(&mut text, [], 0, 0, None, id.as_deref()),
            Some(inbox) => {
                let epoch = inbox.epoch();
                let (mut page, next) = inbox.page(query);
                let next = cut(&mut page, next);
                let in_life = |number| NotificationId { epoch, number };
                let listed = page.iter().map(|entry| Listed {
                    id: in_life(entry.number),
                    members: &entry.members,
                    timestamp: entry.unix_ms,
                    marks: entry.state.marks(),
                });
                wire::notifications(
                    &mut text,
                    listed,
                    inbox.unread(),
                    inbox.len(),
                    next.map(in_life),
                    id.as_deref(),
                );
            }
        }
        self.answer_device(connection, reply, |out| out.extend_from_slice(&text));
    }

    /// At home: answers whoever asks from outside, who may have all at once (an inbox is bounded).
    pub(super) fn list_notifications(
        &self,
        user: &UserId,
        query: NotificationQuery,
    ) -> NotificationList {
        let Some(inbox) = self.notifications.inboxes.get(user) else {
            return NotificationList::default();
        };
        let epoch = inbox.epoch();
        let (page, next) = inbox.page(query);
        NotificationList {
            notices: page.iter().map(|entry| entry.notice(epoch)).collect(),
            next: next.map(|number| NotificationId { epoch, number }),
            unread: inbox.unread(),
            total: inbox.len(),
        }
    }
}
