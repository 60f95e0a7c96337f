//! Users who are notified, and what their devices do about it.

use shardwire_protocol::envelope::notifications::write_members;
use shardwire_shards::vocabulary::{
    AnswerId, Command, Notice, NotificationAnswer, NotificationCommand, NotificationQuery,
};

use super::{Outside, World};
use crate::checks::Seen;
use crate::clients::{Heard, Listed, Request};

/// From here on answers are about what was sent.
const SENT_ANSWERS: u64 = 1 << 33;

/// From here on answers are about what is in inboxes.
const INBOX_ANSWERS: u64 = 1 << 34;

/// Notifications a device speaks of at once.
const MARKED_AT_ONCE: usize = 3;

/// One notification of the run; its number is its index, and all it says.
#[derive(Clone, Copy, Debug)]
pub struct Notified {
    /// Whom.
    pub user: usize,
    /// When, in milliseconds.
    pub ms: u64,
    /// Devices that were there were to get it.
    pub deliver: bool,
}

impl World<'_> {
    /// Somebody outside notifies a user.
    pub(super) fn notify(&mut self) {
        let user = self.random.below(self.scenario.users.len());
        let number = self.notices.len();
        let deliver = self.random.chance(80);
        self.notices.push(Notified {
            user,
            ms: self.ms,
            deliver,
        });
        let mut members = Vec::new();
        write_members(&mut members, &number.to_string(), None, None, None);
        self.ask_inbox_of(
            user,
            NotificationCommand::Send {
                user: self.scenario.users[user].as_str().into(),
                members: members.into(),
                lifetime_ms: None,
                deliver,
                answer: Some(AnswerId(SENT_ANSWERS + number as u64)),
            },
        );
    }

    fn ask_inbox_of(&mut self, user: usize, command: NotificationCommand) {
        let name = &self.scenario.users[user];
        let home = self.scenario.placement.home_of_user(name).index();
        self.put_in(home, Outside::Command(Command::Notification(command)));
    }

    /// Asks the homes of all inboxes what is in them.
    pub(super) fn ask_for_inboxes(&mut self) {
        if self.scenario.settings.notifications.is_none() {
            return;
        }
        for user in 0..self.scenario.users.len() {
            let query = NotificationQuery {
                pending: false,
                limit: usize::MAX,
                offset: 0,
                cursor: None,
            };
            self.ask_inbox_of(
                user,
                NotificationCommand::List {
                    user: self.scenario.users[user].as_str().into(),
                    query,
                    answer: AnswerId(INBOX_ANSWERS + user as u64),
                },
            );
        }
    }

    /// The home of an inbox has answered somebody outside.
    pub(super) fn inbox_told(&mut self, id: AnswerId, answer: &NotificationAnswer) {
        match answer {
            NotificationAnswer::Sent(sent) => self.see(Seen::NoticeSent {
                number: (id.0 - SENT_ANSWERS) as usize,
                taken: sent.is_ok(),
            }),
            NotificationAnswer::List(list) => {
                let listed: Option<Vec<Listed>> = list.notices.iter().map(listed).collect();
                let listed = listed.expect("its sender has written a number");
                self.see(Seen::InboxHeld {
                    user: (id.0 - INBOX_ANSWERS) as usize,
                    listed: &listed,
                    unread: list.unread,
                });
            }
            NotificationAnswer::Marked(_) => {}
        }
    }

    /// A device reads in its inbox, or says what became of some of it.
    pub(super) fn use_inbox(&mut self, client: usize) {
        if self.random.chance(20) || self.clients[client].notices.is_empty() {
            let json = "{\"type\":\"get-notifications\"}";
            return self.ask(client, &Request::Inbox, json);
        }
        let known: Vec<usize> = self.clients[client].notices.keys().copied().collect();
        // Mostly of the last.
        let from = known.len().saturating_sub(6);
        let numbers: Vec<usize> = (0..self.random.size(1..=MARKED_AT_ONCE))
            .map(|_| self.random.pick(&known[from..]))
            .collect();
        let ids: Vec<&str> = numbers
            .iter()
            .map(|number| self.clients[client].notices[number].as_str())
            .collect();
        let ids = ids.join("\",\"");
        let (kind, request) = match self.random.chance(70) {
            true => ("mark-read", Request::MarkRead(numbers)),
            false => ("ack-notification", Request::Acknowledge(numbers)),
        };
        let json = format!("{{\"type\":\"{kind}\",\"notificationIds\":[\"{ids}\"]}}");
        self.ask(client, &request, &json);
    }

    /// A device hears something of its inbox.
    pub(super) fn heard_of_inbox(&mut self, client: usize, heard: Heard) {
        match heard {
            Heard::Notified { number, notice } => {
                self.see(Seen::Notified {
                    client,
                    number,
                    notice: &notice,
                });
                self.clients[client].notices.insert(number, notice);
            }
            Heard::Inbox {
                listed,
                unread,
                total,
                id,
            } => {
                self.see(Seen::Inbox {
                    client,
                    listed: &listed,
                    unread,
                    total,
                    id,
                });
                let known = listed.into_iter().map(|it| (it.number, it.notice));
                self.clients[client].notices.extend(known);
                self.clients[client].unread = unread;
            }
            Heard::Unread { count } => self.clients[client].unread = count,
            Heard::Marked { unread, id } => {
                self.see(Seen::Marked { client, id });
                self.clients[client].unread = unread;
            }
            _ => {}
        }
    }
}

fn listed(notice: &Notice) -> Option<Listed> {
    let members = std::str::from_utf8(&notice.members).ok()?;
    let number = members.strip_prefix("\"title\":\"")?.strip_suffix('"')?;
    Some(Listed {
        number: number.parse().ok()?,
        notice: notice.id.to_string(),
        read: notice.marks.read,
        delivered: notice.marks.delivered,
        acknowledged: notice.marks.acknowledged,
    })
}
